"""One drill as it is kept: what was rehearsed, how long each leg took, and what did not work.

A record is written with the drill's transaction and again when the drill is over. The incident and the page that the
drill wrote have ids of their own (`incident_id`), which no incident of a real trip can have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from killswitch.documents import Fields, parse_object
from killswitch.errors import BadDocument
from killswitch.flags.incident import Acknowledged
from killswitch.timestamps import to_iso

FORMAT: Final = 1
GOAL: Final = 30.0  # seconds from a proven breach to 99 % of routers
KEPT: Final = 50  # drills of each rollout
MAX_DOCUMENT_BYTES: Final = 64 * 1024
_DRILL_ID = re.compile(r"(.+)\.drill-[0-9]{1,16}", re.ASCII)
_MAX_PROBLEMS = 20
_MAX_TEXT = 600
_MAX_RECEIVERS = 100

# The legs, in the order in which they end. Detection and commit by themselves, the others in seconds since the commit.
DETECTION: Final = "detection"
COMMIT: Final = "commit"
FIRST_ROUTER: Final = "first_router"
ROUTERS: Final = "routers_99"
REARM: Final = "rearm"  # a live drill: when the canary had its users again
ACKNOWLEDGED: Final = "acknowledged"
PAGE: Final = "page:"  # and the receiver's name
ROLLBACK: Final = "rollback"  # detection, commit and 99 % of routers together


class DrillOutcome(StrEnum):
    """What became of a drill. REFUSED: it was not begun. CUT_SHORT: someone changed the flag during it, so it says
    nothing about a rollback, good or bad.
    """

    UNDER_WAY = "under way"
    PASSED = "passed"
    SLOW = "slow"
    FAILED = "failed"
    CUT_SHORT = "cut short"
    REFUSED = "refused"


FAULTS: Final = frozenset({DrillOutcome.SLOW, DrillOutcome.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillRecord:
    """One drill. Times are Unix seconds, ``legs`` seconds by name.

    ``by``: who asked (a person, or ``schedule``), ``origin``: from where; ``controller``: the replica that ran it.
    ``generation``, ``stage``, ``percent`` (0 to 100): the flag's. ``rule``, ``sentence``: what the synthetic breach
    broke, and the verdict's words; ``proven_after``: seconds of synthetic readings until it was proven. ``revision``:
    the store's, of the drill's transaction. ``followed`` of ``routers`` had acted on it in the end. ``receivers``: the
    pages' that were expected to take the page. ``problems``: what did not work, in words. ``nonce``: of the request.
    """

    rollout: str
    number: int
    live: bool
    by: str
    origin: str
    controller: str
    began_at: float
    generation: int
    stage: str
    percent: float
    outcome: DrillOutcome = DrillOutcome.UNDER_WAY
    rule: str = ""
    sentence: str = ""
    proven_after: float = 0.0
    revision: int = 0
    routers: int = 0
    followed: int = 0
    receivers: tuple[str, ...] = ()
    legs: Mapping[str, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    finished_at: float | None = None
    acknowledged: Acknowledged | None = None
    nonce: str = ""

    @property
    def incident(self) -> str:
        return incident_id(self.rollout, self.number)

    @property
    def rollback(self) -> float | None:
        """Seconds from the tick of the proven breach to 99 % of routers; None if they did not follow."""
        return self.legs.get(ROLLBACK)

    def with_legs(self, **seconds: float) -> DrillRecord:
        return replace(self, legs={**self.legs, **seconds})

    def cut_short(self, why: str, *, at: float) -> DrillRecord:
        """The record of a drill that ended because someone changed the flag."""
        problems = (*self.problems, why)[:_MAX_PROBLEMS]
        return replace(self, outcome=DrillOutcome.CUT_SHORT, problems=problems, finished_at=at)

    def settled(self, problems: tuple[str, ...], *, at: float) -> DrillRecord:
        """The record of a drill that is over, with its outcome."""
        every = (*self.problems, *problems)
        slow = self.rollback is not None and self.rollback > GOAL
        outcome = DrillOutcome.FAILED if every else DrillOutcome.SLOW if slow else DrillOutcome.PASSED
        return replace(self, outcome=outcome, problems=every[:_MAX_PROBLEMS], finished_at=at)


def incident_id(rollout: str, number: int) -> str:
    return f"{rollout}.drill-{number}"


def not_an_incident(name: str) -> str | None:
    """What a person should do who asks for the incident ``name``, which is a drill's id; None for any other name."""
    match = _DRILL_ID.fullmatch(name)
    if match is None:
        return None
    rollout = match[1]
    return (
        f"{name!r:.200} is the id of a drill, a rehearsed trip, and no incident; "
        f"`killswitch drill {rollout:.120} --last` shows the newest drill, and --list instead of --last all kept ones"
    )


