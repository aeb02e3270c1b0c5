"""What a controller reads back when it starts or opens a rollout, and what it does without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from killswitch.deadline import Deadline
from killswitch.model import (
    Cohort,
    Counts,
    Decide,
    Limits,
    Measurement,
    QuerySignal,
    Readings,
    Rule,
    Scalar,
    Unit,
    Want,
)
from tests.doubles.fleet import INTERVAL, Fleet
from tests.doubles.scripted_source import ERRORS, ScriptedSource, rollout
from tests.unit.controller.fleets import BAD, GOOD, ONSET, fleet_of


def test_without_history_a_replica_does_not_fall_back() -> None:
    """Window over its limit by luck, history unreadable: the bare comparison would trip, evidence must not."""

    def noisy(want: Want, cohort: Cohort, tick: float) -> Measurement:
        return Counts(3.0 if cohort is Cohort.CANARY else 10.0, 100.0 if cohort is Cohort.CANARY else 1000.0)

    fleet = Fleet(noisy, rollout(rules=(ERRORS,)))
    a = fleet.replica("a")
    a.source.fails = lambda call: call == "read_back"
    fleet.arm()
    fleet.run(10)
    assert not fleet.tripped()
    assert "SOURCE_DOWN" in fleet.sentences()[0]


def test_no_window_is_asked_for_if_evidence_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where evidence decides, only its steps are asked for, and no window."""
    fleet = fleet_of("a", script=GOOD)
    asked: list[Want] = []
    read = ScriptedSource.read

    def noted(source: ScriptedSource, wants: Sequence[Want], tick: float, deadline: Deadline) -> Readings:
        asked.extend(wants)
        return read(source, wants, tick, deadline)

    monkeypatch.setattr(ScriptedSource, "read", noted)
    fleet.run(14)
    assert asked
    assert {want.part for want in asked} == {"step"}
    assert {want.seconds for want in asked} == {30.0}
    report = fleet.replicas[0].controller.latest
    assert report is not None
    (findings,) = (each.findings for each in report.reports.values())
    ten_steps = 10 * 75
    assert [round((finding.samples_canary or 0.0) / ten_steps, 1) for finding in findings] == [1.0] * len(findings)


def test_a_source_failure_at_opening_does_not_cost_the_warm_up() -> None:
    fleet = fleet_of(script=GOOD)
    a = fleet.replica("a")
    a.source.fails = lambda call: call == "read_back"
    fleet.run(3)
    a.source.fails = lambda _: False
    fleet.run(3)
    view = a.controller._evaluator.accumulator.view("copilot", ERRORS.name)
    assert view is not None
    assert not view.warming_up


def test_a_rollout_of_free_queries_alone_asks_for_no_history() -> None:
    rule = Rule("depth", QuerySignal("a", "b"), Limits(max_ratio=2.0), Unit.NUMBER)
    fleet = Fleet(lambda _want, _cohort, _tick: Scalar(1.0), rollout(rules=(rule,)))
    a = fleet.replica("a")
    fleet.arm()
    fleet.run(5)
    assert [call for call in a.source.asked if call[0] == "read_back"] == []
    assert "1 of 1 rules healthy" in fleet.sentences()[0]


def test_lookback_of_a_threshold_rule_survives_a_restart() -> None:
    bad = replace(ERRORS, for_ticks=3)
    fleet = Fleet(BAD, rollout(rules=(bad,), decide=Decide.THRESHOLD, window=60.0))
    fleet.replica("a")
    fleet.arm()
    for _ in range(60):
        fleet.run(1)
        fleet.kill(fleet.replicas[0])
        fleet.replica("a")
        if fleet.tripped():
            break
    trip = fleet.flips()[0].trip
    assert trip is not None
    assert trip.at <= ONSET + 4 * INTERVAL
