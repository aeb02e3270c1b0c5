"""What a number, an absence or a failure means for a want; the same for every source."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from killswitch.model import (
    Cohort,
    Counts,
    Matcher,
    Measurement,
    Range,
    RatioSignal,
    Reason,
    Selector,
    Unreadable,
    Want,
)
from killswitch.sources.asks import Ask, Shape, Sum
from killswitch.sources.assembly import Assemblies, Assembly
from killswitch.sources.columns import Column, Point
from killswitch.sources.prometheus.queries import Ranges

COHORTS = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}
DOWN = Unreadable(Reason.SOURCE_DOWN, "down")


def read(
    events: list[Point],
    trials: list[Point],
    recent: list[Point],
    *,
    seen: Point = None,
    kind: Range = Range.WINDOW,
    absent_is_zero: bool = False,
    same_metric: bool = False,
) -> list[Measurement]:
    """The canary's measurements, tick by tick, when both cohorts are answered alike."""
    name = "trials_total" if same_metric else "events_total"
    failed = Selector(name, (Matcher("outcome", "!=", "ok"),))
    signal = RatioSignal((failed,), (Selector("trials_total"),))
    assembly = Assembly([Want("r", "e", "w", signal, COHORTS, 30.0, kind, absent_is_zero)], Ranges(15.0))

    def column(ask: Ask) -> Column:
        assert isinstance(ask, Sum)
        if ask.shape is Shape.RECENT:
            return recent
        return events if len(ask.selector.matchers) == 2 else trials

    answers = {ask: column(ask) for ask in assembly.asks}
    doubts = assembly.doubts(answers, len(trials))
    falls: dict[Ask, Column] = {ask: [None] * len(trials) for ask in assembly.falls(answers)}
    looked_up: dict[Ask, Column] = {ask: [seen] for ask in doubts}
    return [reading["r", "e", "w"].canary for reading in assembly.readings(answers, looked_up, falls, len(trials))]


def reason(measurement: Measurement) -> Reason | None:
    return measurement.reason if isinstance(measurement, Unreadable) else None


@pytest.mark.parametrize(
    ("event", "trial", "recent", "expected"),
    [
        (5.0, 100.0, 2.0, None),
        (None, None, None, Reason.NO_DATA),
        (5.0, 100.0, 0.0, Reason.STALE),
        (5.0, 100.0, None, Reason.STALE),
        (None, None, 0.0, Reason.STALE),
        (DOWN, 100.0, 2.0, Reason.SOURCE_DOWN),
        (5.0, DOWN, 2.0, Reason.SOURCE_DOWN),
        (5.0, 100.0, DOWN, Reason.SOURCE_DOWN),
        (float("nan"), 100.0, 2.0, Reason.NUMERIC),
        (5.0, float("inf"), 2.0, Reason.NUMERIC),
        (-1.0, 100.0, 2.0, Reason.NUMERIC),
    ],
)
def test_a_number_counts_when_it_is_there_fresh_and_possible(
    event: Point, trial: Point, recent: Point, expected: Reason | None
) -> None:
    assert reason(read([event], [trial], [recent])[0]) is expected


def test_series_without_a_counted_one_are_a_gap_only_in_a_step() -> None:
    """Series of which none was counted are a GAP in a step, and NO_DATA in a window."""
    assert reason(read([None], [None], [2.0], kind=Range.STEP)[0]) is Reason.GAP
    assert reason(read([None], [None], [2.0])[0]) is Reason.NO_DATA


def test_an_absent_event_counter_is_zero_once_it_was_seen() -> None:
    """An absent event counter is zero once it has been seen, and not before."""
    trials: list[Point] = [100.0] * 4
    found = read([None, None, 3.0, None], trials, [2.0] * 4)
    assert [reason(each) for each in found[:2]] == [Reason.NEVER_SEEN] * 2
    assert found[2:] == [Counts(3.0, 100.0), Counts(0.0, 100.0)]
    assert read([None] * 4, trials, [2.0] * 4, seen=7.0) == [Counts(0.0, 100.0)] * 4


def test_a_counter_known_otherwise_needs_no_look_up() -> None:
    """A counter that shares its trials' metric, or is declared zero when absent, needs no look-up."""
    assert read([None], [100.0], [2.0], same_metric=True) == [Counts(0.0, 100.0)]
    assert read([None], [100.0], [2.0], absent_is_zero=True) == [Counts(0.0, 100.0)]


def test_a_look_up_that_failed_is_its_own_reason() -> None:
    assert reason(read([None], [100.0], [2.0], seen=DOWN)[0]) is Reason.SOURCE_DOWN


def test_an_absent_counters_zero_differs_from_a_counted_one() -> None:
    """An absent counter is a zero that can be distinguished from a counted zero."""
    for event, absent in ((None, True), (0.0, False)):
        found = read([event], [100.0], [2.0], same_metric=True)[0]
        assert isinstance(found, Counts)
        assert (found.events, found.absent) == (0.0, absent)


def _wants(*rollouts: str, seconds: float = 30.0, part: str = "w") -> list[Want]:
    signal = RatioSignal((Selector("events_total"),), (Selector("trials_total"),))
    cohorts = {name: {c: (Matcher("rollout", "=", name), *COHORTS[c]) for c in Cohort} for name in rollouts}
    return [Want(name, "e", part, signal, cohorts[name], seconds) for name in rollouts]


def test_two_questions_asked_by_turns_are_each_known_again() -> None:
    assemblies, ranges = Assemblies(), Ranges(15.0)
    steps, windows = _wants("a", "b", part="step"), _wants("a", "b")
    first = [assemblies.of(steps, ranges), assemblies.of(windows, ranges)]
    again = [assemblies.of(_wants("a", "b", part="step"), ranges), assemblies.of(windows, ranges)]
    assert [one is other for one, other in zip(first, again, strict=True)] == [True, True]


@pytest.mark.parametrize(
    ("wants", "ranges"),
    [
        (_wants("a"), Ranges(15.0)),
        (_wants("a", "b", "c"), Ranges(15.0)),
        (_wants("b", "a"), Ranges(15.0)),
        (_wants("a", "b", seconds=60.0), Ranges(15.0)),
        (_wants("a", "b"), Ranges(20.0)),
    ],
)
def test_what_is_asked_follows_the_wants(wants: list[Want], ranges: Ranges) -> None:
    """Rollouts that come and go, windows that grow, another scrape interval: as if nothing had been asked before."""
    assemblies = Assemblies()
    assemblies.of(_wants("a", "b"), Ranges(15.0))
    found, fresh = assemblies.of(wants, ranges), Assembly(wants, ranges)
    assert (found.wants, found.asks) == (fresh.wants, fresh.asks)
    assert found.asked == fresh.asked


@dataclass(frozen=True)
class InWords:
    """A query language that is no PromQL."""

    interval: float

    def typed(self, ask: Ask) -> str:
        assert isinstance(ask, Sum)
        return f"{ask.shape} of {ask.selector.metric} in {ask.seconds:g} s"


def test_a_source_shows_queries_in_its_own_language() -> None:
    """A page's queries are what a person would type into that store, whatever it is asked in."""
    signal = RatioSignal((Selector("errors"),), (Selector("requests"),))
    want = Want("r", "e", "w", signal, COHORTS, 30.0, shown=300.0)
    assembly = Assemblies().of([want], InWords(15.0))
    answers: dict[Ask, Column] = {ask: [5.0] for ask in assembly.asks}
    (readings,) = assembly.readings(answers, {}, {}, 1)
    assert readings[want.key].queries == ("increase of errors in 300 s", "increase of requests in 300 s")
