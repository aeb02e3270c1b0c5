"""Series that are not there are not asked for again at every tick, but as soon as there is a doubt."""

from __future__ import annotations

import pytest

from killswitch.model import Matcher, Reason, Selector, Unreadable
from killswitch.sources.asks import Ask, Shape, Sum
from killswitch.sources.columns import Column
from killswitch.sources.counter_lookups import AbsentCache

TICK, STEP = 1_776_600_000.0, 30.0
ASK: Ask = Sum(Shape.RECENT, Selector("judged_total", (Matcher("cohort", "=", "canary"),)), STEP)


def after(column: Column) -> AbsentCache:
    cache = AbsentCache()
    cache.keep({ASK: column}, TICK)
    return cache


@pytest.mark.parametrize(
    ("tick", "known"), [(TICK, True), (TICK + STEP, True), (TICK + 2 * STEP, False), (TICK - 1, False)]
)
def test_absent_stays_absent_until_a_later_step_has_a_sample(tick: float, known: bool) -> None:
    """A counter that was absent stays so while the step after it holds no sample."""
    assert (after([None]).known({ASK: STEP}, tick) == {ASK: [None]}) is known


@pytest.mark.parametrize("column", [[0.0], [3.0], Unreadable(Reason.SOURCE_TIMEOUT, "late")])
def test_what_is_stale_or_not_known_is_asked_again(column: Column) -> None:
    assert after(column).known({ASK: STEP}, TICK + STEP) == {}


def test_it_is_forgotten_once_it_was_there() -> None:
    cache = after([None])
    cache.keep({}, TICK + STEP)
    assert cache.known({ASK: STEP}, TICK + STEP) == {}
