"""A live drill: everyone really gets control, and the same users get the canary again by themselves.

The flag is tripped as a trip would, with the drill's number in it. `restored` undoes that one trip and no other: a
trip, pin, end or re-arm by anyone else has taken the number out of the flag, or its document has another revision.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from killswitch.drill.record import DrillRecord
from killswitch.errors import BadDocument, OutcomeUnknown, Unavailable
from killswitch.flags import flag as flags
from killswitch.flags.document import from_document as flag_from_document
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import Actor
from killswitch.stores import Committed, Compare, Put, Store, keys
from killswitch.trips.armed_pairs import allowed
from killswitch.trips.flag_history import line_of
from killswitch.trips.generations import counter, lives_of
from killswitch.trips.stored_flags import StoredFlag

log = logging.getLogger(__name__)
ON_CONTROL: Final = 45.0  # seconds after which it is re-armed, however many routers have followed
REARM_WITHIN: Final = 600.0  # seconds after the drill began: later, only a person gives users the canary
_ATTEMPTS = 5


class Restored(StrEnum):
    """What became of a live drill's trip."""

    REARMED = "re-armed"
    NOT_OURS = "not ours"  # someone else has changed the flag since: it stays as they left it
    TOO_LATE = "too late"  # it stays on control until a person re-arms it


def tripped(flag: Flag, record: DrillRecord, *, reason: str, rules: tuple[str, ...], now: float) -> Flag:
    """The flag as the live drill trips it."""
    return flags.trip(
        flag,
        rollout=flag.rollout,
        reason=reason,
        rules=rules,
        incident=record.incident,
        now=now,
        by=by_drill(record),
        actor=Actor.CONTROLLER,
        drill=record.number,
    )


def by_drill(record: DrillRecord) -> str:
    """Who changes the flag, in its history: ``drill 12 (ann@laptop)``."""
    return f"drill {record.number} ({record.by})"[: flags.MAX_NAME]


def restored(store: Store, record: DrillRecord, *, wall: Callable[[], float]) -> Restored:
    """Re-arm what this live drill has tripped: the same stage and percent, and the same users, because of one salt.

    A new generation: routers never obey one again that they have seen tripped. The person who asked for the live drill
    has decided on the re-arm with it. Raises what the store raises; then it is to be called again.
    """
    key = keys.flag(record.rollout)
    for _ in range(_ATTEMPTS):
        item = store.get(key)
        try:
            flag = None if item is None else flag_from_document(item.value, rollout=record.rollout)
        except BadDocument:
            return Restored.NOT_OURS  # no drill writes such a document, and no router obeys it
        if is_restored(flag, record):
            return Restored.REARMED  # the answer to our commit was lost, or another replica was faster
        if item is None or flag is None or not flags.drilled(flag) or flag.trip is None:
            return Restored.NOT_OURS
        if flag.trip.drill != record.number or flag.generation != record.generation:
            return Restored.NOT_OURS
        now = wall()
        if not -REARM_WITHIN <= now - record.began_at <= REARM_WITHIN:
            return Restored.TOO_LATE
        armed = flags.rearm(
            flag,
            rollout=record.rollout,
            reason=f"live drill {record.number} is over",
            now=now,
            by=by_drill(record),
            percent=flag.trip.percent_before,
            stage=flag.trip.stage_before,
            actor=Actor.PERSON,
        )
        lives = lives_of(store, record.rollout)
        counted = counter(record.rollout, max(lives.generation, armed.generation), armed.unpinned_at)
        more = allowed(store, flag, armed, given=None, now=now)
        line = line_of(
            record.rollout, StoredFlag(flag, item.mod_revision), armed,
            at=now, by=by_drill(record), origin=record.origin, reason=f"live drill {record.number} is over",
        )  # fmt: skip
        writes = (Put(key, flag_document(armed)), counted, *line, *more)
        try:
            outcome = store.commit((Compare(key, item.mod_revision), Compare(counted.key, lives.revision)), writes)
        except OutcomeUnknown:
            continue  # read again: the drill's number says whether this is still the drill's flag
        if isinstance(outcome, Committed):
            return Restored.REARMED
    raise Unavailable(f"{record.rollout} changes at this moment; its live drill re-arms it at the next look")


def is_restored(flag: Flag | None, record: DrillRecord) -> bool:
    """Whether the flag is what `restored` leaves: so that a lost answer is not taken for someone else's change."""
    later = flag is not None and flag.armed and flag.generation == record.generation + 1
    return later and flag is not None and flag.updated_by == by_drill(record)
