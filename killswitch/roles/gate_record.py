"""What the store keeps of a run of the promotion gate: what was compared, each number, the verdict and the approval."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from killswitch.documents import Fields, finite, parse_object
from killswitch.errors import BadDocument
from killswitch.timestamps import to_iso

FORMAT = 1
MAX_BYTES = 64 * 1024
MAX_TEXT = 2000  # characters of a sentence or of what a person has typed
MAX_NUMBERS = 20


class GateVerdict(StrEnum):
    """What a run says. UNKNOWN: it could not be finished, or something about it is not known (an error is not data)."""

    PASS = "PASS"  # noqa: S105  # a verdict, no password
    FAIL = "FAIL"
    TOO_FEW_ROWS = "TOO_FEW_ROWS"
    NEEDS_APPROVAL = "NEEDS_APPROVAL"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class GateNumber:
    """One of the four numbers. ``low`` and ``high``: the ends of its interval; None where it cannot be had.

    ``rows_missing``: how many more rows would probably decide it, for TOO_FEW_ROWS. ``sentence`` says it in words.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    bar: float
    verdict: GateVerdict
    rows: int
    rows_missing: int | None
    sentence: str


@dataclass(frozen=True, slots=True)
class GateApproval:
    """A person has approved a run that needs it."""

    by: str
    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class GateRecord:
    """One run. Times are Unix seconds.

    ``golden``: the version hash of the golden set with ``golden_rows`` rows; ``asked_rows`` were asked of both models.
    ``setup``: the hash of all else that the answers and the bars rest on (prompt, schema, parameters, bars).
    ``asking``: the part of it that is sent to the models, without what answers are held against.
    ``point_estimates``: the bars were compared with the plain shares and ratios, without intervals.
    ``cost``: micro-dollars that the run has spent, None where that is not known.
    """

    run: str
    role: str
    prod: str
    candidate: str
    golden: str
    golden_rows: int
    asked_rows: int
    setup: str
    asking: str
    point_estimates: bool
    verdict: GateVerdict
    why: str
    numbers: tuple[GateNumber, ...]
    started_at: float
    ended_at: float
    by: str
    cost: int | None
    approval: GateApproval | None = None

    @property
    def allows_promotion(self) -> bool:
        """Whether a promotion may rest on it: it passes, or a person has approved what it asks to approve."""
        return self.verdict is GateVerdict.PASS or (
            self.verdict is GateVerdict.NEEDS_APPROVAL and self.approval is not None
        )


def to_document(record: GateRecord) -> bytes:
    """The run as stored: JSON, UTF-8."""
    return json.dumps(as_json(record), ensure_ascii=False, allow_nan=False).encode(errors="replace")


def as_json(record: GateRecord) -> dict[str, Any]:
    """The document as plain values, for ``--json`` and reports too."""
    approval = record.approval
    return {
        "format": FORMAT,
        "run": record.run,
        "role": record.role,
        "prod": record.prod,
        "candidate": record.candidate,
        "golden": {"version": record.golden, "rows": record.golden_rows, "asked": record.asked_rows},
        "setup": record.setup,
        "asking": record.asking,
        "point_estimates": record.point_estimates,
        "verdict": record.verdict.value,
        "why": record.why[:MAX_TEXT],
        "numbers": [
            {
                "name": one.name,
                "value": finite(one.value),
                "low": finite(one.low),
                "high": finite(one.high),
                "bar": one.bar,
                "verdict": one.verdict.value,
                "rows": one.rows,
                "rows_missing": one.rows_missing,
                "sentence": one.sentence[:MAX_TEXT],
            }
            for one in record.numbers[:MAX_NUMBERS]
        ],
        "started_at": to_iso(record.started_at),
        "ended_at": to_iso(record.ended_at),
        "by": record.by,
        "cost_micros": record.cost,
        "approval": None
        if approval is None
        else {"by": approval.by, "at": to_iso(approval.at), "reason": approval.reason[:MAX_TEXT]},
    }


def from_document(value: bytes, *, role: str) -> GateRecord:
    """The inverse of `to_document`, for a run that claims to be of ``role``. Raises BadDocument, naming the field."""
    fields = parse_object(value, f"gate run of role {role}", max_bytes=MAX_BYTES)
    if fields.integer("format") != FORMAT:
        raise BadDocument(f"{fields.where}: format {fields.raw['format']}; this version reads {FORMAT}")
    if fields.text("role") != role:
        raise BadDocument(f"{fields.where}: the document is of {fields.raw['role']!r:.80}")
    golden = Fields(fields.raw.get("golden"), f"{fields.where}, golden")
    approval = fields.raw.get("approval")
    return GateRecord(
        run=fields.text("run"),
        role=role,
        prod=fields.text("prod"),
        candidate=fields.text("candidate"),
        golden=golden.text("version"),
        golden_rows=golden.integer("rows"),
        asked_rows=golden.integer("asked"),
        setup=fields.text("setup"),
        asking=fields.text("asking"),
        point_estimates=fields.flag("point_estimates"),
        verdict=_verdict(fields),
        why=fields.text("why", empty=True),
        numbers=tuple(_number(one) for one in fields.objects("numbers")),
        started_at=fields.time("started_at"),
        ended_at=fields.time("ended_at"),
        by=fields.text("by", empty=True),
        cost=None if fields.raw.get("cost_micros") is None else fields.integer("cost_micros"),
        approval=None if approval is None else _approval(Fields(approval, f"{fields.where}, approval")),
    )


def _number(fields: Fields) -> GateNumber:
    return GateNumber(
        name=fields.text("name"),
        value=fields.optional_number("value"),
        low=fields.optional_number("low"),
        high=fields.optional_number("high"),
        bar=fields.number("bar"),
        verdict=_verdict(fields),
        rows=fields.integer("rows"),
        rows_missing=None if fields.raw.get("rows_missing") is None else fields.integer("rows_missing"),
        sentence=fields.text("sentence", empty=True),
    )


def _approval(fields: Fields) -> GateApproval:
    return GateApproval(fields.text("by"), fields.time("at"), fields.text("reason", empty=True))


def _verdict(fields: Fields) -> GateVerdict:
    verdict = fields.text("verdict")
    if verdict not in set(GateVerdict):
        raise BadDocument(f"{fields.where}: verdict {verdict!r:.80} is none of {', '.join(GateVerdict)}")
    return GateVerdict(verdict)
