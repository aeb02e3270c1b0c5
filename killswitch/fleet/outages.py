"""Blindness is a state of the fleet, and an outage is one thing for each team however many rollouts it blinds.

One document a team in the store lists its outages. A replica that cannot see adds to it only when no replica's
heartbeat reports a good evaluation; the compare makes the page one page.

Rollouts that go blind at about the same time, in the same way and with the same people to tell share an
outage. Each of them keeps the time of its own last good evaluation, from which its policy counts. An outage
is over after some good ticks in a row; what goes blind again soon after reopens it without another page.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from killswitch.errors import BadDocument, BadTransaction
from killswitch.fleet.heartbeat import Heartbeat
from killswitch.pages.outbox import new_entry
from killswitch.pages.outbox import to_document as outbox_document
from killswitch.pages.page import Page
from killswitch.stores import Committed, Compare, Delete, Put, Store, keys
from killswitch.stores.limits import Part, portions
from killswitch.timestamps import from_iso, to_iso

FORMAT = 2
# Two ticks in a row: one may be a hiccup, and the page must go out within three intervals of the outage's start.
MISSED_TICKS = 2
# A metric store that comes and goes is not back.
GOOD_TICKS = 3
# Whoever goes blind within so many ticks of an outage's start belongs to it.
JOINING_TICKS = 3
# Blind again so soon after RECOVERED is the same outage, told anew only if it lasts a tick longer than a hiccup.
REOPEN_WITHIN = 600.0
STAYED_TICKS = 1
# After so many returns no longer stretch of good ticks is asked for.
_PATIENCE = 2
# Heartbeats of replicas differ by a tick or two; a good evaluation so far ahead was never made.
_AHEAD = 600.0
# Replicas are a tick or two apart; beyond that one of them has another clock, or hangs.
_SAME_CLOCK_TICKS = 2
# Pages of one team in one transaction: many single outages of a team may end at one tick.
MAX_PAGES_AT_ONCE = 40


@dataclass(frozen=True, slots=True)
class Target:
    """Who is told: one page an outage for each of them."""

    slack: str | None = None
    mention: str | None = None


@dataclass(frozen=True, slots=True)
class Blind:
    """A rollout that no replica sees now. ``since``: its last good evaluation, or when it was first watched.

    ``family``: in what way it is blind, where one cause is not likely to blind in two ways.
    """

    since: float
    why: str
    target: Target = Target()
    family: str = ""


@dataclass(frozen=True, slots=True)
class BlindRollout:
    """A rollout of an outage. ``since``: its last good evaluation; ``seen_from``: the first of those in a row."""

    since: float
    seen_from: float | None = None


@dataclass(frozen=True, slots=True)
class Outage:
    """Times in Unix seconds. ``since``: the first member's last good evaluation; ``opened``: the tick it was told of.

    ``ended``: the tick it was over; it is kept for a while, lest it comes back. ``reopened``: how often it did.
    ``untold_since``: the tick of a return that has not been paged.
    """

    id: str
    since: float
    opened: float
    members: Mapping[str, BlindRollout]
    target: Target = Target()
    family: str = ""
    ended: float | None = None
    reopened: int = 0
    untold_since: float | None = None


@dataclass(frozen=True, slots=True)
class OutageChange:
    """What became of the outages at one tick. ``book``: all to be remembered; each of ``started`` is to be paged.

    ``left``: open ones whose rollouts no replica watches any more; their page is closed without a verdict.
    ``renamed``: the id that an outage paged again had before, by its new one.
    """

    book: tuple[Outage, ...]
    started: tuple[Outage, ...] = ()
    ended: tuple[Outage, ...] = ()
    left: tuple[Outage, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def open(self) -> tuple[Outage, ...]:
        return tuple(outage for outage in self.book if outage.ended is None)


def fleet_good_at(own: float, others: Iterable[float]) -> float:
    """The newest tick at which any replica had a usable verdict for a rollout."""
    return max((own, *others))


@dataclass(slots=True)
class Clocks:
    """When others saw, on our clock: a replica may ask another metric store, hours ahead of ours or behind.

    ``met``: by store key, the newest tick a replica has told, and our own tick when we first read it. So a replica
    that hangs grows old, whatever its clock says.
    """

    interval: float
    met: dict[str, tuple[float, float]] = field(default_factory=dict)

    def note(self, beats: Mapping[str, Heartbeat], tick: float) -> None:
        """Take in what was read at our ``tick``."""
        self.met = {key: (beat.tick, self._at(key, beat, tick)) for key, beat in beats.items()}

    def good_at(self, key: str, beat: Heartbeat, rollout: str, tick: float) -> float:
        """The last tick, on our clock, at which this replica had a usable verdict; 0 for never or not watched."""
        good = beat.good_at(rollout)
        if good <= 0.0 or abs(beat.tick - tick) <= _SAME_CLOCK_TICKS * self.interval:
            return good
        return self._at(key, beat, tick) - (beat.tick - good)

    def _at(self, key: str, beat: Heartbeat, tick: float) -> float:
        """Our tick at which its newest one was told; met for the first time, it may have been told long ago."""
        known = self.met.get(key)
        if known is None:
            return min(beat.tick, tick)
        return known[1] if known[0] == beat.tick else tick


@dataclass(slots=True)
class _Step:
    """One tick's work on the outages."""

    tick: float
    interval: float
    good_at: Mapping[str, float]
    watched: frozenset[str]
    kept: list[Outage] = field(default_factory=list)
    started: list[Outage] = field(default_factory=list)
    ended: list[Outage] = field(default_factory=list)
    left: list[Outage] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)

    def look_after(self, outage: Outage) -> None:
        """Who sees again, who is gone, and whether that ends it."""
        if outage.ended is not None:
            if self.tick - outage.ended <= REOPEN_WITHIN:
                self.kept.append(outage)
            return
        members = {name: self._looked_at(one) for name, one in self._watched(outage, self.good_at)}
        if not members:
            if outage.untold_since is None:  # else RECOVERED was the last that was told
                self.left.append(outage)
            return
        # the oftener it has come back, the longer it must hold
        enough = GOOD_TICKS * 2 ** min(outage.reopened, _PATIENCE) - 1
        if all(self._in_a_row(one) >= enough * self.interval for one in members.values()):
            over = replace(outage, members=members, ended=self.tick, untold_since=None)
            self.kept.append(over)
            self.ended.append(over)
            return
        # Seen for long while others stay blind: should it go blind again, that is news.
        members = {name: one for name, one in members.items() if self._in_a_row(one) <= REOPEN_WITHIN}
        self.kept.append(replace(outage, members=members))

    def take_in(self, blind: Mapping[str, Blind]) -> None:
        """Whoever is blind and in no outage yet reopens one, joins one, or starts one."""
        covered = {name for outage in self.kept if outage.ended is None for name in outage.members}
        fresh = {name: one for name, one in blind.items() if name not in covered}
        for index, outage in enumerate(self.kept):
            if outage.ended is not None:
                back = {name for name, one in fresh.items() if name in outage.members and one.target == outage.target}
                if back:
                    self.kept[index] = self._reopened(outage, {name: fresh.pop(name) for name in back})
            elif self.tick - outage.opened <= JOINING_TICKS * self.interval:
                same = {n: b for n, b in fresh.items() if (b.target, b.family) == (outage.target, outage.family)}
                members = {**outage.members, **{name: BlindRollout(fresh.pop(name).since) for name in same}}
                self.kept[index] = replace(outage, members=members)
        groups: dict[tuple[Target, str], dict[str, Blind]] = {}
        for name, one in sorted(fresh.items()):
            groups.setdefault((one.target, one.family), {})[name] = one
        for (target, family), together in groups.items():
            started = Outage(
                id=self._id(target, family),
                since=min(one.since for one in together.values()),
                opened=self.tick,
                members={name: BlindRollout(one.since) for name, one in together.items()},
                target=target,
                family=family,
            )
            self.kept.append(started)
            self.started.append(started)

    def page_what_stayed_away(self, blind: Mapping[str, Blind]) -> None:
        """A return that was to be a short one and is not: whoever was told RECOVERED must know."""
        for index, outage in enumerate(self.kept):
            away = [self.good_at.get(name, blind[name].since) for name in outage.members.keys() & blind.keys()]
            if outage.untold_since is None or not away:
                continue
            began = min(away)
            if self.tick - began >= (MISSED_TICKS + STAYED_TICKS) * self.interval:
                identity = self._id(outage.target, outage.family)
                again = replace(outage, id=identity, since=began, opened=self.tick, untold_since=None)
                self.kept[index] = again
                self.started.append(again)
                self.renamed[again.id] = outage.id

    def _reopened(self, outage: Outage, back: Mapping[str, Blind]) -> Outage:
        members = {**outage.members, **{name: BlindRollout(one.since) for name, one in back.items()}}
        return replace(outage, members=members, ended=None, reopened=outage.reopened + 1, untold_since=self.tick)

    def _watched(
        self, outage: Outage, good_at: Mapping[str, float]
    ) -> Iterable[tuple[str, tuple[BlindRollout, float]]]:
        for name, member in outage.members.items():
            if name in self.watched:
                yield name, (member, good_at.get(name, 0.0))

    def _looked_at(self, known: tuple[BlindRollout, float]) -> BlindRollout:
        member, good = known
        if member.since > self.tick + _AHEAD:
            member = BlindRollout(self.tick)  # a document that was tampered with must not hold an outage open for ever
        if good > member.since:
            in_a_row = member.seen_from is not None and good - member.since <= 1.5 * self.interval
            return BlindRollout(good, member.seen_from if in_a_row else good)
        if member.seen_from is not None and self.tick - member.since >= MISSED_TICKS * self.interval:
            return BlindRollout(member.since)
        return member

    @staticmethod
    def _in_a_row(member: BlindRollout) -> float:
        """Seconds between the first and the last of the good ticks in a row; negative for none."""
        return -1.0 if member.seen_from is None else member.since - member.seen_from

    def _id(self, target: Target, family: str) -> str:
        whom = hashlib.sha256(json.dumps([target.slack, target.mention, family]).encode()).hexdigest()[:8]
        identity = f"blind.{to_iso(self.tick)}.{whom}"
        if not self.ids:
            self.ids = {outage.id for outage in self.kept}
        number = next(n for n in itertools.count(1) if self._numbered(identity, n) not in self.ids)
        self.ids.add(self._numbered(identity, number))
        return self._numbered(identity, number)

    @staticmethod
    def _numbered(identity: str, number: int) -> str:
        """Two outages of one team may come back at one tick."""
        return identity if number == 1 else f"{identity}.{number}"


