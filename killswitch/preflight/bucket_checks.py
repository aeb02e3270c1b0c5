"""Checks of a histogram's buckets: can a limit be seen with them, and how exactly?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from killswitch.model import Buckets, QuantileSignal, Reading, Rule
from killswitch.preflight.checks import Check, Status
from killswitch.verdicts import evidence as ev
from killswitch.verdicts import histogram
from killswitch.verdicts.evidence.evariables import Array
from killswitch.wording import duration_in_words


def examine_buckets(about: str, rule: Rule, readings: Sequence[Reading]) -> Iterator[Check]:
    assert isinstance(rule.signal, QuantileSignal)
    sides = [each.control for each in readings if isinstance(each.control, Buckets) and each.control.counts[-1] > 0]
    if not sides:
        return
    whole = histogram.merge(sides[0], *sides[1:])
    last = histogram.last_finite_bound(whole)
    value = histogram.quantile(whole, rule.signal.quantile)
    if histogram.is_saturated(whole, rule.signal.quantile):
        found = f"control's own quantile is above the last bucket ({duration_in_words(last)}): the rule sees nothing"
        yield Check(about, Status.WRONG, found, "add larger buckets to the histogram")
        return
    highest = max(_edges(rule, value))
    if highest > last:
        found = f"the limit ({duration_in_words(highest)}) is above the last bucket ({duration_in_words(last)})"
        yield Check(about, Status.WRONG, found, "add larger buckets to the histogram")
        return
    if rule.limits.max_ratio is not None:
        low, high = real_ratios(whole, rule)
        coarse = high / low > 1.25
        found = (
            f"with these buckets a limit of {rule.limits.max_ratio:g}x fires at true ratios of {low:.2f} to {high:.2f}"
        )
        fix = f"add buckets around {duration_in_words(value)} to {duration_in_words(highest)}" if coarse else ""
        yield Check(about, Status.WARNING if coarse else Status.OK, found, fix)


def _edges(rule: Rule, value: float) -> Iterator[float]:
    for bound in ev.bounds_of(rule):
        for edge in (bound.canary_edge, bound.control_edge):
            if edge is not None:
                yield edge.scale * value + edge.offset


def real_ratios(control: Buckets, rule: Rule) -> tuple[float, float]:
    """The smallest and the largest true ratio of latencies at which ``max_ratio`` fires, for these edges.

    Latencies are taken to be log-normal through control's median and quantile. Control's level is moved by up
    to a third either way, because the answer depends on where in its bucket a quantile is.
    """
    assert isinstance(rule.signal, QuantileSignal)
    assert rule.limits.max_ratio is not None
    quantile, edges = rule.signal.quantile, np.array(control.bounds)
    median, value = histogram.quantile(control, 0.5), histogram.quantile(control, quantile)
    z = math.sqrt(2.0) * _inverse_erf(2.0 * quantile - 1.0)
    spread = max(math.log(max(value, 1e-9) / max(median, 1e-9)) / z, 0.05) if z else 0.5
    found = []
    for level in np.geomspace(0.75, 1.33, 41):
        own = _cumulative(edges, median * level, spread)
        tau = ev.quantile_of(edges, own, quantile)
        slow = ev.slower_than(edges, own, tau)
        low, high = 1.0, 4.0 * rule.limits.max_ratio
        for _ in range(40):
            middle = (low + high) / 2
            seen = ev.slower_than(
                edges, _cumulative(edges, median * level * middle, spread), rule.limits.max_ratio * tau
            )
            low, high = (low, middle) if seen > slow else (middle, high)
        if np.isfinite(slow) and np.isfinite(rule.limits.max_ratio * tau) and rule.limits.max_ratio * tau <= edges[-2]:
            found.append(low)
    return (min(found), max(found)) if found else (math.nan, math.nan)


def _cumulative(edges: Array, median: float, spread: float) -> Array:
    with np.errstate(divide="ignore"):
        z = (np.log(edges) - math.log(median)) / spread
    return np.array([0.5 * (1.0 + math.erf(each / math.sqrt(2.0))) for each in z])


def _inverse_erf(value: float) -> float:
    low, high = 0.0, 6.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle) < value else (low, middle)
    return low
