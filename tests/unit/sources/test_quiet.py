"""Quiet counters: what proves that a cheap answer is the whole one, and for how long."""

from __future__ import annotations

import math

import pytest

from killswitch.model import Buckets, Reason, Selector, Unreadable
from killswitch.sources.asks import Free, Shape, Sum
from killswitch.sources.columns import Point
from killswitch.sources.prometheus.queries import Ranges, plan
from killswitch.sources.prometheus.quiet import EACH, MOST, Quiet, grown, grown_by_edge

STEP = Sum(Shape.STEP, Selector("x_total"), 30.0)
BUCKETS = Sum(Shape.STEP, Selector("x_bucket"), 30.0, by_le=True)


@pytest.mark.parametrize("value", [-1.0, -EACH, 5 - EACH, 0.5, MOST, math.nan, math.inf, -math.inf])
def test_another_number_of_series_is_no_answer(value: float) -> None:
    """A series that came or went leaves a fraction, a fall makes it infinite; far too much growth is doubted."""
    assert grown(value) is None


@pytest.mark.parametrize("value", [0.0, 1.0, 2.0**28, MOST - 1.0])
def test_growth_of_the_series_expected_is_the_answer(value: float) -> None:
    assert grown(value) == value


@pytest.mark.parametrize("gone", [1, 2, 1000])
@pytest.mark.parametrize("growth", [0.0, 2.0**28 - 1, 2.0**28, 3.0 * 2**28, MOST - 1])
def test_no_growth_stands_in_for_series_that_are_gone(growth: float, gone: int) -> None:
    """One number for both: what was counted must not make up for a series, however much it is."""
    series = 2**20
    counted = growth + (series - gone) * EACH
    assert grown(counted - EACH * series) is None
    assert grown_by_edge({math.inf: counted}, series) is None


def test_buckets_need_every_series_that_is_expected() -> None:
    """Of two histograms with two edges each four series are expected; a fall makes that infinite."""
    sums = {1.0: 2 * EACH + 3.0, math.inf: 2 * EACH + 9.0}
    assert grown_by_edge(sums, 4.0) == {1.0: 3.0, math.inf: 9.0}
    assert grown_by_edge(sums, 5.0) is None
    assert grown_by_edge(sums, 3.0) is None
    assert grown_by_edge(sums, math.inf) is None
    assert grown_by_edge({}, 0.0) is None
    for spoilt in (-1.0, 0.5, MOST, math.nan, math.inf):
        assert grown_by_edge({1.0: spoilt, math.inf: 2 * EACH + 9.0}, 4.0) is None


def test_a_counter_is_quiet_for_the_next_step_alone() -> None:
    quiet = Quiet(300.0)
    quiet.keep({STEP: [3.0], BUCKETS: [Buckets((1.0, math.inf), (1.0, 2.0))]}, 60.0)
    assert quiet.known([STEP, BUCKETS], 90.0) == {STEP, BUCKETS}
    for tick in (30.0, 60.0, 75.0, 120.0):
        assert quiet.known([STEP, BUCKETS], tick) == frozenset()


def test_a_second_call_at_a_tick_takes_nothing_from_the_first() -> None:
    quiet = Quiet(300.0)
    quiet.keep({STEP: [3.0], BUCKETS: [Buckets((1.0, math.inf), (1.0, 2.0))]}, 60.0)
    quiet.keep({STEP: [3.0]}, 90.0)
    assert quiet.known([BUCKETS], 90.0) == {BUCKETS}
    quiet.keep({BUCKETS: [Buckets((1.0, math.inf), (1.0, 2.0))]}, 90.0)
    assert quiet.known([STEP, BUCKETS], 120.0) == {STEP, BUCKETS}


def test_a_counter_that_answered_no_number_is_left_alone() -> None:
    """A series that has gone spoils the cheap answer for minutes, fractions spoil it for good; births only once."""
    quiet = Quiet(90.0)
    quiet.keep({STEP: [3.0], BUCKETS: [None]}, 60.0, frozenset({STEP, BUCKETS}))
    for tick, known in ((90.0, False), (120.0, False), (150.0, True)):
        assert (STEP in quiet.known([STEP], tick)) is known
        quiet.keep({STEP: [3.0], BUCKETS: [Buckets((math.inf,), (2.0,))]}, tick)
    assert quiet.known([BUCKETS], 180.0) == {BUCKETS}
    quiet.keep({STEP: [3.0]}, 180.0, frozenset({STEP}))
    quiet.keep({STEP: [3.0]}, 60.0)  # the metric store's clock was ahead
    assert quiet.known([STEP], 90.0) == {STEP}


@pytest.mark.parametrize(
    "point", [None, -math.inf, Buckets((1.0, math.inf), (-math.inf, 2.0)), Unreadable(Reason.SOURCE_DOWN, "down")]
)
def test_a_marked_or_absent_counter_is_not_quiet(point: Point) -> None:
    quiet = Quiet(300.0)
    quiet.keep({STEP: [3.0]}, 30.0)
    quiet.keep({STEP: [point]}, 60.0)
    assert quiet.known([STEP], 90.0) == frozenset()


def test_only_steps_on_the_grid_are_asked_so() -> None:
    """A subquery looks at whole multiples of its step; windows overlap, and prove nothing."""
    quiet = Quiet(300.0)
    window, free = Sum(Shape.INCREASE, Selector("x_total"), 30.0), Free("vector(1)")
    quiet.keep({STEP: [3.0], window: [3.0], free: [3.0]}, 65.0)
    assert quiet.known([STEP, window, free], 95.0) == frozenset()
    quiet.keep({STEP: [3.0], window: [3.0], free: [3.0]}, 60.0)
    assert quiet.known([STEP, window, free], 90.0) == {STEP}


def test_the_cheap_question_looks_at_every_series_twice() -> None:
    """Once at the last samples of two steps; once at the falls, as far back as the full question looks."""
    each = "9.5367431640625e-07"
    (query,) = plan([Sum(Shape.GROWN, Selector("x_total"), 30.0)])
    assert query.text(Ranges(15.0, left_open=True)) == (
        f"sum (idelta(last_over_time(x_total[30s])[45s:30s]) + {each}) - {each} * sum (Inf ^ resets(x_total[330s]))"
    )
    (query,) = plan([Sum(Shape.GROWN, Selector("x_bucket"), 30.0, by_le=True)])
    assert query.text(Ranges(15.0)) == (
        f"sum by (le) (idelta(last_over_time(x_bucket[29999ms])[45s:30s]) + {each}) or "
        "sum (Inf ^ resets(x_bucket[329999ms]))"
    )
