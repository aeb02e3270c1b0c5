"""Rows as the gate's statistics see them, written down by what is wrong with them."""

from __future__ import annotations

from killswitch.gate.observations import Observation


def gate_rows(
    count: int,
    *,
    misfits: int = 0,
    mismatches: int = 0,
    own: int = 0,
    slower: float = 1.0,
    dearer: float = 1.0,
    failed: int = 0,
) -> list[Observation]:
    """``count`` rows; the first ``misfits`` miss the schema, the first ``mismatches`` differ from prod, the last
    ``own`` are those on which prod differs from itself. The first ``failed`` calls of the candidate failed."""
    return [
        Observation(
            schema_ok=at >= max(misfits, failed),
            agrees=at >= max(mismatches, failed),
            prod_agrees_with_itself=at < count - own,
            prod_seconds=1.0 + at / count,
            candidate_seconds=None if at < failed else slower * (1.0 + at / count),
            prod_cost=1000 + at % 7,
            candidate_cost=round(dearer * (1000 + at % 7)),
        )
        for at in range(count)
    ]
