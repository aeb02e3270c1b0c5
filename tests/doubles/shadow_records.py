"""Pair records with everything ordinary but what a test names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from killswitch.shadow.record import PairRecord, Side

ORDINARY = Side(
    model="control-1",
    outcome="ok",
    seconds=1.0,
    first_token_seconds=None,
    refused=False,
    finish_reason="stop",
    error="",
    status=200,
    input_tokens=300,
    cached_tokens=None,
    output_tokens=120,
    reasoning_tokens=None,
    cost_micros=900,
    characters=480,
    words=80,
    opening="Sure, here is",
    language="en",
    headings=0,
    tables=0,
    list_items=0,
    code_blocks=0,
    citations="none",
    json="none",
    tool_calls=0,
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
