"""The memory of all rollouts: bounded, honest about when it began, and stored in a document that can be read again."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadDocument
from killswitch.flags.flag import StageEntry
from killswitch.flags.incident import Incident
from killswitch.model import Finding, Unit, Verdict
from killswitch.stores import Put, keys
from killswitch.trends.document import MAX_DOCUMENT_BYTES, from_document, to_document
from killswitch.trends.drawing import charts_of_trip, cohorts_chart, evidence_chart
from killswitch.trends.memory import TrendMemory
from killswitch.trends.stored import trend_around
from killswitch.trends.trend import Moment, RuleTrend, Span, Trend
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import MemoryServer, MemoryStore

BEGAN = 1_776_600_000.0


def finding(rule: str = "error_rate", canary: float | None = 0.02) -> Finding:
    return Finding(
        rule, Verdict.HEALTHY, None, "fine", Unit.FRACTION, canary=canary, control=0.01, limit=0.05,
        samples_canary=900.0, samples_control=9000.0, evidence=3.0, needed=400.0,
    )  # fmt: skip


def watched(minutes: int) -> TrendMemory:
    memory = TrendMemory()
    for minute in range(minutes):
        memory.take(BEGAN + 60.0 * minute, {"copilot": (finding(), finding("p95"))})
    return memory


def test_a_trend_says_since_when_it_was_watched() -> None:
    trend = watched(5).trend("copilot", Span.HOUR, BEGAN + 240)
    assert trend.note == "this controller has watched it since 2026-04-19 12:00:00 UTC"
    assert [rule.rule for rule in trend.rules] == ["error_rate", "p95"]
    assert trend.rules[0].needed == 400.0
    assert [one.canary is None for one in trend.rules[0].moments[-6:]] == [True, False, False, False, False, False]


def test_a_trend_that_is_whole_has_nothing_to_add() -> None:
    assert watched(70).trend("copilot", Span.HOUR, BEGAN + 69 * 60).note == ""


def test_a_rollout_never_watched_has_an_empty_trend() -> None:
    trend = watched(3).trend("other", Span.HOUR, BEGAN)
    assert trend.empty
    assert "nothing is remembered" in trend.note


def test_a_rollout_that_is_not_judged_now_keeps_its_past() -> None:
    memory = watched(3)
    memory.take(BEGAN + 180, {"other": (finding(),)})
    assert not memory.trend("copilot", Span.HOUR, BEGAN + 180).empty


def test_what_is_forgotten_is_gone() -> None:
    memory = watched(3)
    memory.forget(["other"])
    assert memory.trend("copilot", Span.HOUR, BEGAN + 180).empty
    assert memory.bytes == 0


def test_there_is_an_end_to_the_rules_remembered() -> None:
    memory = TrendMemory(most_rules=3)
    memory.take(BEGAN, {"a": (finding(), finding("p95")), "b": (finding(), finding("p95")), "c": (finding(),)})
    assert [memory.trend(name, Span.HOUR, BEGAN).empty for name in "abc"] == [False, True, False]


def test_the_past_is_filled_in_for_a_rollout_that_is_new() -> None:
    memory = TrendMemory()
    times = [BEGAN + 60.0 * minute for minute in range(3)]
    memory.fill("copilot", Span.HOUR, times, [{"p95": Moment(2.0, 1.0)}] * 3, lambda: {"p95": Unit.SECONDS})
    trend = memory.trend("copilot", Span.HOUR, BEGAN + 120)
    assert [one.canary for one in trend.rules[0].moments[-3:]] == [2.0, 2.0, 2.0]


numbers = st.one_of(st.none(), st.floats(0, 1e9), st.just(math.inf))


@given(st.lists(st.builds(Moment, numbers, numbers, numbers, numbers, numbers, numbers), min_size=1, max_size=60))
def test_a_document_is_read_back_to_four_digits(moments: list[Moment]) -> None:
    times = tuple(BEGAN + 60.0 * at for at in range(len(moments)))
    trend = Trend("copilot", BEGAN, BEGAN + 5000, 60.0, times, (RuleTrend("p95", Unit.SECONDS, tuple(moments), 400.0),))
    found = from_document(to_document(trend), rollout="copilot")
    assert found.times == times
    for before, after in zip(moments, found.rules[0].moments, strict=True):
        for name in ("canary", "control", "limit", "evidence"):
            value = getattr(before, name)
            assert getattr(after, name) == (None if value is None else pytest.approx(value, rel=1e-3)), name


def test_a_document_of_many_rules_is_bounded_and_has_the_tripping_ones() -> None:
    moments = tuple(Moment(0.0123456, 0.0123456, 0.0123456, 123.456, 1842.0, 35160.0) for _ in range(70))
    times = tuple(BEGAN + 60.0 * at for at in range(70))
    rules = tuple(RuleTrend(f"rule_{number}", Unit.FRACTION, moments) for number in range(100))
    document = to_document(Trend("copilot", BEGAN, BEGAN + 4200, 60.0, times, rules), ("rule_99",))
    assert len(document) <= MAX_DOCUMENT_BYTES
    found = from_document(document, rollout="copilot").rules
    assert found[0].rule == "rule_99"
    assert 5 < len(found) < 100


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"format":1', b'"format":2'),
        (b'"rollout":"copilot"', b'"rollout":"other"'),
        (b'"unit":"fraction"', b'"unit":"apples"'),
        (b'"needed":400.0', b'"needed":"many"'),
        (b'"canary":[0.02', b'"canary":[[0.02]'),
        (b'"canary":[0.02,', b'"canary":['),
        (b'"times":[', b'"times":[99999999,'),
        (b'"until":', b'"until":-'),
        (b"}", b""),
    ],
)
def test_a_spoiled_document_is_refused(before: bytes, after: bytes) -> None:
    trend = watched(3).trend("copilot", Span.HOUR, BEGAN + 120, since=BEGAN - 60)
    document = to_document(trend)
    assert before in document
    with pytest.raises(BadDocument):
        from_document(document.replace(before, after, 1), rollout="copilot")


def test_the_trend_around_a_trip_is_read_from_the_store() -> None:
    store = MemoryStore(MemoryServer(VirtualClock()))
    assert trend_around(store, "copilot", 7) is None
    trend = watched(3).trend("copilot", Span.HOUR, BEGAN + 120)
    store.commit((), [Put(keys.incident_trend("copilot", 7), to_document(trend))])
    found = trend_around(store, "copilot", 7)
    assert found is not None
    assert [rule.rule for rule in found.rules] == ["error_rate", "p95"]


def test_the_charts_of_a_trip_show_the_rules_that_tripped() -> None:
    trend = watched(70).trend("copilot", Span.HOUR, BEGAN + 69 * 60)
    incident = Incident(
        rollout="copilot", automatic=True, by="c-1", reason="p95 over", rules=("p95",), findings=(),
        decided_at=BEGAN + 68 * 60, generation=3, control="a", canary="b", percent_before=5.0, stage_before="ramp_5",
        stages=(StageEntry("ramp_5", 5.0, BEGAN + 30 * 60),),
    )  # fmt: skip
    (chart,) = charts_of_trip(trend, incident)
    assert chart.title == "p95"
    assert [mark.text for mark in chart.shown_marks] == ["5%", "trip"]


def test_a_rule_without_evidence_has_no_chart_of_it() -> None:
    trend = watched(3).trend("copilot", Span.HOUR, BEGAN + 120)
    rule = trend.rules[0]
    assert evidence_chart(trend, rule) is not None
    assert evidence_chart(trend, RuleTrend(rule.rule, rule.unit, rule.moments)) is None
    assert [series.name for series in cohorts_chart(trend, rule).series] == ["canary", "control", "limit"]
