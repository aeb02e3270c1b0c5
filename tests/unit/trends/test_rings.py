"""What is remembered of a rule: never anything that was not judged, and never more than the rings hold."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.trends.rings import Rings
from killswitch.trends.trend import NOTHING, Moment, Span

BEGAN = 1_776_600_000.0  # a multiple of 14,400: where steps of every length begin
RULE = "error_rate"


def filled(minutes: range, value: float = 0.02) -> Rings:
    rings = Rings([RULE])
    for minute in minutes:
        rings.add(BEGAN + 60.0 * minute, {RULE: Moment(canary=value, control=0.01)})
    return rings


def canary(rings: Rings, span: Span, since: float, until: float) -> list[float | None]:
    return [one.canary for one in rings.read(span, since, until)[1][0]]


def test_what_was_judged_is_read_again() -> None:
    rings = Rings([RULE])
    moment = Moment(0.087, 0.011, 0.061, 400.0, 1842.0, 35_160.0)
    rings.add(BEGAN + 60, {RULE: moment})
    times, (found,) = rings.read(Span.HOUR, BEGAN, BEGAN + 60)
    assert times == [BEGAN + 60]
    assert found[0].canary == pytest.approx(0.087, rel=1e-6)
    assert found[0].limit == pytest.approx(0.061, rel=1e-6)
    assert found[0].evidence == pytest.approx(400.0, rel=0.02)
    assert found[0].samples_canary == pytest.approx(1842.0, rel=0.005)
    assert found[0].samples_control == pytest.approx(35_160.0, rel=0.005)


def test_the_newest_finding_of_a_minute_counts() -> None:
    rings = Rings([RULE])
    for second, value in ((30, 0.01), (60, 0.03)):
        rings.add(BEGAN + second, {RULE: Moment(canary=value)})
    assert canary(rings, Span.HOUR, BEGAN, BEGAN + 60) == [pytest.approx(0.03)]


def test_minutes_that_were_not_judged_are_gaps() -> None:
    rings = filled(range(1, 3))
    rings.add(BEGAN + 300, {RULE: Moment(canary=0.05)})
    found = canary(rings, Span.HOUR, BEGAN, BEGAN + 300)
    assert [value is None for value in found] == [False, False, True, True, False]


def test_an_unknown_rule_and_a_missing_one_are_gaps() -> None:
    rings = Rings([RULE, "p95"])
    rings.add(BEGAN + 60, {RULE: Moment(canary=None, control=0.01)})
    _, (first, second) = rings.read(Span.HOUR, BEGAN, BEGAN + 60)
    assert first[0].canary is None
    assert first[0].control == pytest.approx(0.01)
    assert second == [NOTHING]


def test_a_coarser_point_is_the_mean_and_the_greatest_evidence() -> None:
    rings = Rings([RULE])
    for minute in range(1, 8):
        rings.add(BEGAN + 60.0 * minute, {RULE: Moment(canary=minute / 100, evidence=float(10**minute))})
    first = rings.read(Span.SIX_HOURS, BEGAN, BEGAN + 360)[1][0][0]
    assert first.canary == pytest.approx(0.035)
    assert first.evidence == pytest.approx(10.0**6, rel=0.02)


def test_the_step_under_way_is_shown_with_what_is_known() -> None:
    """A week's steps are four hours: the newest must not be missing for as long."""
    rings = filled(range(1, 5))
    for span in (Span.SIX_HOURS, Span.DAY, Span.WEEK):
        times, (found,) = rings.read(span, BEGAN, BEGAN + 240)
        assert times == [BEGAN + 240]
        assert found[0].canary == pytest.approx(0.02), span


@pytest.mark.parametrize("span", list(Span))
def test_a_span_is_whole_after_its_time(span: Span) -> None:
    rings = filled(range(1, round(span.seconds / 60) + 300))
    until = BEGAN + 60.0 * (round(span.seconds / 60) + 299)
    times, (found,) = rings.read(span, until - span.seconds, until)
    assert None not in [one.canary for one in found]
    assert times[-1] == until
    assert len(times) <= 62


