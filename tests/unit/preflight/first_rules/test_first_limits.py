"""Limits out of control's last week: above its worst hour where they are absolute, and none where none makes sense."""

from __future__ import annotations

import math

import pytest

from killswitch.model import Rollout
from killswitch.preflight.assumptions import AssumedTraffic
from killswitch.preflight.first_rules.limits import limit_of
from killswitch.preflight.first_rules.week import ControlWeek, weeks
from killswitch.rules.loading import load_text
from tests.unit.preflight.first_rules.store_contents import NOW, growing


@pytest.fixture
def rollout() -> Rollout:
    return load_text(b"rollout: copilot\ncontrol: old\ncanary: new\n").rollouts[0]


def week(value: float, worst: float, events: float | None = 10.0) -> ControlWeek:
    return ControlWeek(168, 10.0, value, worst, events, AssumedTraffic(value, assumed=False))


def keys(rollout: Rollout, name: str, known: ControlWeek) -> dict[str, str | float]:
    return limit_of(next(rule for rule in rollout.rules if rule.name == name), known).keys


@pytest.mark.parametrize(
    ("value", "worst", "most"), [(0.0, 0.0, "0.5%"), (0.004, 0.009, "2%"), (0.01, 0.03, "5%"), (0.2, 0.3, "50%")]
)
def test_an_absolute_limit_is_above_controls_worst_hour(
    rollout: Rollout, value: float, worst: float, most: str
) -> None:
    assert keys(rollout, "error_rate", week(value, worst)) == {"max": most}
    assert float(most.removesuffix("%")) / 100 > worst


def test_a_control_that_always_fails_has_no_limit(rollout: Rollout) -> None:
    assert keys(rollout, "error_rate", week(0.7, 0.9)) == {}


def test_points_follow_controls_own_refusals(rollout: Rollout) -> None:
    assert keys(rollout, "refusal_rate", week(0.001, 0.01)) == {"max_increase": "1pp"}
    assert keys(rollout, "refusal_rate", week(0.3, 0.4)) == {"max_increase": "5pp"}


def test_a_quantile_over_the_last_bucket_has_no_limit(rollout: Rollout) -> None:
    assert keys(rollout, "latency_p95", week(math.inf, math.inf, None)) == {}
    assert keys(rollout, "latency_p95", week(1.9, 5.0, None)) == {"max_ratio": 1.5}


def test_a_rule_without_events_says_that_it_sees_nothing(rollout: Rollout) -> None:
    rule = next(rule for rule in rollout.rules if rule.name == "thumbs_down_rate")
    assert "sees nothing" in limit_of(rule, week(0.0, 0.0, 0.0)).why


def test_the_last_week_is_read_hour_by_hour(rollout: Rollout) -> None:
    """3,600 requests an hour for five hours, 1 % of them errors; hours before have no say."""
    store = growing(
        {
            'llm_requests_total{cohort="control",outcome="ok"}': 3564.0,
            'llm_requests_total{cohort="control",outcome="error"}': 36.0,
        },
        hours=5.0,
    )
    found = weeks(store, rollout, until=NOW, patience=5.0)
    assert list(found) == ["error_rate"]
    assert found["error_rate"].hours in (5, 6)
    assert found["error_rate"].value == pytest.approx(0.01, rel=0.03)
    assert found["error_rate"].rate == pytest.approx(1.0, rel=0.02)
