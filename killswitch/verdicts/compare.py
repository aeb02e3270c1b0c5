"""Compares one window's values with a rule's limits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

from killswitch.model import (
    Buckets,
    Counts,
    Measurement,
    QuantileSignal,
    Reading,
    Reason,
    Rollout,
    Rule,
    Unreadable,
)
from killswitch.verdicts import histogram
from killswitch.wording import count_in_words, duration_in_words

# A counter that does not move is readable: there were no requests, so this does not count as blind.
_NO_REQUESTS = Unreadable(Reason.TOO_FEW_REQUESTS, "no requests in the window")


class Comparison(NamedTuple):
    """A window's values compared with a rule's limits.

    ``limit``: what the canary must not exceed, given control now. ``over``: the canary is over every bound stated.
    ``control_too``: over the absolute bounds, but not worse than control, so switching models would not help.
    ``problem``: why nothing can be said; ``impossible``: the reason is counts that no service can have.
    ``raw_*``: values and requests of all requests, if only users' first requests are judged.
    """

    canary: float | None = None
    control: float | None = None
    samples_canary: float | None = None
    samples_control: float | None = None
    limit: float | None = None
    over: bool = False
    control_too: bool = False
    problem: Unreadable | None = None
    impossible: bool = False
    raw_canary: float | None = None
    raw_control: float | None = None
    raw_samples_canary: float | None = None
    raw_samples_control: float | None = None
    queries: tuple[str, ...] = ()


class LimitKind(Enum):
    """The bounds that a rule may state or imply."""

    MAXIMUM = auto()
    CONTROL = auto()
    MAX_INCREASE = auto()
    MAX_RATIO = auto()
    FLOOR = auto()


def compare(rule: Rule, reading: Reading, plain: Reading | None = None) -> Comparison:
    """Compare one window with the rule's limits. Never raises; a missing value is a ``problem``.

    ``plain``: the plain signal's reading, if ``reading`` is of the per-user signal.
    """
    canary, control = _value(rule, reading.canary), _value(rule, reading.control)
    limit: float | None = None
    over = control_too = False
    impossible = _impossible_counts(rule, reading)
    problem = impossible or _problem(canary, control, reading)
    if problem is None:
        assert isinstance(canary, float)
        assert isinstance(control, float)
        limit = max((bound for bound, _ in limits_given(rule, control)), default=math.inf)
        if math.isinf(canary) and limit >= _last_edge(reading.canary):
            # A value above the last finite bucket is over the limit only if the limit is below that bucket.
            problem = _saturated("canary", reading.canary)
        else:
            over = canary > limit
            maximum = rule.limits.maximum
            control_too = maximum is not None and not over and maximum < canary <= control
    return Comparison(
        canary=None if isinstance(canary, Unreadable) else canary,
        control=None if isinstance(control, Unreadable) else control,
        samples_canary=_samples(reading.canary),
        samples_control=_samples(reading.control),
        limit=limit,
        over=over,
        control_too=control_too,
        problem=problem,
        impossible=impossible is not None,
        raw_canary=_known(rule, plain.canary) if plain is not None else None,
        raw_control=_known(rule, plain.control) if plain is not None else None,
        raw_samples_canary=_samples(plain.canary) if plain is not None else None,
        raw_samples_control=_samples(plain.control) if plain is not None else None,
        queries=reading.queries,
    )


def _problem(canary: float | Unreadable, control: float | Unreadable, reading: Reading) -> Unreadable | None:
    if isinstance(canary, Unreadable):
        return _named("canary", canary)
    if isinstance(control, Unreadable):
        return _named("control", control)
    return _saturated("control", reading.control) if math.isinf(control) else None


def more_events_than_trials(rule: Rule, events: float, trials: float) -> bool:
    """Whether there are well over as many events as trials: then the events do not belong to these trials.

    A quarter more and a few (3, or 10 with delayed feedback) are allowed. They may belong to requests before the
    window: series scraped a moment later, and late feedback.
    """
    few = 10.0 if rule.delay > 0 else 3.0
    return events > 1.25 * max(trials, 0.0) + few


def _impossible_counts(rule: Rule, reading: Reading) -> Unreadable | None:
    for cohort, side in (("canary", reading.canary), ("control", reading.control)):
        if isinstance(side, Counts) and more_events_than_trials(rule, side.events, side.trials):
            return not_of_these(cohort, side.events, side.trials, "in the window")
    return None


def not_of_these(cohort: str, events: float, trials: float, since: str) -> Unreadable:
    return Unreadable(
        Reason.NUMERIC,
        f"{cohort} has {count_in_words(events)} events of {count_in_words(trials)} {since}: the events are not of "
        "these requests. Check that both counters of the rule count the same things once",
    )


def _known(rule: Rule, measurement: Measurement) -> float | None:
    value = _value(rule, measurement)
    return None if isinstance(value, Unreadable) else value


def too_few_requests(comparison: Comparison, rollout: Rollout) -> Unreadable | None:
    """Why the window has too few requests to be called HEALTHY, or None. Free queries have no counts."""
    pairs = (("canary", comparison.samples_canary), ("control", comparison.samples_control))
    for cohort, samples in pairs:
        if samples is not None and samples < rollout.min_requests:
            return Unreadable(
                Reason.TOO_FEW_REQUESTS,
                f"{cohort} has {count_in_words(math.floor(samples))} requests in {duration_in_words(rollout.window)},"
                f" {rollout.min_requests} are needed",
            )
    return None


def _value(rule: Rule, measurement: Measurement) -> float | Unreadable:
    if isinstance(measurement, Counts):
        events, trials = measurement.events, measurement.trials
        if not (math.isfinite(events) and math.isfinite(trials)) or events < 0 or trials < 0:
            return Unreadable(Reason.NUMERIC, f"{events!r} events of {trials!r} trials")
        return events / trials if trials > 0 else _NO_REQUESTS
    if isinstance(measurement, Unreadable):
        return measurement
    if isinstance(measurement, Buckets):
        assert isinstance(rule.signal, QuantileSignal)
        if histogram.is_saturated(measurement, rule.signal.quantile):
            return math.inf
        value = histogram.quantile(measurement, rule.signal.quantile)
        return _NO_REQUESTS if math.isnan(value) else value
    value = measurement.value
    return value if math.isfinite(value) else Unreadable(Reason.NUMERIC, f"the query gave {value!r}")


def _samples(measurement: Measurement) -> float | None:
    if isinstance(measurement, Counts):
        return measurement.trials
    if isinstance(measurement, Buckets):
        return measurement.counts[-1] if measurement.counts else 0.0
    return None


def _named(cohort: str, problem: Unreadable) -> Unreadable:
    return problem if cohort in problem.detail else Unreadable(problem.reason, f"{cohort}: {problem.detail}")


def _last_edge(measurement: Measurement) -> float:
    return histogram.last_finite_bound(measurement) if isinstance(measurement, Buckets) else -math.inf


def _saturated(cohort: str, measurement: Measurement) -> Unreadable:
    edge = duration_in_words(_last_edge(measurement))
    return Unreadable(Reason.SATURATED, f"{cohort} lies above the histogram's last bucket ({edge}); add larger buckets")


def limits_given(rule: Rule, control: float) -> Iterator[tuple[float, LimitKind]]:
    """Each bound of the rule and its kind, given control's value."""
    limits = rule.limits
    if limits.maximum is not None:
        yield limits.maximum, LimitKind.MAXIMUM
        if not limits.even_if_control_is_bad:
            yield control, LimitKind.CONTROL
    if limits.max_increase is not None:
        yield control + limits.max_increase, LimitKind.MAX_INCREASE
    if limits.max_ratio is not None:
        yield control * limits.max_ratio, LimitKind.MAX_RATIO
    if limits.floor is not None:
        yield limits.floor, LimitKind.FLOOR
