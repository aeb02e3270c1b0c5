"""Drills in the store: those that are kept, the one that is under way, and what is written when one is over."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from killswitch.drill import record as records
from killswitch.drill import standing as standings
from killswitch.drill.record import KEPT, DrillOutcome, DrillRecord
from killswitch.drill.standing import Claim, DrillStanding
from killswitch.errors import BadDocument, KillswitchError, OutcomeUnknown, Refused, Unavailable
from killswitch.flags.incident import Acknowledged
from killswitch.pages.outbox_entry import into_outbox
from killswitch.pages.page import Page
from killswitch.stores import Committed, Compare, Delete, Item, Put, Store, keys

log = logging.getLogger(__name__)
ACKNOWLEDGE_WITHIN: Final = 3600.0  # seconds from a drill's begin in which its page may be acknowledged
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class OpenDrill:
    """A drill that is under way, as its key says. ``revision``: of that key."""

    rollout: str
    number: int
    revision: int


def open_document(number: int) -> bytes:
    return json.dumps({"number": number}).encode()


def open_drills(store: Store) -> list[OpenDrill]:
    """All drills that are under way. One whose document is damaged has number 0. Raises what the store raises."""
    return [_open(item) for item in store.list(keys.DRILLS_OPEN).items]


def open_drill(store: Store, rollout: str) -> OpenDrill | None:
    item = store.get(keys.drill_open(rollout))
    return None if item is None else _open(item)


def _open(item: Item) -> OpenDrill:
    rollout = item.key.removeprefix(keys.DRILLS_OPEN)
    try:
        number = json.loads(item.value)["number"]
    except (ValueError, LookupError, TypeError, RecursionError):
        number = 0
    return OpenDrill(rollout, number if isinstance(number, int) else 0, item.mod_revision)


def kept_drills(store: Store, rollout: str) -> list[DrillRecord]:
    """The newest drills of the rollout, the newest first; damaged documents are left out."""
    found = []
    for item in store.list(keys.drills(rollout)).items:
        try:
            found.append(records.from_document(item.value, rollout=rollout))
        except BadDocument as error:
            log.warning("%s", error)
    return sorted(found, key=lambda record: record.number, reverse=True)


def drill_called(store: Store, rollout: str, number: int) -> tuple[DrillRecord, int] | None:
    """The record of one drill, and its revision. Raises BadDocument for a damaged one."""
    item = store.get(keys.drill(rollout, number))
    return None if item is None else (records.from_document(item.value, rollout=rollout), item.mod_revision)


def standing_of(store: Store, rollout: str) -> tuple[DrillStanding, int]:
    """What is known of the rollout's drills, and the revision of that document (0: none yet)."""
    item = store.get(keys.drill_standing(rollout))
    return (DrillStanding(rollout), 0) if item is None else (understood(item), item.mod_revision)


def standings_of_all(store: Store) -> dict[str, tuple[DrillStanding, int]]:
    """By rollout, each with its revision."""
    return {
        item.key.removeprefix(keys.DRILL_STANDINGS): (understood(item), item.mod_revision)
        for item in store.list(keys.DRILL_STANDINGS).items
    }


def understood(item: Item) -> DrillStanding:
    """The standing; an empty one where the document is damaged: its number is found again from the kept drills."""
    rollout = item.key.removeprefix(keys.DRILL_STANDINGS)
    try:
        return standings.from_document(item.value, rollout=rollout)
    except BadDocument as error:
        log.warning("%s; it begins again", error)
        return DrillStanding(rollout)


def next_number(store: Store, rollout: str) -> int:
    """One more than any drill of this rollout has had."""
    listed = [item.key.rpartition("/")[2] for item in store.list(keys.drills(rollout)).items]
    newest = max((int(name) for name in listed if name.isdecimal()), default=0)
    return max(newest, standing_of(store, rollout)[0].newest) + 1


def pruned(store: Store, rollout: str) -> list[Delete]:
    """What is deleted so that no more than `KEPT` drills of a rollout are kept, a few at a time."""
    names = sorted(item.key.rpartition("/")[2] for item in store.list(keys.drills(rollout)).items)
    gone = [int(name) for name in names[: max(0, len(names) - KEPT)][:10] if name.isdecimal()]
    return [Delete(key(rollout, number)) for number in gone for key in (keys.drill, keys.drill_incident)]


