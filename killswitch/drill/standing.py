"""What is known of a rollout's drills at a glance: the last, the worst of those kept, and when the next is due."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from killswitch.documents import Fields, parse_object
from killswitch.drill.record import DrillOutcome, DrillRecord
from killswitch.errors import BadDocument
from killswitch.stores import Compare, Put, keys
from killswitch.timestamps import to_iso

FORMAT: Final = 1
_MAX_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class DrillStanding:
    """Times are Unix seconds. ``newest``: the highest number given to a drill of this rollout, 0 for none.

    ``last_at``, ``outcome``, ``legs``: of the last drill that is over. ``passed_at``: when one last passed.
    ``worst``: the slowest rollback of the drills that are kept, seconds. ``due``: when the next scheduled drill begins,
    None without a schedule; ``schedule``: that of the rule file by which ``due`` was worked out. ``missed``: whether
    the newest scheduled drill was missed; ``why``: why it could not begin so far.
    """

    rollout: str
    newest: int = 0
    last_at: float | None = None
    outcome: str = ""
    legs: Mapping[str, float] = field(default_factory=dict)
    passed_at: float | None = None
    worst: float | None = None
    due: float | None = None
    schedule: str = ""
    missed: bool = False
    why: str = ""

    def after(self, record: DrillRecord, kept: Iterable[DrillRecord]) -> DrillStanding:
        """With one more drill that is over; ``kept``: all that are kept, it among them."""
        known = [one.rollback for one in kept if one.rollback is not None]
        passed = record.outcome is DrillOutcome.PASSED
        return replace(
            self,
            newest=max(self.newest, record.number),
            last_at=record.finished_at,
            outcome=record.outcome.value,
            legs=record.legs,
            passed_at=record.finished_at if passed else self.passed_at,
            worst=max(known, default=None),
            missed=self.missed and not passed,
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """What a scheduled drill writes together with its begin: the standing with its next time.

    ``revision``: of the standing before it. So the drill that is due is made once, and never lost: as long as nothing
    is begun, it is due.
    """

    standing: DrillStanding
    revision: int

    def compare(self) -> Compare:
        return Compare(keys.drill_standing(self.standing.rollout), self.revision)

    def put(self) -> Put:
        return Put(keys.drill_standing(self.standing.rollout), to_document(self.standing))


def to_document(standing: DrillStanding) -> bytes:
    def when(at: float | None) -> str | None:
        return None if at is None else to_iso(at)

    return json.dumps(
        {
            "format": FORMAT,
            "rollout": standing.rollout,
            "newest": standing.newest,
            "last_at": when(standing.last_at),
            "outcome": standing.outcome,
            "legs": {name: round(seconds, 3) for name, seconds in standing.legs.items()},
            "passed_at": when(standing.passed_at),
            "worst": standing.worst,
            "due": when(standing.due),
            "schedule": standing.schedule,
            "missed": standing.missed,
            "why": standing.why[:600],
        },
        ensure_ascii=False,
    ).encode(errors="replace")


def from_document(value: bytes, *, rollout: str) -> DrillStanding:
    """The inverse of `to_document`. Raises BadDocument."""
    fields = parse_object(value, f"drills of {rollout}", max_bytes=_MAX_BYTES)
    if fields.integer("format") != FORMAT or fields.text("rollout") != rollout:
        raise BadDocument(f"{fields.where}: not a document of this format and rollout")
    legs = Fields(fields.raw.get("legs"), f"{fields.where}, legs")
    return DrillStanding(
        rollout=rollout,
        newest=fields.integer("newest"),
        last_at=fields.optional_time("last_at"),
        outcome=fields.text("outcome", empty=True),
        legs={name: legs.number(name) for name in legs.raw},
        passed_at=fields.optional_time("passed_at"),
        worst=fields.optional_number("worst"),
        due=fields.optional_time("due"),
        schedule=fields.text("schedule", empty=True),
        missed=fields.flag("missed"),
        why=fields.text("why", empty=True),
    )
