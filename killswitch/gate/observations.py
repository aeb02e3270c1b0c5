"""What the statistics of the gate see of a golden row: two marks, two latencies, two costs."""

from __future__ import annotations

from dataclasses import dataclass

from killswitch.gate.answers import Answer, RowResult


@dataclass(frozen=True, slots=True)
class Observation:
    """One row. Seconds are None for a failed call; micro-dollars are None where the cost is not known.

    Costs are the most that is likely. ``prod_guessed`` and ``candidate_guessed``: the part that no provider has said.

    ``prod_agrees_with_itself``: None where prod was asked once, or one of its calls failed.
    """

    schema_ok: bool
    agrees: bool
    prod_agrees_with_itself: bool | None
    prod_seconds: float | None
    candidate_seconds: float | None
    prod_cost: int | None
    candidate_cost: int | None
    prod_guessed: int = 0
    candidate_guessed: int = 0


def observed(row: RowResult) -> Observation:
    """What the statistics see of a row."""
    return Observation(
        schema_ok=row.candidate.schema_ok,
        agrees=row.agrees,
        prod_agrees_with_itself=row.prod_agrees_with_itself,
        prod_seconds=row.prod.answer.seconds,
        candidate_seconds=row.candidate.answer.seconds,
        prod_cost=row.prod.answer.likely_cost,
        candidate_cost=row.candidate.answer.likely_cost,
        prod_guessed=_guessed(row.prod.answer),
        candidate_guessed=_guessed(row.candidate.answer),
    )


def _guessed(answer: Answer) -> int:
    return (answer.likely_cost or 0) - (answer.least_cost or 0)
