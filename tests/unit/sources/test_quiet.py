"""Quiet counters: what proves that a cheap answer is the whole one, and for how long."""

from __future__ import annotations

import math

import pytest

from killswitch.model import Buckets, Reason, Selector, Unreadable
from killswitch.sources.asks import Free, Shape, Sum
from killswitch.sources.columns import Point
from killswitch.sources.prometheus.queries import Ranges, plan
from killswitch.sources.prometheus.quiet import EACH, Quiet, grown, grown_by_edge

STEP = Sum(Shape.STEP, Selector("x_total"), 30.0)
BUCKETS = Sum(Shape.STEP, Selector("x_bucket"), 30.0, by_le=True)


@pytest.mark.parametrize("value", [-1.0, -float(EACH), float(EACH), 0.5, math.nan, math.inf, -math.inf])
def test_another_number_of_series_is_no_answer(value: float) -> None:
    """A series that fell or came makes the sum negative; whole steps and fractions are left to the full look."""
    assert grown(value) is None


@pytest.mark.parametrize("value", [0.0, 1.0, EACH - 1.0])
def test_growth_of_the_series_expected_is_the_answer(value: float) -> None:
    assert grown(value) == value


def test_buckets_need_every_series_that_is_expected() -> None:
    """Of two histograms with two edges each four series are expected; one fall makes it five."""
    sums = {1.0: 2 * EACH + 3.0, math.inf: 2 * EACH + 9.0}
    assert grown_by_edge(sums, 4.0) == {1.0: 3.0, math.inf: 9.0}
    assert grown_by_edge(sums, 5.0) is None
    assert grown_by_edge(sums, 3.0) is None
    assert grown_by_edge({}, 0.0) is None
    for spoilt in (-1.0, 0.5, math.nan, math.inf):
        assert grown_by_edge({1.0: spoilt, math.inf: 2 * EACH + 9.0}, 4.0) is None


def test_a_counter_is_quiet_for_the_next_step_alone() -> None:
    quiet = Quiet()
    quiet.keep({STEP: [3.0], BUCKETS: [Buckets((1.0, math.inf), (1.0, 2.0))]}, 60.0)
    assert quiet.known([STEP, BUCKETS], 90.0) == {STEP, BUCKETS}
    for tick in (30.0, 60.0, 75.0, 120.0):
        assert quiet.known([STEP, BUCKETS], tick) == frozenset()


def test_a_second_call_at_a_tick_takes_nothing_from_the_first() -> None:
    quiet = Quiet()
    quiet.keep({STEP: [3.0], BUCKETS: [Buckets((1.0, math.inf), (1.0, 2.0))]}, 60.0)
    quiet.keep({STEP: [3.0]}, 90.0)
    assert quiet.known([BUCKETS], 90.0) == {BUCKETS}
    quiet.keep({BUCKETS: [Buckets((1.0, math.inf), (1.0, 2.0))]}, 90.0)
    assert quiet.known([STEP, BUCKETS], 120.0) == {STEP, BUCKETS}


@pytest.mark.parametrize(
    "point", [None, -math.inf, Buckets((1.0, math.inf), (-math.inf, 2.0)), Unreadable(Reason.SOURCE_DOWN, "down")]
)
def test_a_marked_or_absent_counter_is_not_quiet(point: Point) -> None:
    quiet = Quiet()
    quiet.keep({STEP: [3.0]}, 30.0)
    quiet.keep({STEP: [point]}, 60.0)
    assert quiet.known([STEP], 90.0) == frozenset()


def test_only_steps_on_the_grid_are_asked_so() -> None:
    """A subquery looks at whole multiples of its step; windows overlap, and prove nothing."""
    quiet = Quiet()
    window, free = Sum(Shape.INCREASE, Selector("x_total"), 30.0), Free("vector(1)")
    quiet.keep({STEP: [3.0], window: [3.0], free: [3.0]}, 65.0)
    assert quiet.known([STEP, window, free], 95.0) == frozenset()
    quiet.keep({STEP: [3.0], window: [3.0], free: [3.0]}, 60.0)
    assert quiet.known([STEP, window, free], 90.0) == {STEP}


def test_the_cheap_question_looks_at_every_series_twice() -> None:
    (query,) = plan([Sum(Shape.GROWN, Selector("x_total"), 30.0)])
    assert query.text(Ranges(15.0, left_open=True)) == (
        f"sum (idelta(last_over_time(x_total[30s])[45s:30s]) + {EACH}) - {EACH} * sum (resets(x_total[60s]) + 1)"
    )
    (query,) = plan([Sum(Shape.GROWN, Selector("x_bucket"), 30.0, by_le=True)])
    assert query.text(Ranges(15.0)) == (
        f"sum by (le) (idelta(last_over_time(x_bucket[29999ms])[45s:30s]) + {EACH}) "
        "or sum (resets(x_bucket[59999ms]) + 1)"
    )
