"""The metrics of drills show what is known now, and nothing of before."""

from __future__ import annotations

from killswitch.daemon.drill_job import DrillGauges
from killswitch.drill.standing import DrillStanding
from killswitch.status.self_metrics import SelfMetrics

DUE = "killswitch_drill_due_timestamp_seconds"


def test_a_schedule_that_is_taken_away_is_not_overdue() -> None:
    """Its series would stay in the past, and the alert on a missed drill would fire for ever."""
    metrics = SelfMetrics("1")
    gauges = DrillGauges(metrics)
    gauges.show({"a": DrillStanding("a", due=1000.0)})
    assert metrics.registry.get_sample_value(DUE, {"rollout": "a"}) == 1000.0
    gauges.show({"a": DrillStanding("a")})
    assert metrics.registry.get_sample_value(DUE, {"rollout": "a"}) is None
    assert metrics.registry.get_sample_value("killswitch_drill_ok", {"rollout": "a"}) == 1.0


def test_a_rollout_that_is_gone_has_no_series() -> None:
    metrics = SelfMetrics("1")
    gauges = DrillGauges(metrics)
    gauges.show({"a": DrillStanding("a", outcome="failed", legs={"commit": 1.0}, worst=2.0, due=3.0)})
    assert metrics.registry.get_sample_value("killswitch_drill_ok", {"rollout": "a"}) == 0.0
    gauges.show({})
    assert [one.name for one in metrics.registry.collect() if "drill" in one.name and one.samples] == []
