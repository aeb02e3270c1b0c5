"""Pair records with everything ordinary but what a test names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from killswitch.shadow.record import PairRecord, Side
from tests.doubles.pair_records import SIDE

ORDINARY = replace(
    SIDE,
    model="control-1",
    first_token_seconds=None,
    status=200,
    cached_tokens=None,
    output_tokens=120,
    cost_micros=900,
    characters=480,
    words=80,
    opening="Sure, here is",
)


def side(**features: Any) -> Side:
    return replace(ORDINARY, **features)


def pair(at: float = 0.0, *, other: Side = ORDINARY, control: Side = ORDINARY, **fields: Any) -> PairRecord:
    """A canary's pair like control's answer; ``fields`` are those of `PairRecord`."""
    answered = other.outcome in ("ok", "refused")
    ordinary: dict[str, Any] = {
        "pair": f"p{at:g}",
        "rollout": "assistant",
        "generation": 1,
        "kind": "candidate",
        "prompt_class": "",
        "user": "",
        "prompt": "",
        "turn": 1,
        "concurrent": False,
        "streamed": False,
        "comparable": answered,
        "not_comparable": "" if answered else other.outcome,
        "identical": False,
        "similarity": 0.9 if answered else None,
        "equivalent": True if answered else None,
        "differences": (),
    }
    return PairRecord(at=at, control=control, other=other, **(ordinary | fields))
