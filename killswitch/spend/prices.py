"""Prices of models, valid from a date. A price that is not known is None, never 0."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from killswitch.spend.price_files import INSTEAD, entries_of
from killswitch.timestamps import to_iso
from killswitch.token_usage import Usage
from killswitch.wording import money_in_words, plain

MILLION: Final = 1_000_000
JUMP: Final = 8  # a new price that is this many times the old one, or this part of it, is asked about


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs from ``valid_from`` (Unix seconds): whole micro-dollars per million tokens of each kind."""

    model: str
    valid_from: float
    input: int
    cached_input: int
    cache_write: int
    output: int
    reasoning: int
    _dearest_input: int = field(init=False, repr=False, compare=False)
    _dearest_output: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_dearest_input", max(self.input, self.cached_input, self.cache_write))
        object.__setattr__(self, "_dearest_output", max(self.output, self.reasoning))

    def cost(self, usage: Usage) -> int:
        """Micro-dollars, rounded up."""
        millionths = (
            usage.input * self.input
            + usage.cached_input * self.cached_input
            + usage.cache_write * self.cache_write
            + usage.output * self.output
            + usage.reasoning * self.reasoning
        )
        return -(-millionths // MILLION)

    def at_most(self, input_tokens: int, output_tokens: int) -> int:
        """Micro-dollars, rounded up, that this many tokens can cost, whatever is cached or thought."""
        return -(-(input_tokens * self._dearest_input + output_tokens * self._dearest_output) // MILLION)


class PriceList:
    """Prices by model and time. Immutable."""

    def __init__(self, prices: Iterable[Price]) -> None:
        by_model: dict[str, list[Price]] = {}
        for price in sorted(prices, key=lambda one: one.valid_from):
            by_model.setdefault(price.model, []).append(price)
        self._by_model = {
            model: (tuple(price.valid_from for price in known), tuple(known)) for model, known in by_model.items()
        }

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> PriceList:
        """The prices of a JSON file, or of a YAML file if its name ends in .yaml or .yml.

        Raises BadSettings with every problem of the file, one line each.
        """
        return cls(
            Price(
                model=entry.model,
                valid_from=entry.valid_from,
                **{kind: int(dollars * MILLION) for kind, dollars in entry.dollars.items()},
            )
            for entry in entries_of(Path(path))
        )

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(sorted(self._by_model))

    @property
    def odd(self) -> tuple[str, ...]:
        """What may be a mistake, with the fix: a decimal point that slipped, kinds in each other's place."""
        return tuple(said for _, known in self._by_model.values() for said in _odd(known))

    def price(self, model: str, at: float) -> Price | None:
        """The newest price that is valid at ``at`` (Unix seconds); None where none is."""
        known = self._by_model.get(model)
        if known is None:
            return None
        place = bisect_right(known[0], at)
        return known[1][place - 1] if place else None


def _odd(known: Sequence[Price]) -> Iterator[str]:
    for price in known:
        for cheap, dear in (("cached_input", "input"), ("input", "output")):
            if getattr(price, cheap) > getattr(price, dear) > 0:
                yield _check(price, f"{cheap} costs more than {dear}")
    for before, price in pairwise(known):
        for kind in INSTEAD:
            old, new = getattr(before, kind), getattr(price, kind)
            if min(old, new) > 0 and max(old, new) >= JUMP * min(old, new):
                yield _check(price, f"{kind} goes from {money_in_words(old)} to {money_in_words(new)}")


def _check(price: Price, what: str) -> str:
    day = to_iso(price.valid_from)[:10]
    return f"price of {plain(price.model, 80)} from {day}: {what}; fix: compare it with the provider's price list"