def test_a_gap_of_days_leaves_no_old_value_behind() -> None:
    rings = filled(range(1, 200))
    later = BEGAN + 40 * 86_400
    rings.add(later, {RULE: Moment(canary=0.5)})
    for span in Span:
        found = canary(rings, span, later - span.seconds, later)
        assert found[:-1] == [None] * (len(found) - 1)
        assert found[-1] == pytest.approx(0.5)


def test_a_clock_that_steps_back_drops_what_was_later() -> None:
    rings = filled(range(1, 20))
    rings.add(BEGAN + 300, {RULE: Moment(canary=0.5)})
    assert canary(rings, Span.HOUR, BEGAN + 240, BEGAN + 360) == [pytest.approx(0.5), None]


def test_rules_that_change_keep_the_past_of_those_that_stay() -> None:
    rings = filled(range(1, 4))
    rings.rename(["p95", RULE])
    _, (fresh, kept) = rings.read(Span.HOUR, BEGAN, BEGAN + 180)
    assert fresh == [NOTHING] * 3
    assert [one.canary for one in kept] == [pytest.approx(0.02)] * 3


def test_filling_in_never_replaces_what_was_judged() -> None:
    rings = filled(range(3, 5))
    times = [BEGAN + 60.0 * minute for minute in range(1, 5)]
    rings.fill(Span.HOUR, times, [{RULE: Moment(canary=0.9, limit=0.03)}] * 4)
    found = rings.read(Span.HOUR, BEGAN, BEGAN + 240)[1][0]
    assert [one.canary for one in found] == [pytest.approx(value) for value in (0.9, 0.9, 0.02, 0.02)]
    assert [one.limit for one in found] == [pytest.approx(0.03)] * 4


def test_filling_in_what_is_too_old_keeps_nothing() -> None:
    rings = filled(range(1, 75))
    before = rings.bytes
    rings.fill(Span.HOUR, [BEGAN - 10_000.0], [{RULE: Moment(canary=0.9)}])
    assert set(canary(rings, Span.HOUR, BEGAN - 10_060, BEGAN - 9_000)) == {None}
    assert rings.bytes <= before


def test_above_the_last_bucket_stays_above_it() -> None:
    rings = Rings([RULE])
    rings.add(BEGAN + 60, {RULE: Moment(canary=math.inf, control=1.0, evidence=math.inf)})
    found = rings.read(Span.HOUR, BEGAN, BEGAN + 60)[1][0][0]
    assert found.canary == math.inf
    assert found.evidence == pytest.approx(1e300, rel=0.3) or found.evidence == math.inf


@given(st.lists(st.integers(1, 100), min_size=1, max_size=60), st.sampled_from(Span))
def test_nothing_is_shown_that_was_not_judged(pauses: list[int], span: Span) -> None:
    """Whatever the pauses between two cycles: a point has a value only where a judged minute lies in its step."""
    rings, judged, minute = Rings([RULE]), [], 0
    for pause in pauses:
        minute += pause
        judged.append(BEGAN + 60.0 * minute)
        rings.add(judged[-1], {RULE: Moment(canary=minute / 1000)})
    until = judged[-1]
    times, (found,) = rings.read(span, until - span.seconds, until)
    for at, one in zip(times, found, strict=True):
        end = math.ceil(at / span.step - 1e-9) * span.step
        inside = [(when - BEGAN) / 60_000 for when in judged if end - span.step < when <= end]
        if one.canary is not None:
            assert min(inside) - 1e-6 <= one.canary <= max(inside) + 1e-6
    assert found[-1].canary is not None


def test_a_rollout_of_a_week_is_small() -> None:
    """18 bytes a point: 1,000 rollouts of 4 rules must stay under 20 MB."""
    rings = Rings(["a", "b", "c", "d"])
    for step in range(0, 10 * 86_400, 60):
        rings.add(BEGAN + step, {})
    assert rings.bytes < 18_000
