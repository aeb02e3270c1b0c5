"""How often counters fell: asked once in five minutes, and told of those alone that fell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from killswitch.model import Cohort, Matcher, Range, RatioSignal, Reason, Selector, Unreadable, Want
from killswitch.sources.asks import Ask, Shape, Sum
from killswitch.sources.assembly import Assembly
from killswitch.sources.columns import Column, Point
from killswitch.sources.falls import Falls
from killswitch.sources.prometheus.queries import Ranges

DOWN = Unreadable(Reason.SOURCE_DOWN, "down")
STEADY, FELL = (Sum(Shape.FALLS, Selector(name), 3600.0) for name in ("steady_total", "fell_total"))
BOTH = (STEADY, FELL)


class Store:
    """Says how often each counter fell, and keeps what it was asked."""

    def __init__(self, fell: Point = 2.0) -> None:
        self.fell = fell
        self.asked: list[tuple[str, tuple[float, ...]]] = []

    def __call__(self, asks: Sequence[Ask], times: Sequence[float]) -> Mapping[Ask, Column]:
        found: dict[Ask, Column] = {}
        for ask in asks:
            assert isinstance(ask, Sum)
            self.asked.append((f"{ask.shape} {ask.selector.metric}", tuple(times)))
            falls = self.fell if ask.selector == FELL.selector else None
            found[ask] = falls if isinstance(falls, Unreadable) else [falls] * len(times)
        return found


def test_only_counters_that_fell_are_told_and_looked_at_closely() -> None:
    store = Store()
    assert Falls().at(BOTH, [310.0], store) == {FELL: [2.0]}
    assert [asked for asked, _ in store.asked] == ["falls steady_total", "falls fell_total", "close falls fell_total"]


def test_it_is_asked_once_in_five_minutes() -> None:
    falls, store = Falls(), Store()
    found = [falls.at(asks, [tick], store) for tick, asks in ((310.0, BOTH), (340.0, BOTH), (370.0, tuple(BOTH)))]
    assert found == [{FELL: [2.0]}] * 3
    assert len(store.asked) == 3
    falls.at(BOTH, [600.0], store)
    assert len(store.asked) == 6


def test_other_counters_at_the_same_time_are_asked_alone() -> None:
    falls, store = Falls(), Store()
    falls.at((STEADY,), [310.0], store)
    assert falls.at(BOTH, [310.0], store) == {FELL: [2.0]}
    assert [asked for asked, _ in store.asked] == ["falls steady_total", "falls fell_total", "close falls fell_total"]


def test_a_failure_is_told_and_asked_again() -> None:
    falls, store = Falls(), Store(DOWN)
    assert falls.at(BOTH, [310.0], store) == {FELL: [DOWN]}
    store.fell = 5.0
    assert falls.at(BOTH, [310.0], store) == {FELL: [5.0]}


def test_lagging_rollouts_do_not_repeat_the_newest_query() -> None:
    """Rollouts that lag behind do not make the newest five minutes be asked again."""
    falls, store = Falls(), Store()
    for tick in (610.0, 310.0, 640.0, 340.0):
        assert falls.at(BOTH, [tick], store) == {FELL: [2.0]}
    assert len(store.asked) == 6


def test_of_several_ticks_each_gets_that_of_its_five_minutes() -> None:
    store = Store()
    assert Falls().at(BOTH, [270.0, 300.0, 330.0], store) == {FELL: [2.0] * 3}
    assert {times for _, times in store.asked} == {(0.0, 300.0)}


# --- of which counters ------------------------------------------------------------------------------

REQUESTS = Selector("requests_total")
FAILED = Selector("requests_total", (Matcher("outcome", "=", "error"),))
COHORTS = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}


def falls_asked(events: Selector, trials: Mapping[Cohort, Column]) -> list[tuple[str, str]]:
    """Metric and cohort of each counter whose falls are asked for."""
    want = Want("copilot", "rate", "step", RatioSignal((events,), (REQUESTS,)), COHORTS, 30.0, Range.STEP)
    assembly = Assembly([want], Ranges(15.0))
    answers = {ask: trials[cohort] for cohort, need in assembly.asked[want.key].needs.items() for ask in need.trials}
    return sorted((ask.selector.metric, ask.selector.matchers[0].value) for ask in assembly.falls(answers))


BOTH_SERVED: Mapping[Cohort, Column] = {Cohort.CANARY: [7.0], Cohort.CONTROL: [7.0]}


def test_a_part_of_the_requests_falls_with_the_requests() -> None:
    """Failed requests are series of all requests: their falls are not asked for a second time."""
    assert falls_asked(FAILED, BOTH_SERVED) == [("requests_total", "canary"), ("requests_total", "control")]


def test_other_counters_fall_by_themselves() -> None:
    asked = falls_asked(Selector("refusals_total"), BOTH_SERVED)
    assert [metric for metric, _ in asked] == ["refusals_total"] * 2 + ["requests_total"] * 2


def test_counters_without_requests_are_not_asked_for() -> None:
    """A cohort that has no trials has no number that a fall could spoil. A failed read may hide trials."""
    assert falls_asked(FAILED, {Cohort.CANARY: [None], Cohort.CONTROL: [7.0]}) == [("requests_total", "control")]
    assert falls_asked(FAILED, {Cohort.CANARY: DOWN, Cohort.CONTROL: [None]}) == [("requests_total", "canary")]
