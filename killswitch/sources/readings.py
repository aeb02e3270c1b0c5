"""From answers to readings: what a number, an absence or a failure means for a want.

Shared by every source, so that the same series give the same reading wherever they come from. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate, chain

from killswitch.model import (
    Buckets,
    Cohort,
    Counts,
    Measurement,
    QuantileSignal,
    QuerySignal,
    Range,
    Reading,
    Reason,
    Scalar,
    Unreadable,
    Want,
)
from killswitch.sources.absence import zero_from
from killswitch.sources.asked import Asked
from killswitch.sources.asks import Needs
from killswitch.sources.closer_looks import unless_falling
from killswitch.sources.columns import Answers, Point, points_of, summed


def readings_of(asked: Asked, answers: Answers, seen: Answers, falls: Answers, ticks: int) -> Iterable[Reading]:
    want = asked.want
    if asked.refused is not None:
        return [Reading(asked.refused, asked.refused, want.seconds)] * ticks
    known = zero_from(asked, answers, seen, ticks)
    canary, control = (
        unless_falling(
            _measurements(want, asked.needs[cohort], answers, known, ticks), asked.needs[cohort], falls, ticks
        )
        for cohort in (Cohort.CANARY, Cohort.CONTROL)
    )
    seconds, texts = want.seconds, asked.texts
    return [Reading(one, other, seconds, texts) for one, other in zip(canary, control, strict=True)]


def _measurements(
    want: Want, need: Needs, answers: Answers, known_from: int | Unreadable, ticks: int
) -> Sequence[Measurement]:
    """One cohort's side of a want, a point a tick."""
    trials = summed(need.trials, answers, ticks)
    if isinstance(want.signal, QuerySignal):
        return [_scalar(point) for point in trials]
    # not asked if every tick has trials, which prove a sample
    asked = all(ask in answers for ask in need.recent)
    recent = summed(need.recent, answers, ticks) if asked else [1.0] * ticks
    if trials[0] is None and all(point is None for point in chain(trials, recent)):
        return [_NO_DATA] * ticks  # counters that were never there in this time
    present = [_present(*pair, want.range) for pair in zip(trials, recent, strict=True)]
    if isinstance(want.signal, QuantileSignal):
        unit = want.signal.unit_seconds
        layouts = points_of(answers[need.layout[0]], ticks) if need.layout else [None] * ticks
        return [_histogram(_comparable(*pair), unit) for pair in zip(present, layouts, strict=True)]
    events = summed(need.events, answers, ticks)
    return [
        _counts(event, trial, at, known_from) for at, (event, trial) in enumerate(zip(events, present, strict=True))
    ]


# --- one cohort at one tick ---------------------------------------------------------------------

_NO_DATA = Unreadable(
    Reason.NO_DATA, "no series match; check the metric's name and labels, and that the cohort is served"
)
_STALE = Unreadable(Reason.STALE, "no sample within the last two scrapes; is the service up, and is it scraped?")
_GAP = Unreadable(
    Reason.GAP,
    "no series has a sample in this step and one before it: nothing was scraped, or the cohort has just appeared; "
    "the next scrape counts what was missed",
)
_ONE_SAMPLE = Unreadable(Reason.NO_DATA, "only one sample in the window so far; an increase needs two")
_NO_COMMON_EDGES = Unreadable(
    Reason.GARBAGE,
    "the instances' histograms have different buckets, with no upper edge in common; give all the same buckets. "
    'Where they have just changed (Prometheus 3 keeps le="1" as "1.0"), this passes by itself',
)
_NEVER_SEEN = Unreadable(
    Reason.NEVER_SEEN,
    "no events, and the counter was not seen in any cohort for 24 h: check its name, or say absent_is_zero: true",
)


def _present(point: Point, recent: Point, kind: Range) -> float | Buckets | Unreadable:
    """A sum that may be used: present and fresh."""
    for each in (point, recent):
        if isinstance(each, Unreadable):
            return each
    if not isinstance(recent, float) or not recent > 0:
        return _NO_DATA if recent is None and point is None else _STALE
    if point is None:
        return _GAP if kind is Range.STEP else _ONE_SAMPLE
    assert not isinstance(point, Unreadable)
    return point


def _counts(event: Point, trial: float | Buckets | Unreadable, at: int, known_from: int | Unreadable) -> Measurement:
    absent = event is None
    if event is None and not isinstance(trial, Unreadable):
        event = _absent(at, known_from)
    for each in (trial, event):
        if isinstance(each, Unreadable):
            return each
    if not isinstance(event, float) or not isinstance(trial, float):
        return Unreadable(Reason.GARBAGE, "a histogram came where a counter was asked for")
    if not (0 <= event < math.inf and 0 <= trial < math.inf):
        return Unreadable(
            Reason.NUMERIC, f"{event!r} events of {trial!r} trials: increases are finite and not negative"
        )
    return Counts(event, trial, absent)


def _absent(at: int, known_from: int | Unreadable) -> float | Unreadable:
    if isinstance(known_from, Unreadable):
        return known_from
    return 0.0 if at >= known_from else _NEVER_SEEN


def _comparable(point: float | Buckets | Unreadable, layout: Point) -> float | Buckets | Unreadable:
    """The edges that every summed histogram has; at any other edge only some of the requests are counted.

    ``layout`` holds the edges that some lack.
    """
    if isinstance(layout, Unreadable) and not isinstance(point, Unreadable):
        return layout
    if not (isinstance(point, Buckets) and isinstance(layout, Buckets)):
        return point
    lacking = set(layout.bounds)
    shared = [pair for pair in zip(point.bounds, point.counts, strict=True) if pair[0] not in lacking]
    if len(shared) < 2:
        return _NO_COMMON_EDGES
    return Buckets(tuple(edge for edge, _ in shared), tuple(count for _, count in shared))


def _histogram(point: float | Buckets | Unreadable, unit_seconds: float) -> Measurement:
    if isinstance(point, Unreadable):
        return point
    if not isinstance(point, Buckets):
        return Unreadable(Reason.GARBAGE, "a single number came where buckets were asked for")
    for count in point.counts:
        if not 0 <= count < math.inf:
            return Unreadable(
                Reason.NUMERIC, f"a bucket's increase is {count!r}; increases are finite and not negative"
            )
    # cumulative by definition, but sums of floats or of instances with different buckets may dip
    return Buckets(_in_seconds(point.bounds, unit_seconds), tuple(accumulate(point.counts, max)))


@lru_cache(maxsize=4096)
def _in_seconds(bounds: tuple[float, ...], unit_seconds: float) -> tuple[float, ...]:
    return tuple(bound * unit_seconds for bound in bounds)


def _scalar(point: Point) -> Measurement:
    match point:
        case Unreadable():
            return point
        case None:
            return Unreadable(Reason.NO_DATA, "the query gives no series; run it yourself and see what it matches")
        case Buckets():
            return Unreadable(Reason.GARBAGE, "buckets came where one number was asked for")
        case _ if not math.isfinite(point):
            return Unreadable(Reason.NUMERIC, f"the query gives {point!r}")
        case _:
            return Scalar(point)