def next_outages(
    outages: Iterable[Outage],
    *,
    blind: Mapping[str, Blind],
    good_at: Mapping[str, float],
    watched: frozenset[str],
    tick: float,
    interval: float,
) -> OutageChange:
    """Pure. ``blind``: rollouts no replica sees; ``good_at``: the fleet's last good evaluation of each; ``watched``:
    rollouts that any replica watches.

    A rollout leaves its outage when nobody watches it any more, or has been seen for long while others are blind.
    """
    step = _Step(tick, interval, good_at, watched)
    for outage in outages:
        step.look_after(outage)
    step.take_in(blind)
    step.page_what_stayed_away(blind)
    return OutageChange(tuple(step.kept), tuple(step.started), tuple(step.ended), tuple(step.left), step.renamed)


@dataclass(frozen=True, slots=True)
class Book:
    """The outages as stored. ``teams``: by store key, what stands in a team's document and its revision."""

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

    def read(self) -> Book:
        """An unreadable document counts as none, and so does an outage in another team's document."""
        teams: dict[str, tuple[tuple[Outage, ...], int]] = {}
        for item in self._store.list(keys.OUTAGES).items:
            try:
                stored = tuple(one for one in from_document(item.value) if _team(one.target) == item.key)
            except BadDocument:
                stored = ()
            teams[item.key] = (stored, item.mod_revision)
        return Book(tuple(outage for stored, _ in teams.values() for outage in stored), teams)

    def write(
        self, change: OutageChange, before: Book, pages: Mapping[str, Page], guards: Sequence[Compare] = ()
    ) -> bool:
        """Commit the change with its pages, by outage id; whether all of it was committed.

        False where another replica was first, ``guards`` hold no more, or a team has more pages than one transaction
        takes: read again, and go on. Raises OutcomeUnknown, and BadTransaction once all others are written.
        """
        drafts = [
            self._draft(key, after, change.renamed, before, pages)
            for key, after in sorted(_by_team(change.book, before).items())
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
        self, key: str, after: Sequence[Outage], renamed: Mapping[str, str], before: Book, pages: Mapping[str, Page]
    ) -> _TeamDraft:
        """One team's new document with its pages, or with the first of them where they are many."""
        stored, revision = before.teams.get(key, ((), 0))
        remembered = {outage.id for outage in after}
        left = [outage for outage in stored if outage.id not in remembered]
        paged = [outage.id for outage in (*after, *left) if outage.id in pages]
        held = frozenset(paged[MAX_PAGES_AT_ONCE:])
        waiting = held | {renamed[new] for new in held if new in renamed}
        document = [one for one in after if one.id not in held] + [one for one in stored if one.id in waiting]
        told = [pages[page] for page in paged[:MAX_PAGES_AT_ONCE]]
        entries = [Put(keys.outbox(page.id), outbox_document(new_entry(page, at=self._wall()))) for page in told]
        put = Put(key, to_document(document)) if document else Delete(key)
        return _TeamDraft(Part(key, (Compare(key, revision),), (put, *entries)), held_back=bool(held))


@dataclass(frozen=True, slots=True)
class _TeamDraft:
    part: Part[str]
    held_back: bool


def _team(target: Target) -> str:
    """The store key of the outages that these people are told of."""
    return keys.outages(hashlib.sha256(json.dumps([target.slack, target.mention]).encode()).hexdigest()[:16])


def _by_team(book: Iterable[Outage], before: Book) -> dict[str, list[Outage]]:
    """The outages by store key, also of teams that have none any more."""
    after: dict[str, list[Outage]] = {key: [] for key in before.teams}
    for outage in book:
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
        "family": outage.family,
        "rollouts": {name: [to_iso(one.since), _time(one.seen_from)] for name, one in outage.members.items()},
    }


def _from_json(entry: Mapping[str, object]) -> Outage:
    return Outage(
        id=_text(entry["id"]) or "",
        since=from_iso(_text(entry["since"]) or ""),
        opened=from_iso(_text(entry["opened"]) or ""),
        members=_members(entry["rollouts"]),
        target=Target(_text(entry["slack"]), _text(entry["mention"])),
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
