"""Recorded pairs as numpy columns: what every test of shadow mode is computed from.

One row a pair, in order of ``at`` (when control was asked). Texts are integer codes with a table. Unknown numbers are
NaN, never 0. A million pairs take about 120 MB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from killswitch.shadow.finish_reasons import is_cut
from killswitch.shadow.record import PairRecord, Side

Floats = npt.NDArray[np.float64]
SmallFloats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int32]
SmallCodes = npt.NDArray[np.int8]
Bits = npt.NDArray[np.uint16]

OUTCOMES = ("ok", "refused", "error", "timeout", "cancelled", "budget")
JSON_STATES = ("none", "parses", "broken", "valid", "invalid")
CITATIONS = ("none", "inline", "footnotes")
# the bit of a kind of difference is its place in this tuple: number is 1, date is 2, money is 4 …
DIFFERENCES = (
    "number",
    "date",
    "money",
    "percent",
    "url",
    "identifier",
    "negation",
    "language",
    "format",
    "refusal",
    "tool_call",
    "length",
    "name",
    "order",
)
FACTS = ("number", "date", "money", "percent", "url", "identifier", "negation", "name", "order")
UNKNOWN = -1  # the code of what is not known or not in a table


def bits_of(kinds: Iterable[str]) -> int:
    """Kinds of difference as bits: ``("number", "money")`` -> 5. A kind of a newer format is left out."""
    return sum({1 << DIFFERENCES.index(kind) for kind in kinds if kind in DIFFERENCES})


@dataclass(frozen=True, slots=True)
class SideColumns:
    """One side's features, each (N,).

    ``outcome``: code in `OUTCOMES`. ``seconds``: NaN where not finite. ``first_token_seconds``, tokens and
    ``cost_micros`` (micro-dollars): NaN where unknown. ``opening``: code in `PairColumns.openings`, `UNKNOWN` where
    the table leaves it out. ``language``: code in `PairColumns.languages`. ``json``: code in `JSON_STATES`.
    ``citations``: code in `CITATIONS`. ``cut``: 1 where the limit of tokens ended the answer, 0 where it did not,
    `UNKNOWN` where its finish reason is not known.
    """

    outcome: SmallCodes
    refused: Flags
    cut: SmallCodes
    seconds: SmallFloats
    first_token_seconds: SmallFloats
    input_tokens: SmallFloats
    output_tokens: SmallFloats
    cost_micros: SmallFloats
    characters: SmallFloats
    opening: Codes
    language: Codes
    headings: SmallFloats
    tables: SmallFloats
    list_items: SmallFloats
    code_blocks: SmallFloats
    citations: SmallCodes
    json: SmallCodes
    tool_calls: SmallFloats

    def has_outcome(self, *names: str) -> Flags:
        """Where the outcome is one of these, (N,)."""
        wanted = np.array([name in names for name in (*OUTCOMES, "")])
        found: Flags = wanted[self.outcome]  # the code -1 is the last place
        return found


@dataclass(frozen=True, slots=True)
class PairColumns:
    """N recorded pairs.

    ``noise``: control was asked twice; else the other answer is the canary's. ``prompt_class``: code in ``classes``.
    ``similarity``: NaN where not known. ``equivalent``: 1, 0 or `UNKNOWN`. ``differences``: bits of `DIFFERENCES`.
    ``concurrent``: both ran at once in the same streaming mode. ``win``: a judge's view of the canary, 1 won, 0.5
    tie, 0 lost, NaN where no judge has. ``dropped``: sampled requests that left no pair, by reason.
    """

    at: Floats
    noise: Flags
    prompt_class: Codes
    comparable: Flags
    concurrent: Flags
    streamed: Flags
    identical: Flags
    similarity: SmallFloats
    equivalent: SmallCodes
    differences: Bits
    win: SmallFloats
    control: SideColumns
    other: SideColumns
    classes: tuple[str, ...]
    openings: tuple[str, ...]
    languages: tuple[str, ...]
    dropped: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def size(self) -> int:
        return int(self.at.size)

    def has_difference(self, *kinds: str) -> Flags:
        """Where at least one of these kinds of difference was found, (N,)."""
        found: Flags = (self.differences & np.uint16(bits_of(kinds))) != 0
        return found

    def where(self, rows: Flags | npt.NDArray[np.intp] | slice) -> Self:
        """The pairs of a mask, of row numbers, or of a slice, which copies nothing. Tables and drops stay."""
        chosen: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, np.ndarray):
                chosen[one.name] = value[rows]
            elif isinstance(value, SideColumns):
                chosen[one.name] = SideColumns(*(getattr(value, name.name)[rows] for name in fields(value)))
            else:
                chosen[one.name] = value
        return type(self)(**chosen)

    @classmethod
    def of(
        cls,
        records: Iterable[PairRecord],
        *,
        wins: Mapping[str, float] | None = None,
        dropped: Mapping[str, int] | None = None,
    ) -> Self:
        """The columns of records in any order. ``wins``: a judge's view by the pair's id. For tests and small sets."""
        pairs = sorted(records, key=lambda record: record.at)
        classes, openings, languages = _Table(), _Table(), _Table()
        wins = wins or {}
        return cls(
            at=np.array([pair.at for pair in pairs], dtype=np.float64),
            noise=_flags(pair.kind == "noise" for pair in pairs),
            prompt_class=classes.codes(pair.prompt_class for pair in pairs),
            comparable=_flags(pair.comparable for pair in pairs),
            concurrent=_flags(pair.concurrent for pair in pairs),
            streamed=_flags(pair.streamed for pair in pairs),
            identical=_flags(pair.identical for pair in pairs),
            similarity=_numbers(pair.similarity for pair in pairs),
            equivalent=_known_or_not(pair.equivalent for pair in pairs),
            differences=np.array([bits_of(pair.differences) for pair in pairs], dtype=np.uint16),
            win=_numbers(wins.get(pair.pair) for pair in pairs),
            control=_side([pair.control for pair in pairs], openings, languages),
            other=_side([pair.other for pair in pairs], openings, languages),
            classes=classes.names,
            openings=openings.names,
            languages=languages.names,
            dropped=MappingProxyType(dict(dropped or {})),
        )


class _Table:
    """Texts in order of appearance."""

    def __init__(self) -> None:
        self._code: dict[str, int] = {}

    def codes(self, texts: Iterable[str]) -> Codes:
        return np.array([self._code.setdefault(text, len(self._code)) for text in texts], dtype=np.int32)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._code)


def _side(sides: Sequence[Side], openings: _Table, languages: _Table) -> SideColumns:
    return SideColumns(
        outcome=_codes((side.outcome for side in sides), OUTCOMES),
        refused=_flags(side.refused for side in sides),
        cut=_known_or_not(is_cut(side.finish_reason) for side in sides),
        seconds=_numbers(side.seconds for side in sides),
        first_token_seconds=_numbers(side.first_token_seconds for side in sides),
        input_tokens=_numbers(side.input_tokens for side in sides),
        output_tokens=_numbers(side.output_tokens for side in sides),
        cost_micros=_numbers(side.cost_micros for side in sides),
        characters=_numbers(side.characters for side in sides),
        opening=openings.codes(side.opening for side in sides),
        language=languages.codes(side.language for side in sides),
        headings=_numbers(side.headings for side in sides),
        tables=_numbers(side.tables for side in sides),
        list_items=_numbers(side.list_items for side in sides),
        code_blocks=_numbers(side.code_blocks for side in sides),
        citations=_codes((side.citations for side in sides), CITATIONS),
        json=_codes((side.json for side in sides), JSON_STATES),
        tool_calls=_numbers(side.tool_calls for side in sides),
    )


def _flags(values: Iterable[bool]) -> Flags:
    return np.fromiter(values, dtype=np.bool_)


def _known_or_not(values: Iterable[bool | None]) -> SmallCodes:
    return np.fromiter((UNKNOWN if value is None else value for value in values), dtype=np.int8)


def _numbers(values: Iterable[float | None]) -> SmallFloats:
    """None and what is not finite are NaN."""

    def each() -> Iterator[float]:
        for value in values:
            yield np.nan if value is None or not abs(value) < np.inf else float(value)

    return np.fromiter(each(), dtype=np.float32)


def _codes(values: Iterable[str], table: tuple[str, ...]) -> SmallCodes:
    code = {name: number for number, name in enumerate(table)}
    return np.fromiter((code.get(value, UNKNOWN) for value in values), dtype=np.int8)
