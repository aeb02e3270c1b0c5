"""One line of a rollout's history: who changed its flag, from where, what it was before and is now, and why.

It is written in the transaction that makes the change, so that no change is without its line. What people do that
changes no flag (a hold, an approval, an acknowledgement, a drill) has a line too, with the same flag before and after.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum

from killswitch.documents import Fields, parse_object
from killswitch.errors import BadDocument
from killswitch.flags.flag import AA, MAX_REASON, Flag
from killswitch.flags.transitions import Action, State
from killswitch.timestamps import to_iso
from killswitch.wording import plain

FORMAT = 1
MAX_DOCUMENT_BYTES = 16 * 1024
_MAX_NAME = 200


class Deed(StrEnum):
    """What was done: the changes of `Action`, and what changes no flag."""

    ARM = Action.ARM.value
    TRIP = Action.TRIP.value
    REARM = Action.REARM.value
    RAISE = Action.RAISE.value
    LOWER = Action.LOWER.value
    PIN = Action.PIN.value
    UNPIN = Action.UNPIN.value
    COMPLETE = Action.COMPLETE.value
    END = Action.END.value
    HOLD = "hold"
    RESUME = "resume"
    APPROVE = "approve"
    ACKNOWLEDGE = "acknowledge"
    DRILL = "drill"


@dataclass(frozen=True, slots=True)
class FlagSummary:
    """What a flag said: ``percent`` of users (0 to 100) had the canary; ``shadow`` in words, "" for nothing."""

    state: State
    generation: int
    stage: str
    percent: float
    control: str
    canary: str
    shadow: str = ""


@dataclass(frozen=True, slots=True)
class FlagChange:
    """``by`` names a person or a controller, ``origin`` says from where ("command line on host-7", "Slack").

    ``at`` is Unix seconds, by the clock of the machine that made the change. ``before`` and ``after`` are None where
    there was no flag. ``reason`` is "" where none was asked for.
    """

    rollout: str
    at: float
    deed: Deed
    by: str
    origin: str
    reason: str
    before: FlagSummary | None
    after: FlagSummary | None


def summary_of(flag: Flag | None) -> FlagSummary | None:
    """What the line says of a flag; None for none."""
    if flag is None:
        return None
    shadow = "" if flag.shadow_share.nothing else str(flag.shadow_share)
    return FlagSummary(
        flag.state, flag.generation, flag.stage, flag.canary_percent, flag.control, flag.rollout_canary, shadow
    )


def deed_of(before: Flag | None, after: Flag | None) -> Deed | None:
    """What was done between two flags; None where nothing was."""
    if after is None:
        return None if before is None else Deed.END
    if before is None:
        return Deed.ARM
    if after.state is not before.state or after.generation != before.generation:
        return _changed_state(before, after)
    if after.canary_percent == before.canary_percent and after.stage == before.stage:
        if after.shadow_share == before.shadow_share:
            return None
        return Deed.RAISE if after.shadow_share.exceeds(before.shadow_share) else Deed.LOWER
    leaves_aa = before.stage == AA != after.stage
    return Deed.RAISE if after.canary_percent > before.canary_percent or leaves_aa else Deed.LOWER


def _changed_state(before: Flag, after: Flag) -> Deed:
    if after.state is State.ARMED:
        return Deed.REARM if before.state is State.TRIPPED else Deed.ARM
    if after.state is State.TRIPPED:
        return Deed.UNPIN if before.state is State.PINNED else Deed.TRIP
    return Deed.PIN if after.state is State.PINNED else Deed.COMPLETE


def change_of(
    rollout: str,
    before: Flag | None,
    after: Flag | None,
    *,
    at: float,
    by: str,
    origin: str,
    reason: str = "",
    deed: Deed | None = None,
) -> FlagChange | None:
    """The line of a change of a flag, or of ``deed`` where that changes none; None where nothing was done.

    ``reason`` "": what the flag itself says of its trip, pin or completion.
    """
    done = deed or deed_of(before, after)
    if done is None:
        return None
    said = reason or _said_by(done, after)
    return FlagChange(rollout, at, done, by, origin, said, summary_of(before), summary_of(after))


def _said_by(deed: Deed, after: Flag | None) -> str:
    if after is None:
        return ""
    if deed is Deed.PIN and after.pin is not None:
        return after.pin.reason
    if deed is Deed.TRIP and after.trip is not None:
        return after.trip.reason
    if deed is Deed.COMPLETE and after.completion is not None:
        return after.completion.reason
    return ""


# --- the document -------------------------------------------------------------------------------


def to_document(change: FlagChange) -> bytes:
    """The line as stored: JSON, UTF-8, bounded, whatever its texts are: no change may fail for its line."""
    document = {
        "format": FORMAT,
        "rollout": change.rollout,
        "at": to_iso(change.at),
        "deed": change.deed.value,
        "by": plain(change.by, _MAX_NAME),
        "origin": plain(change.origin, _MAX_NAME),
        "reason": plain(change.reason, MAX_REASON),
        "before": _summary_to_json(change.before),
        "after": _summary_to_json(change.after),
    }
    return json.dumps(document, ensure_ascii=False).encode(errors="replace")


def from_document(value: bytes, *, rollout: str) -> FlagChange:
    """The inverse of `to_document`. Raises BadDocument, naming the field."""
    where = f"history of {rollout}"
    fields = parse_object(value, where, max_bytes=MAX_DOCUMENT_BYTES)
    if fields.integer("format") != FORMAT or fields.text("rollout") != rollout:
        raise BadDocument(f"{where}: not a line of this format and rollout")
    try:
        deed = Deed(fields.text("deed"))
    except ValueError as error:
        raise BadDocument(f"{where}: deed {fields.raw['deed']!r:.80} is none of {', '.join(Deed)}") from error
    return FlagChange(
        rollout,
        fields.time("at"),
        deed,
        plain(fields.text("by", empty=True), _MAX_NAME),
        plain(fields.text("origin", empty=True), _MAX_NAME),
        plain(fields.text("reason", empty=True), MAX_REASON),
        _summary(fields, "before"),
        _summary(fields, "after"),
    )


def _summary_to_json(summary: FlagSummary | None) -> dict[str, object] | None:
    if summary is None:
        return None
    return {
        "state": summary.state.value,
        "generation": summary.generation,
        "stage": summary.stage,
        "percent": summary.percent,
        "control": summary.control,
        "canary": summary.canary,
        "shadow": plain(summary.shadow, _MAX_NAME),
    }


def _summary(fields: Fields, name: str) -> FlagSummary | None:
    if fields.raw.get(name) is None:
        return None
    one = Fields(fields.raw[name], f"{fields.where}, {name}")
    try:
        state = State(one.text("state"))
    except ValueError as error:
        raise BadDocument(f"{one.where}: state {one.raw['state']!r:.80}") from error
    return FlagSummary(
        state,
        one.integer("generation"),
        plain(one.text("stage"), _MAX_NAME),
        one.number("percent"),
        plain(one.text("control"), _MAX_NAME),
        plain(one.text("canary"), _MAX_NAME),
        plain(one.text("shadow", empty=True), _MAX_NAME),
    )
