"""The flag as stored: one JSON document a rollout, read by every router and refused unless it is whole and sane."""

from __future__ import annotations

import json
from typing import Any

from killswitch.documents import Fields
from killswitch.errors import BadDocument
from killswitch.flags.flag import MAX_GENERATION, Completion, Flag, Pin, StageEntry, Trip, shadow_problem
from killswitch.flags.shadow_share import ShadowShare, shadow_share
from killswitch.flags.transitions import STOPPED, State
from killswitch.timestamps import from_iso, to_iso

FORMAT = 1
MAX_DOCUMENT_BYTES = 64 * 1024


def to_document(flag: Flag) -> bytes:
    """The flag as stored: JSON, UTF-8, keys in a fixed order."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "rollout": flag.rollout,
        "generation": flag.generation,
        "state": flag.state.value,
        "stage": flag.stage,
        "canary_percent": flag.canary_percent,
        "control": flag.control,
        "canary": flag.canary,
        "salt": flag.salt,
        "armed_at": to_iso(flag.armed_at),
        "stages": [{"stage": s.stage, "percent": s.percent, "at": to_iso(s.at)} for s in flag.stages],
        "trip": None if flag.trip is None else _trip_document(flag.trip),
        "updated_at": to_iso(flag.updated_at),
        "updated_by": flag.updated_by,
    }
    if flag.pin is not None:
        document["pin"] = {"at": to_iso(flag.pin.at), "by": flag.pin.by, "reason": flag.pin.reason}
    if flag.completion is not None:
        done = flag.completion
        document["completion"] = {
            "at": to_iso(done.at),
            "by": done.by,
            "reason": done.reason,
            "control_before": done.control_before,
            "percent_before": done.percent_before,
            "stage_before": done.stage_before,
        }
    if flag.unpinned_at is not None:
        document["unpinned_at"] = to_iso(flag.unpinned_at)
    if flag.canary_after_aa is not None:
        document["canary_after_aa"] = flag.canary_after_aa
    if not flag.shadow_share.nothing:
        document["shadow_percent"] = flag.shadow_percent
        document["shadow_classes"] = dict(flag.shadow_classes)
    # what a shell hands over as an argument may hold half a character; a trip does not fail for that
    return json.dumps(document, ensure_ascii=False).encode(errors="replace")


def _trip_document(trip: Trip) -> dict[str, Any]:
    document: dict[str, Any] = {
        "at": to_iso(trip.at),
        "by": trip.by,
        "reason": trip.reason,
        "incident": trip.incident,
        "rules": list(trip.rules),
        "percent_before": trip.percent_before,
        "stage_before": trip.stage_before,
    }
    return document if trip.drill is None else {**document, "drill": trip.drill}


def from_document(value: bytes, *, rollout: str) -> Flag:
    """The inverse of `to_document`, for a document that claims to be of ``rollout``.

    Raises BadDocument, naming the field, for anything that is not a whole and sane flag of this
    format and rollout. Unknown fields are ignored, so that a newer writer may add some.
    """
    document = _parse(value, rollout)
    fields = _Fields(document, f"flag of {rollout}")
    state_text = fields.text("state")
    if state_text not in [state.value for state in State if state is not State.ABSENT]:
        raise BadDocument(f"flag of {rollout}: state {state_text!r}")
    state = State(state_text)
    generation = fields.integer("generation")
    if not 1 <= generation <= MAX_GENERATION:
        raise BadDocument(f"flag of {rollout}: generation {generation!r:.80}")
    stages_document = document.get("stages")
    if not isinstance(stages_document, list) or not stages_document:
        raise BadDocument(f"flag of {rollout}: stages must be a list of at least one entry")
    trip_document = document.get("trip")
    pin_document = document.get("pin")
    percent = fields.percent("canary_percent")
    completion = document.get("completion")
    contradiction = _contradiction(state, trip_document, pin_document, completion, percent)
    if contradiction is not None:
        raise BadDocument(f"flag of {rollout}: {state}, but {contradiction}")
    stage = fields.text("stage")
    share = _shadow_share(document, rollout, state=state, stage=stage, percent=percent)
    after_aa = document.get("canary_after_aa")
    return Flag(
        rollout=rollout,
        generation=generation,
        state=state,
        stage=stage,
        canary_percent=percent,
        control=fields.text("control"),
        canary=fields.text("canary"),
        salt=fields.text("salt", empty=True),
        armed_at=from_iso(fields.text("armed_at")),
        stages=tuple(_stage_entry(entry, rollout) for entry in stages_document),
        updated_at=from_iso(fields.text("updated_at")),
        updated_by=fields.text("updated_by", empty=True),
        # one that stayed in the document where someone armed it by hand says nothing about this flag
        trip=_trip(trip_document, rollout) if state in STOPPED and isinstance(trip_document, dict) else None,
        pin=_pin(pin_document, rollout) if isinstance(pin_document, dict) else None,
        completion=_completion(completion, rollout) if isinstance(completion, dict) else None,
        unpinned_at=fields.optional_time("unpinned_at"),
        canary_after_aa=after_aa if isinstance(after_aa, str) else None,
        shadow_percent=share.percent,
        shadow_classes=share.classes,
    )


def _contradiction(
    state: State, trip_document: object, pin_document: object, completion: object, percent: float
) -> str | None:
    """What does not go with the state; None where all does."""
    if (state is State.COMPLETE) != isinstance(completion, dict):
        return "completion says nothing" if state is State.COMPLETE else "it has a completion"
    if state in STOPPED and not isinstance(trip_document, dict):
        return "trip says nothing"
    if state is not State.ARMED and percent != 0.0:
        return f"canary_percent is {percent:g}"
    if (state is State.PINNED) != isinstance(pin_document, dict):
        return "pin says nothing" if state is State.PINNED else "it has a pin"
    return None


def _shadow_share(document: dict[str, Any], rollout: str, *, state: State, stage: str, percent: float) -> ShadowShare:
    """What is shadowed: nothing where the document does not say. Raises BadDocument."""
    try:
        share = shadow_share(document.get("shadow_percent", 0.0), document.get("shadow_classes", {}))
    except ValueError as error:
        raise BadDocument(f"flag of {rollout}: {error}") from error
    if state is not State.ARMED and not share.nothing:
        raise BadDocument(f"flag of {rollout}: {state}, but shadow_percent is {share}")
    problem = shadow_problem(share, stage=stage, canary_percent=percent)
    if problem is not None:
        raise BadDocument(f"flag of {rollout}: {problem}")
    return share


def _parse(value: bytes, rollout: str) -> dict[str, Any]:
    """The JSON object, of this format and rollout. Raises BadDocument."""
    if len(value) > MAX_DOCUMENT_BYTES:
        raise BadDocument(f"flag of {rollout}: {len(value)} bytes, over {MAX_DOCUMENT_BYTES}")
    try:
        document = json.loads(value)
        # half a character, which JSON can hold: no key of the store, no page and no header can
        json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadDocument(f"flag of {rollout}: not JSON ({error})") from error
    if not isinstance(document, dict):
        raise BadDocument(f"flag of {rollout}: not a JSON object")
    fields = _Fields(document, f"flag of {rollout}")
    if fields.integer("format") != FORMAT:
        raise BadDocument(f"flag of {rollout}: format {document['format']}; this version reads {FORMAT}")
    if fields.text("rollout") != rollout:
        raise BadDocument(f"flag of {rollout}: the document is of {document['rollout']!r}")
    return document


def _stage_entry(entry: object, rollout: str) -> StageEntry:
    fields = _Fields(entry, f"flag of {rollout}, stages")
    return StageEntry(fields.text("stage"), fields.percent("percent"), from_iso(fields.text("at")))


def _trip(document: dict[str, Any], rollout: str) -> Trip:
    fields = _Fields(document, f"flag of {rollout}, trip")
    rules = document.get("rules")
    if not isinstance(rules, list) or not all(isinstance(rule, str) for rule in rules):
        raise BadDocument(f"flag of {rollout}, trip: rules must be a list of names")
    drill = document.get("drill")
    return Trip(
        at=from_iso(fields.text("at")),
        by=fields.text("by", empty=True),
        reason=fields.text("reason", empty=True),
        incident=fields.text("incident", empty=True),
        rules=tuple(rules),
        percent_before=fields.percent("percent_before"),
        stage_before=fields.text("stage_before"),
        # anything else is no drill's, so no drill undoes it
        drill=drill if isinstance(drill, int) and not isinstance(drill, bool) else None,
    )


def _pin(document: dict[str, Any], rollout: str) -> Pin:
    fields = _Fields(document, f"flag of {rollout}, pin")
    return Pin(from_iso(fields.text("at")), fields.text("by", empty=True), fields.text("reason", empty=True))


def _completion(document: dict[str, Any], rollout: str) -> Completion:
    fields = _Fields(document, f"flag of {rollout}, completion")
    return Completion(
        from_iso(fields.text("at")),
        fields.text("by", empty=True),
        fields.text("reason", empty=True),
        fields.text("control_before"),
        fields.percent("percent_before"),
        fields.text("stage_before"),
    )


class _Fields(Fields):
    """A flag's fields: the usual ones, and percents."""

    def percent(self, name: str) -> float:
        """0 to 100."""
        value = self.raw.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise BadDocument(f"{self.where}: {name} must be a number, got {value!r:.80}")
        if not 0.0 <= value <= 100.0:  # NaN fails this too
            raise BadDocument(f"{self.where}: {name} must be from 0 to 100, got {value!r:.80}")
        return float(value)