def rollback_of(legs: Mapping[str, float]) -> float | None:
    parts = [legs.get(name) for name in (DETECTION, COMMIT, ROUTERS)]
    return None if None in parts else sum(part for part in parts if part is not None)


# --- the document -------------------------------------------------------------------------------


def to_document(record: DrillRecord) -> bytes:
    return json.dumps(to_json(record), ensure_ascii=False).encode(errors="replace")


def to_json(record: DrillRecord) -> dict[str, Any]:
    acknowledged = record.acknowledged
    return {
        "format": FORMAT,
        "rollout": record.rollout,
        "number": record.number,
        "incident": record.incident,
        "live": record.live,
        "by": record.by,
        "nonce": record.nonce,
        "origin": record.origin,
        "controller": record.controller,
        "began_at": to_iso(record.began_at),
        "finished_at": None if record.finished_at is None else to_iso(record.finished_at),
        "outcome": record.outcome.value,
        "problems": [problem[:_MAX_TEXT] for problem in record.problems],
        "generation": record.generation,
        "stage": record.stage,
        "canary_percent": record.percent,
        "rule": record.rule,
        "sentence": record.sentence[:_MAX_TEXT],
        "proven_after": record.proven_after,
        "revision": record.revision,
        "routers": record.routers,
        "followed": record.followed,
        "receivers": list(record.receivers[:_MAX_RECEIVERS]),
        "legs": {name: round(seconds, 3) for name, seconds in record.legs.items()},
        "goal": GOAL,
        "acknowledged": None
        if acknowledged is None
        else {"by": acknowledged.by, "origin": acknowledged.origin, "at": to_iso(acknowledged.at)},
    }


def from_document(value: bytes, *, rollout: str) -> DrillRecord:
    """The inverse of `to_document`, for a document that claims to be of ``rollout``. Raises BadDocument."""
    fields = parse_object(value, f"drill of {rollout}", max_bytes=MAX_DOCUMENT_BYTES)
    if fields.integer("format") != FORMAT:
        raise BadDocument(f"{fields.where}: format {fields.raw['format']!r:.40}; this version reads {FORMAT}")
    if fields.text("rollout") != rollout:
        raise BadDocument(f"{fields.where}: the document is of {fields.raw['rollout']!r:.80}")
    try:
        outcome = DrillOutcome(fields.text("outcome"))
    except ValueError as error:
        raise BadDocument(f"{fields.where}: outcome {fields.raw['outcome']!r:.40} is unknown") from error
    legs = Fields(fields.raw.get("legs"), f"{fields.where}, legs")
    known = fields.raw.get("acknowledged")
    return DrillRecord(
        rollout=rollout,
        number=fields.integer("number"),
        live=fields.flag("live"),
        by=fields.text("by", empty=True),
        origin=fields.text("origin", empty=True),
        controller=fields.text("controller", empty=True),
        began_at=fields.time("began_at"),
        generation=fields.integer("generation"),
        stage=fields.text("stage", empty=True),
        percent=fields.number("canary_percent"),
        outcome=outcome,
        rule=fields.text("rule", empty=True),
        sentence=fields.text("sentence", empty=True),
        proven_after=fields.number("proven_after"),
        revision=fields.integer("revision"),
        routers=fields.integer("routers"),
        followed=fields.integer("followed"),
        receivers=fields.texts("receivers"),
        legs={name: legs.number(name) for name in legs.raw},
        problems=fields.texts("problems"),
        finished_at=fields.optional_time("finished_at"),
        nonce=fields.text("nonce", empty=True),
        acknowledged=None if known is None else _acknowledged(Fields(known, f"{fields.where}, acknowledged")),
    )


def _acknowledged(fields: Fields) -> Acknowledged:
    return Acknowledged(fields.text("by", empty=True), fields.text("origin", empty=True), fields.time("at"))
