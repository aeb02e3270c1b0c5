"""Histograms' layouts are asked again when the histograms have changed, and at the latest after five minutes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from killswitch.model import Buckets, Cohort, Matcher, QuantileSignal, Range, Reason, Selector, Unreadable, Want
from killswitch.sources.asks import Ask, Needs, Same, needs
from killswitch.sources.columns import Answers, Point
from killswitch.sources.falls import Falls
from killswitch.sources.histogram_edges import EVERY, Layouts

TICK = 1_776_600_000.0
COHORTS = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}
SIGNAL = QuantileSignal(Selector("latency_bucket", ()), 0.95)
WANT = Want("copilot", "p95", "step", SIGNAL, COHORTS, 30.0, Range.STEP)
NEED = needs(WANT, Cohort.CANARY, 15.0, Same())
EDGES = (0.1, 1.0, math.inf)


def answers(
    need: Needs = NEED,
    live: Point = 3.0,
    bounds: tuple[float, ...] = EDGES,
    layout: Point = None,
    *,
    count: float = 1.0,
    asked: bool = True,
) -> Answers:
    buckets = Buckets(bounds, (count,) * len(bounds))
    found: dict[object, list[Point]] = {need.live[0]: [live], need.trials[0]: [buckets]}
    return {**found, **({need.layout[0]: [layout]} if asked else {})}  # type: ignore[dict-item]  # asks are keys


def known(layout: Point = None) -> Layouts:
    layouts = Layouts()
    layouts.keep([NEED], answers(layout=layout), TICK)
    return layouts


def test_what_was_never_asked_is_asked() -> None:
    assert Layouts().doubtful([NEED], answers(asked=False), TICK) == [*NEED.layout]


def test_unchanged_histograms_are_not_asked_for_again() -> None:
    """Layouts are not asked for again while the histograms stay the same."""
    assert known().doubtful([NEED], answers(asked=False), TICK + 30.0) == []


@pytest.mark.parametrize(
    "changed",
    [
        answers(live=4.0, asked=False),
        answers(bounds=(0.1, 0.5, 1.0, math.inf), asked=False),
        answers(live=Unreadable(Reason.SOURCE_TIMEOUT, "late"), asked=False),
        answers(live=None, asked=False),
        answers(count=-math.inf, asked=False),
    ],
)
def test_any_change_or_no_answer_asks_for_the_layout_again(changed: Answers) -> None:
    """Another histogram, another edge, a fall or no answer: the layouts are asked for again."""
    assert known().doubtful([NEED], changed, TICK + 30.0) == [*NEED.layout]


def test_after_a_fall_layouts_are_asked_until_edges_are_complete() -> None:
    """After a fall, layouts are asked for until all histograms have every edge again."""
    layouts = known()
    layouts.keep([NEED], answers(count=-math.inf, layout=Buckets((0.1,), (0.5,))), TICK + 30.0)
    assert layouts.doubtful([NEED], answers(asked=False), TICK + 60.0) == [*NEED.layout]


def test_after_ticks_that_were_read_together_they_are_asked_again() -> None:
    """A process may have come back with other edges in one of those."""
    layouts = known()
    layouts.forget(NEED.layout)
    assert layouts.doubtful([NEED], answers(asked=False), TICK + 90.0) == [*NEED.layout]


def test_every_five_minutes_they_are_asked_again() -> None:
    assert known().doubtful([NEED], answers(asked=False), TICK + EVERY) == [*NEED.layout]


def test_no_tick_asks_for_layouts_and_falls() -> None:
    """Both are asked for every five minutes, of thousands of counters: never at the same tick."""
    layouts, falls = known(), Falls()
    asked: list[str] = []

    def none_fell(asks: Sequence[Ask], _: Sequence[float]) -> Answers:
        asked.append("falls")
        return {ask: [None] for ask in asks}

    falls.at(NEED.falls, [TICK], none_fell)
    asked.clear()
    for number in range(1, 41):
        tick, before = TICK + 30.0 * number, len(asked)
        if layouts.doubtful([NEED], answers(asked=False), tick):
            asked.append("layouts")
            layouts.keep([NEED], answers(), tick)
        falls.at(NEED.falls, [tick], none_fell)
        assert len(asked) - before <= 1
    assert asked.count("layouts") == asked.count("falls") == 4


@pytest.mark.parametrize("layout", [Buckets((0.1,), (0.5,)), Unreadable(Reason.SOURCE_TIMEOUT, "late")])
def test_layouts_are_asked_each_time_while_an_edge_is_missing(layout: Point) -> None:
    """Layouts are asked for each time while some histograms lack an edge, or while that is not known."""
    assert known(layout).doubtful([NEED], answers(asked=False), TICK + 30.0) == [*NEED.layout]


def test_no_more_is_kept_than_allowed() -> None:
    layouts = Layouts(most=2)
    every = [
        needs(
            Want(
                f"r{at}",
                "p95",
                "step",
                SIGNAL,
                {cohort: (*COHORTS[cohort], Matcher("service", "=", f"r{at}")) for cohort in Cohort},
                30.0,
                Range.STEP,
            ),
            Cohort.CANARY,
            15.0,
            Same(),
        )
        for at in range(3)
    ]
    for need in every:
        layouts.keep([need], answers(need), TICK)
    asked = [layouts.doubtful([need], answers(need, asked=False), TICK + 30.0) != [] for need in every]
    assert asked == [True, False, False]
