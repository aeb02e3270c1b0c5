"""A report of a gate run with every kind of row in it, and every text in it the one that is given."""

from __future__ import annotations

import json

from killswitch.gate.answers import Answer, RowResult, ScoredAnswer
from killswitch.gate.golden import GoldenRow
from killswitch.gate.judging import Floor, GateOutcome
from killswitch.gate.report.document import GateReport
from killswitch.roles.gate_record import GateNumber, GateRecord, GateVerdict
from killswitch.token_usage import Usage

BEGAN = 1_776_608_531.0
PROD = "model-old-2025-11-03"
CANDIDATE = "model-new-2026-04-01"


def answer(
    label: str | None,
    *,
    model: str = PROD,
    text: str = "{}",
    failure: str | None = None,
    problem: str | None = None,
    schema_ok: bool = True,
    answered_by: str | None = None,
    left_out: tuple[str, ...] = (),
) -> ScoredAnswer:
    """``label``: a text, None for none."""
    failed = failure is not None
    said = Answer(
        model=model,
        answered_by=answered_by or model,
        text=None if failed else text,
        failure=failure,
        seconds=None if failed else 0.4,
        usage=None if failed else Usage(input=120, output=8),
        cost=90,
        attempts=5 if failed else 1,
        left_out=left_out,
    )
    known = None if label is None or failed else json.dumps(label)
    return ScoredAnswer(said, schema_ok and not failed, known, problem or failure)


def row(
    number: int,
    expected: str,
    prod: ScoredAnswer,
    candidate: ScoredAnswer,
    *,
    asked: str = "help",
    of: str | None = None,
) -> RowResult:
    """Row ``number`` of the golden set, in class ``of``."""
    golden = GoldenRow(f"row-{number}", ({"role": "user", "content": asked},), json.dumps(expected), number, of)
    return RowResult(golden, prod, candidate, None)


def number(
    name: str = "agreement", verdict: GateVerdict = GateVerdict.PASS, sentence: str = "agreement 96.0%: above 95%"
) -> GateNumber:
    share = name in ("schema", "agreement")
    bar = {"schema": 0.99, "agreement": 0.95, "latency": 1.3, "cost": 1.05}[name]
    value = 0.96 if share else 1.02
    return GateNumber(name, value, value - 0.05, value + 0.02, bar, verdict, 200, None, sentence)


def record(
    verdict: GateVerdict = GateVerdict.FAIL, text: str = "the candidate disagrees", **changed: object
) -> GateRecord:
    """A stored run of 200 rows, of which 120 were asked."""
    said = {
        "run": "20260419T142211Z-4f2a",
        "role": "review_triage",
        "prod": PROD,
        "candidate": CANDIDATE,
        "golden": "ab" * 32,
        "golden_rows": 200,
        "asked_rows": 120,
        "setup": "cd" * 32,
        "asking": "ef" * 32,
        "point_estimates": False,
        "verdict": verdict,
        "why": text,
        "numbers": tuple(number(name, sentence=text) for name in ("schema", "agreement", "latency", "cost")),
        "started_at": BEGAN,
        "ended_at": BEGAN + 84.0,
        "by": "ada@laptop",
        "cost": 41_200,
    }
    return GateRecord(**{**said, **changed})  # type: ignore[arg-type]  # the fields by name


FLOOR = Floor(50, 0.02, 0.0, 0.1, 0.01, -0.02, 0.05, 0.02, "prod disagrees with itself on 2.0% of 50 rows")


def report_of(results: tuple[RowResult, ...], run: GateRecord | None = None) -> GateReport:
    """A report of these rows."""
    stored = record() if run is None else run
    return GateReport(stored, results, GateOutcome(stored.verdict, stored.numbers, FLOOR, stored.why))


def every_kind(text: str) -> tuple[RowResult, ...]:
    """One row of each kind, with the text as input, answer, label, reason, class and name of a model."""
    said = answer(text, text=text)
    other = answer(f"{text} other", text=f"{text} other", model=CANDIDATE, answered_by=text)
    return (
        row(1, text, said, answer(text, text=text, model=CANDIDATE), asked=text, of=text),
        row(2, text, said, other, asked=text, of=text),
        row(3, f"{text} other", said, other, asked=text, of="plain"),
        row(4, "else", said, answer(text, text=text, model=CANDIDATE), asked=text),
        row(5, "else", said, other, asked=text),
        row(6, text, said, answer(None, failure=text, model=CANDIDATE), asked=text),
        row(7, text, said, answer(text, problem=text, schema_ok=False, model=CANDIDATE), asked=text),
        row(8, text, answer(None, failure=f"{text} of prod"), answer(None, problem=text, model=CANDIDATE), asked=text),
    )
