"""Rule files that are edited while a rollout is judged: what is asked, kept, and begun again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from killswitch.deadline import Deadline
from killswitch.model import Cohort, Counts, Decide, Matcher, Measurement, Mode, PageSettings, Readings, Want
from killswitch.rules.loading import Rules
from tests.doubles.fleet import START, Fleet, no_fault
from tests.doubles.memory_store import Fault
from tests.doubles.scripted_source import ALL_RULES, COHORTS, ERRORS, ScriptedSource, Traffic, canary_from, rollout
from tests.unit.controller.fleets import BAD_LATE, GOOD, ONSET, assert_one_trip, fleet_of, flips

pytestmark = pytest.mark.simulation


def test_rules_edited_to_threshold_trip_by_windows_of_now() -> None:
    """The age of evidence gathered before the edit was taken for the verdict's: every trip expired, for ever."""
    fleet = fleet_of("a", script=BAD_LATE)
    fleet.run(30)
    fleet.replicas[0].rules = Rules({"copilot": rollout(decide=Decide.THRESHOLD, digest="sha256:2")}, "digest-2")
    assert fleet.run(40, until=fleet.tripped) < 40
    assert_one_trip(fleet)


@pytest.mark.parametrize("decide", list(Decide))
def test_an_edit_of_whom_to_page_keeps_a_waiting_breach(decide: Decide) -> None:
    """The digest of the file was part of what a breach and a streak are about."""
    rules = (replace(ERRORS, for_ticks=6),)
    script = Traffic(rate=canary_from(ONSET, error_rate=0.04), since=START - 4000)
    usual = fleet_of("a", script=script, rules=rules, decide=decide)
    needed = usual.run(100, until=usual.tripped)
    fleet = fleet_of("a", script=script, rules=rules, decide=decide)
    a = fleet.replicas[0]
    a.fail_store(lambda call: Fault.FAIL_BEFORE if flips(call) else None)
    fleet.run(needed + 2)
    edited = rollout(rules=rules, decide=decide, digest="sha256:2", page=PageSettings(slack="#other"))
    a.rules = Rules({"copilot": edited}, "digest-2")
    fleet.run(2)
    a.fail_store(no_fault)
    assert fleet.run(10, until=fleet.tripped) == 1


def edited(fleet: Fleet, **changes: object) -> None:
    """Another version of the rule file, in force from the next cycle on."""
    rules = rollout(digest="sha256:2", **changes)  # type: ignore[arg-type]  # fields of Rollout
    fleet.rollouts = {"copilot": rules}
    for replica in fleet.replicas:
        replica.rules = Rules({"copilot": rules}, "digest-2")


@pytest.mark.parametrize("window", [60.0, 1800.0, 7200.0])
@pytest.mark.parametrize("before", [300.0, 7200.0])
def test_a_failing_canary_trips_on_any_window_it_is_changed_to(before: float, window: float) -> None:
    fleet = fleet_of("a", script=Traffic(rate=canary_from(START + 1500.0, error_rate=0.5), since=START), window=before)
    fleet.run(20)
    edited(fleet, window=window)
    fleet.run(40)
    assert_one_trip(fleet)


def test_a_changed_window_shows_its_own_steps() -> None:
    """A changed window shows its own steps in time. It stops at once to show longer ones."""
    fleet = fleet_of("a", script=GOOD)
    fleet.run(40)
    (a,) = fleet.replicas

    def samples() -> list[float]:
        assert a.controller.latest is not None
        (report,) = a.controller.latest.reports.values()
        return [round((finding.samples_canary or 0.0) / 75) for finding in report.findings]

    edited(fleet, window=1800.0)
    fleet.run(60)
    assert samples() == pytest.approx([60] * len(ALL_RULES), abs=3)
    edited(fleet, window=60.0, min_requests=5)
    fleet.run(1)
    assert samples() == pytest.approx([2] * len(ALL_RULES), abs=1)


