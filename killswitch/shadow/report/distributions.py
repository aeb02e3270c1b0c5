"""Two distributions side by side, from counts of whole numbers: quantiles, log bins, Wasserstein distance.

Counts are exact and sums are of whole numbers, so that the order of records changes nothing. Shapes: V distinct values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from killswitch.shadow.report.document import Quantiles, Spread

Whole = npt.NDArray[np.int64]

_BINS_PER_DECADE = 10
_DECADES = 12
_EDGES: Whole = np.unique(
    np.ceil(10.0 ** (np.arange(_DECADES * _BINS_PER_DECADE + 1) / _BINS_PER_DECADE) - 1e-9)
).astype(np.int64)


@dataclass(frozen=True, slots=True)
class ValueCounts:
    """``values`` (V,), rising and distinct, at least 0; ``counts`` (V,) of each; ``unknown``: answers without one."""

    values: Whole
    counts: Whole
    unknown: int = 0

    @property
    def known(self) -> int:
        return int(self.counts.sum())


def tally(values: Whole, counts: Whole, unknown: int = 0) -> ValueCounts:
    """The tally of values in any order, each with its count. Negative values count as unknown."""
    order = np.argsort(values, kind="stable")
    values, counts = values[order], counts[order]
    below = values < 0
    return ValueCounts(values[~below], counts[~below], unknown + int(counts[below].sum()))


def quantile(of: ValueCounts, share: float) -> int | None:
    """The smallest value that at least this share of answers does not exceed; None if nothing is known."""
    if not of.known:
        return None
    reached = np.cumsum(of.counts)
    wanted = int(np.ceil(share * of.known - 1e-9))
    return int(of.values[np.searchsorted(reached, max(wanted, 1))])


def quantiles(of: ValueCounts, parts: int = 1) -> Quantiles:
    """In the measure's unit; the tally's values are ``parts`` of it: 1000 for milliseconds and seconds."""
    median, tail = (_scaled(quantile(of, share), parts) for share in (0.5, 0.95))
    return Quantiles(of.known, of.unknown, median, tail)


def wasserstein(one: ValueCounts, other: ValueCounts) -> float | None:
    """The area between both distribution functions, in the values' unit; None if either is empty.

    The 1-Wasserstein distance on a line (Vallender 1974, eq. 1): the integral of |F - G|.
    """
    if not one.known or not other.known:
        return None
    values = np.union1d(one.values, other.values)
    below = [np.concatenate([[0], np.cumsum(each.counts)]) for each in (one, other)]
    first, second = (
        cumulated[np.searchsorted(each.values, values, side="right")]
        for cumulated, each in zip(below, (one, other), strict=True)
    )
    apart = np.abs(first * other.known - second * one.known)[:-1]
    area = sum(int(gap) * int(width) for gap, width in zip(apart, np.diff(values), strict=True) if gap)
    return area / (one.known * other.known)


def spread(
    name: str,
    control: ValueCounts,
    candidate: ValueCounts,
    noise: tuple[ValueCounts, ValueCounts],
    *,
    unit: str = "",
    parts: int = 1,
) -> Spread:
    """Both sides of canary pairs, and of ``noise`` pairs for the floor. ``parts``: as `quantiles`."""
    values = np.concatenate([control.values, candidate.values])
    if not values.size:
        edges: Whole = np.zeros(0, np.int64)
    else:
        edges = np.concatenate([[0], _EDGES])
        first = int(np.searchsorted(edges, int(values.min()), side="right")) - 1
        last = int(np.searchsorted(edges, int(values.max()), side="right"))
        edges = edges[first : last + 1] if last < edges.size else np.concatenate([edges[first:], [values.max() + 1]])
    return Spread(
        name=name,
        unit=unit,
        edges=tuple(int(edge) / parts for edge in edges),
        control_bins=_bins(control, edges),
        candidate_bins=_bins(candidate, edges),
        control=quantiles(control, parts),
        candidate=quantiles(candidate, parts),
        wasserstein=_scaled(wasserstein(control, candidate), parts),
        wasserstein_noise=_scaled(wasserstein(*noise), parts),
    )


def _bins(of: ValueCounts, edges: Whole) -> tuple[int, ...]:
    if edges.size < 2:
        return ()
    where = np.searchsorted(edges, of.values, side="right") - 1
    return tuple(int(count) for count in np.bincount(where, weights=of.counts, minlength=edges.size - 1))


def _scaled(value: float | None, parts: int) -> float | None:
    return None if value is None else value / parts
