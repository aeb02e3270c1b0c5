"""A rule's limits in the form that evidence tests: each is a half plane ``p_c <= ratio * p_b + shift``.

``p_c`` and ``p_b`` are the true shares of canary's and control's trials that are events. For rates the events are
the signal's own. For a quantile the event is "slower than an edge", and the edge may depend on tau, control's own
quantile a moment ago (`killswitch.verdicts.evidence.quantiles`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from killswitch.model import Limits, QuantileSignal, RatioSignal, Rule

# With a limit of exactly 0 one event would be infinite evidence. One in a million is a larger null, so testing it
# instead is valid, and the delay it costs is too small to measure.
SMALLEST_SHIFT = 1e-6


@dataclass(frozen=True, slots=True)
class HalfPlane:
    """The null ``p_c <= ratio * p_b + shift``; at most one of ratio and shift may be 0."""

    ratio: float
    shift: float


@dataclass(frozen=True, slots=True)
class Edge:
    """What counts as slow: longer than ``scale * tau + offset`` seconds."""

    scale: float
    offset: float


@dataclass(frozen=True, slots=True)
class Bound:
    """A half plane and the events it is about.

    ``name``: the limit's name in the rule file, or ``worse_than_control`` for the implied bound. The edges are None
    for rates, whose events the signal itself defines.
    """

    name: str
    half_plane: HalfPlane
    canary_edge: Edge | None = None
    control_edge: Edge | None = None

    @property
    def needs_tau(self) -> bool:
        return any(edge is not None and edge.scale > 0 for edge in (self.canary_edge, self.control_edge))


def half_plane(ratio: float, shift: float) -> HalfPlane:
    """A half plane whose evidence is finite. Raises ValueError unless both numbers are finite and at least 0."""
    if not (math.isfinite(ratio) and math.isfinite(shift)) or ratio < 0 or shift < 0:
        raise ValueError(f"a bound needs finite numbers of at least 0, got ratio {ratio!r} and shift {shift!r}")
    if ratio == 0:
        shift = max(shift, SMALLEST_SHIFT)
    return HalfPlane(ratio, shift)


WORSE_THAN_CONTROL = HalfPlane(1.0, 0.0)


def bounds_of(rule: Rule) -> tuple[Bound, ...]:
    """Every bound of a rule; the canary is over the rule when it is over all of them.

    Empty for a free query: it gives no counts, so there is no evidence. Raises ValueError for a rule without a limit
    or with a limit that is not a finite number of at least 0.
    """
    if isinstance(rule.signal, QuantileSignal):
        bounds = _quantile_bounds(rule.limits, 1.0 - rule.signal.quantile)
    elif isinstance(rule.signal, RatioSignal):
        bounds = _rate_bounds(rule.limits)
    else:
        return ()
    if not bounds:
        raise ValueError(f"rule {rule.name} has no limit: add max, max_increase, max_ratio or floor")
    return bounds


def against_baseline(bound: Bound, share: float) -> Bound:
    """The bound when control is a stored share instead of a cohort (a canary of 100 %).

    ``share``: control's share of events on the baseline's day. Use the upper end of its interval, so that the bound
    holds for every baseline the day is compatible with. Quantiles keep the canary's edge, with the baseline's own
    quantile as tau.
    """
    plane = bound.half_plane
    return replace(bound, half_plane=half_plane(0.0, min(plane.ratio * share + plane.shift, 1.0)))


def _rate_bounds(limits: Limits) -> tuple[Bound, ...]:
    bounds: list[Bound] = []
    if limits.maximum is not None:
        bounds.append(Bound("max", half_plane(0.0, limits.maximum)))
        if not limits.even_if_control_is_bad:
            bounds.append(Bound("worse_than_control", WORSE_THAN_CONTROL))
    if limits.max_increase is not None:
        bounds.append(Bound("max_increase", half_plane(1.0, limits.max_increase)))
    if limits.max_ratio is not None:
        bounds.append(Bound("max_ratio", half_plane(limits.max_ratio, 0.0)))
    if limits.floor is not None:
        bounds.append(Bound("floor", half_plane(0.0, limits.floor)))
    return tuple(bounds)


def _quantile_bounds(limits: Limits, tail: float) -> tuple[Bound, ...]:
    """Bounds on tails; ``tail`` is the share beyond the quantile (0.05 for p95)."""
    at_tau = Edge(1.0, 0.0)
    bounds: list[Bound] = []
    if limits.maximum is not None:
        edge = Edge(0.0, limits.maximum)
        bounds.append(Bound("max", half_plane(0.0, tail), edge, edge))
        if not limits.even_if_control_is_bad:
            bounds.append(Bound("worse_than_control", WORSE_THAN_CONTROL, edge, edge))
    if limits.max_increase is not None:
        bounds.append(Bound("max_increase", WORSE_THAN_CONTROL, Edge(1.0, limits.max_increase), at_tau))
    if limits.max_ratio is not None:
        bounds.append(Bound("max_ratio", WORSE_THAN_CONTROL, Edge(limits.max_ratio, 0.0), at_tau))
    if limits.floor is not None:
        edge = Edge(0.0, limits.floor)
        bounds.append(Bound("floor", half_plane(0.0, tail), edge, edge))
    return tuple(bounds)
