"""The outages in the store: a document a team, changed in the same transaction as their pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from killswitch.errors import BadDocument, BadTransaction
from killswitch.fleet.outages import BlindRollout, Outage, OutageChange
from killswitch.fleet.page_target import Target
from killswitch.pages.outbox_entry import into_outbox
from killswitch.pages.page import Page
from killswitch.stores import Committed, Compare, Delete, Put, Store, keys
from killswitch.stores.limits import Part, portions
from killswitch.timestamps import from_iso, to_iso

FORMAT = 2
# Pages of one team in one transaction: many single outages of a team may end at one tick.
MAX_PAGES_AT_ONCE = 40


@dataclass(frozen=True, slots=True)
class OutagesRead:
    """The outages as stored. ``teams``: by store key, a team's document and its revision."""

    outages: tuple[Outage, ...] = ()
    teams: Mapping[str, tuple[tuple[Outage, ...], int]] = field(default_factory=dict)


class StoredOutages:
    """A document a team in the store, so that no transaction grows with their number. ``wall`` gives Unix seconds.

    One page is in the transaction that opens or ends its outage. Many teams' changes take several transactions; a
    replica that ends between two of them leaves the rest as it was, and the next to look does it.
    """

    def __init__(self, store: Store, *, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall

    def read(self) -> OutagesRead:
        """An unreadable document counts as none, and so does an outage in another team's document."""
        teams: dict[str, tuple[tuple[Outage, ...], int]] = {}
        for item in self._store.list(keys.OUTAGES).items:
            try:
                stored = tuple(one for one in from_document(item.value) if _team(one.target) == item.key)
            except BadDocument:
                stored = ()
            teams[item.key] = (stored, item.mod_revision)
        return OutagesRead(tuple(outage for stored, _ in teams.values() for outage in stored), teams)

    def write(
        self, change: OutageChange, before: OutagesRead, pages: Mapping[str, Page], guards: Sequence[Compare] = ()
    ) -> bool:
        """Commit the change with its pages, by outage id; whether all of it was committed.

        False where another replica was first, ``guards`` hold no more, or a team has more pages than one transaction
        takes: read again, and go on. Raises OutcomeUnknown, and BadTransaction once all others are written.
        """
        drafts = [
            self._draft(key, after, change.renamed, before, pages)
            for key, after in sorted(_by_team(change.outages, before).items())
            if after != list(before.teams.get(key, ((), 0))[0])
        ]
        complete = not any(draft.held_back for draft in drafts)
        refused: BadTransaction | None = None
        for portion in portions((draft.part for draft in drafts), guards=guards):
            compares = [compare for part in portion for compare in part.compares]
            writes = [write for part in portion for write in part.writes]
            try:
                if not isinstance(self._store.commit((*compares, *guards), writes), Committed):
                    return False
            except BadTransaction as error:
                refused = error
        if refused is not None:
            raise refused
        return complete

    def _draft(
        self,
        key: str,
        after: Sequence[Outage],
        renamed: Mapping[str, str],
        before: OutagesRead,
        pages: Mapping[str, Page],
    ) -> _TeamDraft:
        """One team's new document with its pages, or with the first of them where they are many."""
        stored, revision = before.teams.get(key, ((), 0))
        remembered = {outage.id for outage in after}
        left = [outage for outage in stored if outage.id not in remembered]
        paged = [outage.id for outage in (*after, *left) if outage.id in pages]
        held = frozenset(paged[MAX_PAGES_AT_ONCE:])
        waiting = held | {renamed[new] for new in held if new in renamed}
        document = [one for one in after if one.id not in held] + [one for one in stored if one.id in waiting]
        built = [pages[page] for page in paged[:MAX_PAGES_AT_ONCE]]
        entries = [into_outbox(page, at=self._wall()) for page in built]
        put = Put(key, to_document(document)) if document else Delete(key)
        return _TeamDraft(Part(key, (Compare(key, revision),), (put, *entries)), held_back=bool(held))


@dataclass(frozen=True, slots=True)
class _TeamDraft:
    part: Part[str]
    held_back: bool


def _team(target: Target) -> str:
    """The store key of the outages that these people are paged for."""
    return keys.outages(target.digest()[:16])


def _by_team(outages: Iterable[Outage], before: OutagesRead) -> dict[str, list[Outage]]:
    """The outages by store key, also of teams that have none any more."""
    after: dict[str, list[Outage]] = {key: [] for key in before.teams}
    for outage in outages:
        after.setdefault(_team(outage.target), []).append(outage)
    return after


def to_document(outages: Iterable[Outage]) -> bytes:
    return json.dumps({"format": FORMAT, "outages": [_to_json(outage) for outage in outages]}).encode()


def from_document(value: bytes) -> tuple[Outage, ...]:
    """Raises BadDocument."""
    try:
        return tuple(_from_json(entry) for entry in json.loads(value)["outages"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BadDocument(f"open outages: {error!r}") from error


def _to_json(outage: Outage) -> dict[str, object]:
    return {
        "id": outage.id,
        "since": to_iso(outage.since),
        "opened": to_iso(outage.opened),
        "ended": _time(outage.ended),
        "reopened": outage.reopened,
        "untold_since": _time(outage.untold_since),
        "slack": outage.target.slack,
        "mention": outage.target.mention,
        "others": outage.target.others,
        "family": outage.family,
        "rollouts": {name: [to_iso(one.since), _time(one.seen_from)] for name, one in outage.members.items()},
    }


def _from_json(entry: Mapping[str, object]) -> Outage:
    return Outage(
        id=_text(entry["id"]) or "",
        since=from_iso(_text(entry["since"]) or ""),
        opened=from_iso(_text(entry["opened"]) or ""),
        members=_members(entry["rollouts"]),
        target=Target(_text(entry["slack"]), _text(entry["mention"]), _text(entry["others"]) or ""),
        family=_text(entry["family"]) or "",
        ended=_moment(entry["ended"]),
        reopened=int(str(entry["reopened"])),
        untold_since=_moment(entry["untold_since"]),
    )


def _members(value: object) -> Mapping[str, BlindRollout]:
    if not isinstance(value, dict):
        raise TypeError("rollouts")
    return {str(name): BlindRollout(_moment(times[0]) or 0.0, _moment(times[1])) for name, times in value.items()}


def _time(moment: float | None) -> str | None:
    return None if moment is None else to_iso(moment)


def _moment(value: object) -> float | None:
    return None if value is None else from_iso(_text(value) or "")


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise TypeError(repr(value)[:80])
