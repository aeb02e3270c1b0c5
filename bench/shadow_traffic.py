"""Recorded pairs drawn at random: a canary with known faults, and a control that rarely says the same twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from killswitch.shadow.evidence.columns import JSON_STATES, OUTCOMES, PairColumns, SideColumns, bits_of

OPENINGS = ("I'd be happy to help", "Sure, here is", "Thanks for your message", "Let me check", "Your order is")
_PLAIN = (0.11, 0.35, 0.24, 0.20, 0.10)


@dataclass(frozen=True, slots=True)
class ShadowTraffic:
    """Rates of a service, its control and its canary, as fractions. The defaults are an equal canary.

    ``…_floor``: among control's second answers. ``refusals_both``: requests that both refuse.
    ``only_control``, ``only_candidate``: refused by one alone. ``slower``: the canary's seconds as a multiple of
    control's. ``happy``: the share of the canary's answers that begin with "I'd be happy to help" (control: 0.11).
    """

    refusals_both: float = 0.009
    only_control: float = 0.002
    only_candidate: float = 0.002
    errors: float = 0.003
    errors_floor: float = 0.003
    facts: float = 0.01
    facts_floor: float = 0.01
    equivalent: float = 0.60
    equivalent_floor: float = 0.60
    similarity: float = 0.80
    similarity_floor: float = 0.80
    broken: float = 0.001
    broken_control: float = 0.001
    language: float = 0.0
    tool_calls: float = 0.005
    tool_calls_floor: float = 0.005
    happy: float = 0.11
    slower: float = 1.0
    concurrent: bool = True
    noise: float = 0.10
    classes: tuple[str, ...] = ("",)


def drawn(traffic: ShadowTraffic, pairs: int, seed: int, *, dropped: Mapping[str, int] | None = None) -> PairColumns:
    """``pairs`` pairs, ten a second, both kinds together."""
    rng = np.random.default_rng(seed)
    noise = rng.random(pairs) < traffic.noise

    def happens(candidate: float, floor: float) -> npt.NDArray[np.bool_]:
        hit: npt.NDArray[np.bool_] = rng.random(pairs) < np.where(noise, floor, candidate)
        return hit

    failed = happens(traffic.errors, traffic.errors_floor)
    draw = rng.random(pairs)
    both = draw < traffic.refusals_both
    only_control = ~both & (draw < traffic.refusals_both + traffic.only_control)
    only_other = ~both & ~only_control & (rng.random(pairs) < np.where(noise, 0.002, traffic.only_candidate))
    differences = np.zeros(pairs, dtype=np.uint16)
    for kind, rates in (
        ("number", (traffic.facts, traffic.facts_floor)),
        ("language", (traffic.language, 0.0)),
        ("tool_call", (traffic.tool_calls, traffic.tool_calls_floor)),
    ):
        differences |= np.where(happens(*rates) & ~failed, bits_of([kind]), 0).astype(np.uint16)
    similarity = np.clip(
        rng.normal(np.where(noise, traffic.similarity_floor, traffic.similarity), 0.1, pairs), 0.0, 1.0
    ).astype(np.float32)
    similarity[failed] = np.nan
    equivalent = happens(traffic.equivalent, traffic.equivalent_floor).astype(np.int8)
    equivalent[failed] = -1
    load = rng.gamma(4.0, 0.25, pairs)  # what slows both down
    return PairColumns(
        at=1.8e9 + np.arange(pairs) / 10.0,
        noise=noise,
        prompt_class=rng.integers(0, len(traffic.classes), pairs).astype(np.int32),
        comparable=~failed,
        concurrent=np.full(pairs, traffic.concurrent),
        streamed=np.zeros(pairs, dtype=np.bool_),
        identical=similarity > 0.99,
        similarity=similarity,
        equivalent=equivalent,
        differences=differences,
        win=np.full(pairs, np.nan, dtype=np.float32),
        control=_side(rng, pairs, traffic, refused=both | only_control, load=load),
        other=_side(rng, pairs, traffic, refused=(both | only_other) & ~failed, load=load, failed=failed, noise=noise),
        classes=traffic.classes,
        openings=OPENINGS,
        languages=("en", "ja"),
        dropped=MappingProxyType(dict(dropped or {})),
    )


def _side(rng: np.random.Generator, pairs: int, traffic: ShadowTraffic, **of: Any) -> SideColumns:
    """One side; with ``failed`` and ``noise`` it is the other one."""
    failed = of.get("failed", np.zeros(pairs, dtype=np.bool_))
    is_candidate = ~of["noise"] if "noise" in of else np.zeros(pairs, dtype=np.bool_)
    outcome = np.where(failed, OUTCOMES.index("timeout"), OUTCOMES.index("ok"))
    outcome = np.where(of["refused"], OUTCOMES.index("refused"), outcome).astype(np.int8)
    rest = np.array(_PLAIN[1:]) / (1.0 - _PLAIN[0])
    opening = 1 + rng.choice(4, pairs, p=rest)
    opening[rng.random(pairs) < np.where(is_candidate, traffic.happy, _PLAIN[0])] = 0
    broken = rng.random(pairs) < np.where(is_candidate, traffic.broken, traffic.broken_control)
    seconds = of["load"] * rng.lognormal(0.0, 0.3, pairs) * np.where(is_candidate, traffic.slower, 1.0)
    seconds[failed] = 30.0
    tokens = rng.lognormal(5.0, 0.8, pairs).astype(np.float32)
    tokens[failed] = np.nan
    zeros = np.zeros(pairs, dtype=np.float32)
    return SideColumns(
        outcome=outcome,
        refused=of["refused"],
        cut=np.zeros(pairs, dtype=np.int8),
        seconds=seconds.astype(np.float32),
        first_token_seconds=np.full(pairs, np.nan, dtype=np.float32),
        input_tokens=np.full(pairs, 300.0, dtype=np.float32),
        output_tokens=tokens,
        cost_micros=tokens * np.float32(10.0),
        characters=tokens * np.float32(4.0),
        opening=opening.astype(np.int32),
        language=np.zeros(pairs, dtype=np.int32),
        headings=zeros,
        tables=zeros,
        list_items=zeros,
        code_blocks=zeros,
        citations=np.zeros(pairs, dtype=np.int8),
        json=np.where(broken, JSON_STATES.index("broken"), JSON_STATES.index("parses")).astype(np.int8),
        tool_calls=zeros,
    )
