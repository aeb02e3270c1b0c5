"""Prices of models, valid from a date. A price that is not known is None, never 0."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from killswitch.spend.price_files import entries_of
from killswitch.token_usage import Usage

MILLION: Final = 1_000_000


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

    def price(self, model: str, at: float) -> Price | None:
        """The newest price that is valid at ``at`` (Unix seconds); None where none is."""
        known = self._by_model.get(model)
        if known is None:
            return None
        place = bisect_right(known[0], at)
        return known[1][place - 1] if place else None