def test_a_file_that_goes_from_evidence_to_threshold_is_obeyed() -> None:
    fleet = fleet_of("a", script=Traffic(rate=canary_from(START + 900.0, error_rate=0.5), since=START))
    fleet.run(20)
    edited(fleet, decide=Decide.THRESHOLD)
    fleet.run(40)
    assert_one_trip(fleet)


def test_other_cohorts_begin_at_nothing() -> None:
    """What the wrong pods did is neither shown nor counted once the file names the right ones."""

    def foreign(want: Want, cohort: Cohort, tick: float) -> Measurement:
        wrong = any(matcher.value == "foreign" for matcher in want.cohorts[Cohort.CANARY])
        share = 0.3 if wrong and cohort is Cohort.CANARY else 0.005
        trials = 75.0 if cohort is Cohort.CANARY else 1425.0
        return Counts(share * trials, trials)

    wrong = {**COHORTS, Cohort.CANARY: (Matcher("pod", "=", "foreign"),)}
    wrong_rules = replace(rollout(rules=(ERRORS,), mode=Mode.DRY_RUN), cohorts=wrong)
    fleet = Fleet(foreign, wrong_rules)
    a = fleet.replica("a")
    fleet.arm()
    fleet.run(4)
    edited(fleet, rules=(ERRORS,), mode=Mode.DRY_RUN)
    fleet.run(2)
    assert a.controller.latest is not None
    (report,) = a.controller.latest.reports.values()
    assert [finding.canary for finding in report.findings] == [pytest.approx(0.005)]


def test_rules_edited_in_mid_flight_judge_by_what_comes_after() -> None:
    """2 % of errors for half an hour under a limit of 5 %; then the limit becomes 1.5 %: no trip by the past."""
    steady = Traffic(
        rate=lambda _n, rule, cohort, _t: 0.02 if rule == ERRORS.name and cohort is Cohort.CANARY else 0.01, since=START
    )
    loose = replace(ERRORS, limits=replace(ERRORS.limits, maximum=0.05))
    tight = replace(ERRORS, limits=replace(ERRORS.limits, maximum=0.015))
    fleet = Fleet(steady, rollout(rules=(loose,)))
    a = fleet.replica("a")
    fleet.arm()
    fleet.run(60)
    a.rules = Rules({"copilot": rollout(rules=(tight,), digest="sha256:2")}, "digest-2")
    fleet.run(1)
    assert not fleet.tripped()
    view = a.controller._evaluator.accumulator.view("copilot", ERRORS.name)
    assert view is not None
    assert view.trials_canary <= 200  # a step or two, not the half hour before


def test_what_is_asked_follows_rules_flag_and_arming(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked follows rules, flag and arming. If none of them changes, it is the same object."""
    fleet = fleet_of("a", script=GOOD, decide=Decide.THRESHOLD, mode=Mode.DRY_RUN)
    (a,) = fleet.replicas
    asked: list[list[Want]] = []
    read = ScriptedSource.read

    def noted(source: ScriptedSource, wants: Sequence[Want], tick: float, deadline: Deadline) -> Readings:
        if wants[0].part == "window":
            asked.append(list(wants))
        return read(source, wants, tick, deadline)

    monkeypatch.setattr(ScriptedSource, "read", noted)
    fleet.run(14)
    assert [one is other for one, other in zip(asked[-1], asked[-2], strict=True)] == [True] * len(asked[-1])
    shorter = replace(fleet.rollouts["copilot"], window=60.0, digest="other")
    a.rules = Rules({"copilot": shorter}, "digest-2")
    fleet.run(1)
    assert {want.seconds for want in asked[-1]} == {60.0}
    a.rules = Rules({"copilot": replace(shorter, rules=(ERRORS,))}, "digest-3")
    fleet.run(1)
    assert {want.rule for want in asked[-1]} == {ERRORS.name}
    fleet.person.set_stage("copilot", percent=25.0, stage="aa")
    fleet.run(1)
    assert {want.part for want in asked[-1]} == {"window", "aa"}
    assert fleet.person.stored("copilot").flag is not None
    fleet.person.end("copilot")
    fleet.arm()
    fleet.run(2)
    assert {want.seconds for want in asked[-1]} == {30.0}
