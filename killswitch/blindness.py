"""Blindness is a state of the fleet, and an outage is one thing however many rollouts it blinds.

One document in the store lists the open outages. A replica that cannot see adds to it only when no
replica's heartbeat reports a good evaluation; the compare makes the page one page.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from killswitch.errors import BadDocument, OutcomeUnknown
from killswitch.heartbeat import Heartbeat
from killswitch.message import Page
from killswitch.outbox import new_entry
from killswitch.outbox import to_document as outbox_document
from killswitch.stores import Committed, Compare, Put, Store, keys
from killswitch.timestamps import from_iso, to_iso

FORMAT = 1
# Two ticks in a row: one may be a hiccup, and the page must go out within three intervals of the outage's start.
MISSED_TICKS = 2


@dataclass(frozen=True, slots=True)
class Outage:
    """``since`` is the last good evaluation, Unix seconds; ``rollouts`` maps each blind one to why."""

    id: str
    since: float
    rollouts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """What became of the open outages at one tick."""

    open: tuple[Outage, ...]
    started: Outage | None = None
    ended: tuple[Outage, ...] = ()


def fleet_good_at(rollout: str, own: float, others: Iterable[Heartbeat]) -> float:
    """The newest tick at which any replica had a usable verdict for the rollout."""
    return max((own, *(heartbeat.good_at(rollout) for heartbeat in others)))


def next_outages(
    outages: tuple[Outage, ...],
    *,
    blind: Mapping[str, str],
    seen: frozenset[str],
    watched: frozenset[str],
    since: float,
    tick: float,
) -> Change:
    """Pure. ``blind``: rollouts no replica sees, with why; ``seen``: those just judged; ``watched``: by anybody.

    A rollout leaves its outage when somebody sees it again or nobody watches it any more.
    """
    kept: list[Outage] = []
    ended: list[Outage] = []
    for outage in outages:
        left = {name: why for name, why in outage.rollouts.items() if name in watched and name not in seen}
        if left:
            kept.append(replace(outage, rollouts=left))
        else:
            ended.append(outage)
    covered = {name for outage in kept for name in outage.rollouts}
    fresh = {name: why for name, why in blind.items() if name not in covered}
    if not fresh:
        return Change(tuple(kept), None, tuple(ended))
    if kept:
        # More rollouts blinded while an outage is open: the same outage growing, not a second page.
        kept[0] = replace(kept[0], rollouts={**kept[0].rollouts, **fresh})
        return Change(tuple(kept), None, tuple(ended))
    started = Outage(f"blind.{to_iso(tick)}", since, fresh)
    return Change((started,), started, tuple(ended))


class OutageBook:
    """The open outages as stored. ``wall`` gives Unix seconds."""

    def __init__(self, store: Store, *, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall

    def read(self) -> tuple[tuple[Outage, ...], int]:
        """Open outages and the document's revision (0: none yet). An unreadable document counts as none."""
        item = self._store.get(keys.OUTAGES)
        if item is None:
            return (), 0
        try:
            return from_document(item.value), item.mod_revision
        except BadDocument:
            return (), item.mod_revision

    def write(self, change: Change, revision: int, pages: Iterable[Page]) -> bool:
        """Commit the change with its pages; False when another replica was first or the outcome is unknown."""
        entries = [Put(keys.outbox(page.id), outbox_document(new_entry(page, at=self._wall()))) for page in pages]
        try:
            outcome = self._store.commit(
                (Compare(keys.OUTAGES, revision),), (Put(keys.OUTAGES, to_document(change.open)), *entries)
            )
        except OutcomeUnknown:
            return False
        return isinstance(outcome, Committed)


def to_document(outages: Iterable[Outage]) -> bytes:
    return json.dumps(
        {
            "format": FORMAT,
            "open": [
                {"id": outage.id, "since": to_iso(outage.since), "rollouts": dict(outage.rollouts)}
                for outage in outages
            ],
        }
    ).encode()


def from_document(value: bytes) -> tuple[Outage, ...]:
    """Raises BadDocument."""
    try:
        document = json.loads(value)
        return tuple(
            Outage(
                str(entry["id"]),
                from_iso(entry["since"]),
                {str(name): str(why) for name, why in entry["rollouts"].items()},
            )
            for entry in document["open"]
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadDocument(f"open outages: {error!r}") from error