def refuse(
    store: Store,
    record: DrillRecord,
    ends: Item | None = None,
    claim: Claim | None = None,
    pages: Sequence[Page] = (),
    *,
    at: float,
) -> bool:
    """Keep a drill that was not begun, so that the person who asked for it sees why.

    ``ends``: the request that it answers; ``claim``: of a scheduled one; with ``pages`` it counts as the last drill.
    False: another replica has answered it. Raises what the store raises.
    """
    key = keys.drill(record.rollout, record.number)
    writes: list[Put | Delete] = [Put(key, records.to_document(record)), *pruned(store, record.rollout)]
    compares = [Compare(key, 0)]
    if pages:
        claim = claim or Claim(*standing_of(store, record.rollout))
        after = claim.standing.after(record, [record, *kept_drills(store, record.rollout)])
        claim = replace(claim, standing=after)
        writes += [into_outbox(page, at=at) for page in pages]
    if claim is not None:
        writes.append(claim.put())
        compares.append(claim.compare())
    if ends is not None:
        writes.append(Delete(ends.key))
        compares.append(Compare(ends.key, ends.mod_revision))
    return isinstance(store.commit(compares, writes), Committed)


def finish(store: Store, record: DrillRecord, under_way: OpenDrill, pages: Sequence[Page], *, at: float) -> bool:
    """Write what became of a drill, with its pages; whether this call did.

    False: someone else has finished it. Raises what the store raises.
    """
    key = keys.drill(record.rollout, record.number)
    for _ in range(_ATTEMPTS):
        now = open_drill(store, record.rollout)
        if now is None or now.revision != under_way.revision:
            return False
        stored = store.get(key)
        before, revision = standing_of(store, record.rollout)
        final = _with_acknowledgement(record, stored)
        kept = [final, *(one for one in kept_drills(store, record.rollout) if one.number != record.number)]
        after = before if final.outcome is DrillOutcome.CUT_SHORT else before.after(final, kept)
        after = replace(after, newest=max(after.newest, record.number))
        writes: list[Put | Delete] = [
            Put(key, records.to_document(final)),
            Put(
                keys.drill_standing(record.rollout),
                standings.to_document(after),
            ),
            Delete(keys.drill_open(record.rollout)),
            *pruned(store, record.rollout),
        ]
        writes += [into_outbox(page, at=at) for page in pages]
        compares = (
            Compare(keys.drill_open(record.rollout), under_way.revision),
            Compare(keys.drill_standing(record.rollout), revision),
            Compare(key, 0 if stored is None else stored.mod_revision),
        )
        try:
            if isinstance(store.commit(compares, writes), Committed):
                return True
        except OutcomeUnknown:
            continue
    raise Unavailable(f"the drill of {record.rollout} could not be written yet: its documents keep changing")


def _with_acknowledgement(record: DrillRecord, stored: Item | None) -> DrillRecord:
    """With what a person has acknowledged while the drill was under way."""
    if stored is None:
        return record
    try:
        known = records.from_document(stored.value, rollout=record.rollout)
    except BadDocument:
        return record
    if known.acknowledged is None:
        return record
    legs = {**record.legs, **{name: known.legs[name] for name in (records.ACKNOWLEDGED,) if name in known.legs}}
    return replace(record, acknowledged=known.acknowledged, legs=legs)


def acknowledge_drill(store: Store, rollout: str, *, by: str, origin: str, at: float) -> DrillRecord:
    """Note that a person has seen the page of the rollout's newest drill; the record after it.

    ``at``: Unix seconds. Raises Refused where there is none to acknowledge, or where someone was first, and what the
    store raises.
    """
    for _ in range(_ATTEMPTS):
        newest = next((one for one in kept_drills(store, rollout) if one.outcome is not DrillOutcome.REFUSED), None)
        found = None if newest is None else drill_called(store, rollout, newest.number)
        if found is None or at - found[0].began_at > ACKNOWLEDGE_WITHIN:
            raise Refused(f"{rollout} has had no drill within the last hour, so there is no page to acknowledge")
        record, revision = found
        if record.acknowledged is not None:
            raise Refused(f"drill {record.number} of {rollout} was acknowledged by {record.acknowledged.by} already")
        seconds = max(at - record.began_at, 0.0)
        seen = replace(record, acknowledged=Acknowledged(by, origin, at)).with_legs(**{records.ACKNOWLEDGED: seconds})
        key = keys.drill(rollout, record.number)
        if isinstance(store.commit((Compare(key, revision),), (Put(key, records.to_document(seen)),)), Committed):
            _note_in_the_standing(store, seen)
            return seen
    raise Unavailable(f"the drill of {rollout} changes at this moment; repeat the command")


def _note_in_the_standing(store: Store, record: DrillRecord) -> None:
    """The metrics are made from the standing; without it the record itself still says it."""
    try:
        known, revision = standing_of(store, record.rollout)
        if record.finished_at is not None and known.newest == record.number:
            put = Put(keys.drill_standing(record.rollout), standings.to_document(replace(known, legs=record.legs)))
            store.commit((Compare(put.key, revision),), (put,))
    except KillswitchError as error:
        log.info("%s: the acknowledgement is not in its metrics: %s", record.rollout, error)
