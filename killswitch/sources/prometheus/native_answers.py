"""Native histograms out of answers, and at edges that can be compared. Pure.

An answer holds only the buckets that are not empty. How many observations are at most x is known exactly for every x
that lies inside none of them. So:

- of exponential buckets the edges are those of the coarser of both cohorts' resolutions, and of `FINEST` at most, from
  `LOWEST` to `HIGHEST`; finer ones include them;
- of custom buckets they are all that were ever seen in that histogram, in either cohort.

An edge inside a bucket of either cohort is left out. So no observation counts as slow that may not be.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any, Final

from killswitch.model import Buckets

FINEST: Final = 3
"""The schema of 8 buckets for each doubling (width 9 %)."""

LOWEST: Final = -10
HIGHEST: Final = 12
"""Powers of two, in seconds: 1 ms and 68 minutes."""

_ABOVE_ALL: Final = 1e300
_COARSEST, _FINEST_OF_ALL = -4, 8
_EQUAL: Final = 1e-9
"""Edges are printed and computed with other last digits."""


class NotNative(ValueError):
    """What an answer holds is no native histogram; the text says what it is."""


def histograms_of(row: Mapping[str, Any]) -> Sequence[tuple[Any, Any]]:
    """Time and histogram of each sample of a series. Raises NotNative."""
    samples = row.get("histograms") if "histograms" in row else [row.get("histogram")]
    if "value" in row or "values" in row:
        raise NotNative(
            "the server gives a number where a native histogram was asked for: it computes too little with them; take "
            "Prometheus 2.50 or newer, or keep the classic buckets"
        )
    if not isinstance(samples, list) or any(type(each) is not list or len(each) != 2 for each in samples):
        raise NotNative("a series of the answer holds no native histograms")
    return [(time, histogram) for time, histogram in samples]


def buckets_in(histogram: Any) -> Buckets:
    """A histogram of an answer, at the edges of its buckets that are not empty. Raises NotNative."""
    if not isinstance(histogram, dict):
        raise NotNative("a sample of the answer is no native histogram")
    try:
        whole = _number(histogram["count"])
        rows = [(_number(lower), _number(upper), _number(count)) for _, lower, upper, count in _rows(histogram)]
    except (LookupError, TypeError, ValueError):
        raise NotNative("a native histogram of the answer cannot be read") from None
    edges: dict[float, float] = {}
    below = 0.0
    last = -math.inf
    for lower, upper, count in rows:
        if not (last <= lower * (1 + math.copysign(_EQUAL, lower)) and lower < upper) or math.isnan(count):
            raise NotNative("the buckets of a native histogram are not in order")
        if math.isfinite(lower):
            edges.setdefault(lower, below)
        below += count
        last = upper
        if math.isfinite(upper):
            edges[upper] = below
    if last < math.inf:  # above the last bucket there is nothing, but what counts as not a number
        edges[_ABOVE_ALL] = below
        whole = whole if whole > below * (1 + _EQUAL) else below
    edges[math.inf] = whole
    return Buckets(tuple(edges), tuple(edges.values()))


def _rows(histogram: Mapping[str, Any]) -> Sequence[Any]:
    rows = histogram.get("buckets") or []
    if not isinstance(rows, list):
        raise NotNative("the buckets of a native histogram are no list")
    return rows


def _number(text: Any) -> float:
    if type(text) is not str or len(text) > 64 or "_" in text or text != text.strip():
        raise ValueError(text)
    return float(text)


def edges_of(buckets: Buckets) -> frozenset[float]:
    """The finite edges that a histogram shows."""
    return frozenset(edge for edge in buckets.bounds if abs(edge) < _ABOVE_ALL * _EQUAL)


# --- at comparable edges ----------------------------------------------------------------------


def schema_of(buckets: Buckets, unit_seconds: float) -> int | None:
    """The exponential schema of a histogram's buckets; None for others, and `FINEST` where there is no bucket."""
    found = FINEST
    for lower, upper in _filled(buckets):
        if lower >= _ABOVE_ALL * unit_seconds or (lower < 0 and abs(lower + upper) <= _EQUAL * upper):
            continue  # not a number, or in the zero bucket
        if not (lower > 0 and math.isfinite(upper)):
            return None
        steps = math.log2(math.log2(upper / lower))
        schema = -round(steps)
        place = math.log2(upper / unit_seconds) * 2.0**schema
        if abs(steps + schema) > 1e-6 or abs(place - round(place)) > 1e-6:
            return None
        if not _COARSEST <= schema <= _FINEST_OF_ALL:
            return None
        found = min(found, schema)
    return found


def _filled(buckets: Buckets) -> Iterable[tuple[float, float]]:
    """Edges of the buckets that are not empty."""
    lower, below = -math.inf, 0.0
    for upper, count in zip(buckets.bounds, buckets.counts, strict=True):
        if count != below:
            yield lower, upper
        lower, below = upper, count


@lru_cache(maxsize=64)
def exponential(schema: int, unit_seconds: float) -> tuple[float, ...]:
    """The edges of an exponential schema, in seconds, of a histogram in a unit of this many seconds."""
    each = 2.0**-schema
    first, last = (math.floor((power - math.log2(unit_seconds)) / each) for power in (LOWEST, HIGHEST))
    return tuple(2.0 ** (place * each) * unit_seconds for place in range(first, last + 1))


def at_edges(buckets: Buckets, edges: Sequence[float]) -> dict[float, float]:
    """How many observations are at most each of the ``edges`` at which that is known, and how many there are."""
    bounds, counts = buckets.bounds, buckets.counts
    found: dict[float, float] = {}
    for edge in edges:
        at = bisect_left(bounds, edge * (1 - _EQUAL))
        below = counts[at - 1] if at else 0.0
        if bounds[at] <= edge * (1 + _EQUAL):
            found[edge] = counts[at]
        elif counts[at] == below:
            found[edge] = below
    found[math.inf] = counts[-1]
    return found


def comparable(
    sides: Sequence[Buckets], custom: AbstractSet[float], of_classic: AbstractSet[float], unit_seconds: float
) -> list[Buckets]:
    """Both cohorts' histograms at the same edges.

    ``custom``: in seconds; empty for exponential buckets. ``of_classic``: those of a cohort that is read classically.
    """
    edges: Iterable[float] = custom
    if not custom:
        schemas = [schema_of(side, unit_seconds) for side in sides]
        edges = exponential(min([FINEST, *(schema for schema in schemas if schema is not None)]), unit_seconds)
    edges = sorted({*edges, *of_classic})
    known = [at_edges(side, edges) for side in sides]
    kept = [edge for edge in (*edges, math.inf) if all(edge in each for each in known)]
    return [Buckets(tuple(kept), tuple(each[edge] for edge in kept)) for each in known]
