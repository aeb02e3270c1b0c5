"""What live traffic costs: tokens of each step times prices, counted once each. Pure.

Steps follow each other without a gap; `CountedUpTo` says how far they are counted. A step whose tokens or price are not
known is not counted as 0: counting waits at it, for a day at most. What is never known is ``missing``, in seconds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from killswitch.documents import parse_object
from killswitch.errors import BadDocument
from killswitch.spend.caps import MOST_MICROS
from killswitch.spend.prices import MILLION, Price, PriceList
from killswitch.timestamps import DAY, to_iso

FORMAT: Final = 1
_MAX_BYTES: Final = 4096
WAITS: Final = DAY  # seconds that counting waits for a price or a reading

TokenKind = Literal["input", "cached_input", "cache_write", "output", "reasoning"]


@dataclass(frozen=True, slots=True)
class LiveStep:
    """Tokens that a model used between ``start`` and ``tick`` (Unix seconds); None where they could not be read."""

    start: float
    tick: float
    model: str
    tokens: Mapping[TokenKind, float] | None


@dataclass(frozen=True, slots=True)
class CountedUpTo:
    """All steps up to ``tick`` (Unix seconds) are counted, but for ``missing`` seconds of which nothing is known."""

    tick: float
    missing: float = 0.0


@dataclass(frozen=True, slots=True)
class LiveCost:
    """``charges``: micro-dollars by the tick of their step. ``waits_for``: why counting stopped, None if it did not."""

    counted: CountedUpTo
    charges: tuple[tuple[float, int], ...]
    waits_for: str | None = None


def live_cost(counted: CountedUpTo | None, steps: Sequence[LiveStep], prices: PriceList) -> LiveCost:
    """What the steps cost that are not counted yet. ``steps`` in their order, at least one.

    Without ``counted`` counting begins with the first step. Of a step that was counted in part, the rest costs its
    share of the whole.
    """
    now = steps[-1].tick
    so_far = counted or CountedUpTo(steps[0].start)
    charges: list[tuple[float, int]] = []
    for step in _open_steps(steps, so_far.tick):
        cost = _cost(step, so_far.tick, prices)
        if isinstance(cost, str) and now - step.tick < WAITS:
            return LiveCost(so_far, tuple(charges), cost)
        unread = max(0.0, step.start - so_far.tick)
        if isinstance(cost, str):
            unread = step.tick - so_far.tick
        elif cost > 0:
            charges.append((step.tick, cost))
        so_far = replace(so_far, tick=step.tick, missing=so_far.missing + unread)
    return LiveCost(so_far, tuple(charges))


def _open_steps(steps: Sequence[LiveStep], tick: float) -> Iterator[LiveStep]:
    return (step for step in steps if step.tick > tick)


def _cost(step: LiveStep, counted: float, prices: PriceList) -> int | str:
    """Micro-dollars, rounded up; or what is not known."""
    if step.tokens is None:
        return f"the tokens of {step.model} up to {to_iso(step.tick)} could not be read"
    if not all(math.isfinite(number) and number >= 0.0 for number in step.tokens.values()):
        return f"the tokens of {step.model} up to {to_iso(step.tick)} are no numbers"
    price = prices.price(step.model, step.tick)
    if price is None:
        return f"no price of {step.model!r:.100} is known for {to_iso(step.tick)}; add it to the file of prices"
    share = (step.tick - max(step.start, counted)) / (step.tick - step.start)
    cost = _rounded_up(step.tokens, price, share)
    if cost > MOST_MICROS:  # a broken counter: no book could hold it
        return f"the tokens of {step.model} up to {to_iso(step.tick)} are too many to be true"
    return cost


def _rounded_up(tokens: Mapping[TokenKind, float], price: Price, share: float) -> int:
    millionths = sum(math.ceil(number * share) * int(getattr(price, kind)) for kind, number in tokens.items())
    return -(-millionths // MILLION)


def to_document(counted: CountedUpTo) -> bytes:
    return json.dumps({"format": FORMAT, "tick": to_iso(counted.tick), "missing": counted.missing}).encode()


def from_document(value: bytes) -> CountedUpTo:
    """The inverse of `to_document`. Raises BadDocument."""
    fields = parse_object(value, "live spend", max_bytes=_MAX_BYTES)
    if fields.integer("format") != FORMAT:
        raise BadDocument(f"live spend: format {fields.raw['format']!r:.40}; this version reads {FORMAT}")
    return CountedUpTo(fields.time("tick"), max(0.0, fields.number("missing")))
