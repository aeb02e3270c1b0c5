"""What begins again, and what goes on: after stage `aa`, after an alarm, after a change of percent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.model import (
    Buckets,
    Cohort,
    Counts,
    Decide,
    Measurement,
    Mode,
    QuantileSignal,
    RatioSignal,
    Reason,
    Selector,
    Verdict,
    Want,
)
from killswitch.rules.loading import Rules
from killswitch.stores import Put, keys
from tests.doubles.fleet import INTERVAL, START, Fleet
from tests.doubles.memory_store import Call, Fault
from tests.doubles.scripted_source import ERRORS, HEALTHY_RATES, Script, Traffic, canary_from, rollout

pytestmark = pytest.mark.simulation

BEFORE = START - 4000


def _flips(call: Call) -> bool:
    writes = call.subject if isinstance(call.subject, tuple) else ()
    return any(isinstance(write, Put) and write.key.startswith(keys.FLAGS) for write in writes)


def bad_between(first: float, last: float, share: float = 0.3) -> Traffic:
    """The canary's users fail more often for a while."""

    def rate(_rollout: str, rule: str, cohort: Cohort, tick: float) -> float:
        bad = rule == "error_rate" and cohort is Cohort.CANARY and first < tick <= last
        return share if bad else HEALTHY_RATES.get(rule, 1.0)

    return Traffic(rate=rate, since=BEFORE)


@pytest.mark.parametrize("decide", Decide)
@pytest.mark.parametrize("quiet", [0, 2, 30])
def test_what_the_control_model_did_in_aa_is_not_the_canarys(decide: Decide, quiet: int) -> None:
    rules = (replace(ERRORS, for_ticks=2, limits=replace(ERRORS.limits, maximum=0.05)),)
    fleet = Fleet(bad_between(START + 600, START + 1500), rollout(rules=rules, decide=decide))
    fleet.replica("a")
    fleet.arm(stage="aa")
    fleet.run(50 + quiet)
    assert not fleet.tripped()
    fleet.person.set_stage("copilot", percent=5.0, stage="ramp_5")
    fleet.run(40, until=fleet.tripped)
    assert not fleet.tripped()


@pytest.mark.parametrize("ahead", [0.0, 300.0])
def test_a_canary_that_fails_after_aa_is_tripped_at_once(ahead: float) -> None:
    """Also where the clock of the person who began the stage is ahead."""
    leaves = START + 51 * INTERVAL
    fleet = Fleet(Traffic(rate=canary_from(leaves, error_rate=0.5), since=BEFORE), rollout(rules=(ERRORS,)))
    fleet.replica("a")
    fleet.arm(stage="aa")
    fleet.run(50)
    wall = fleet.clock.wall
    fleet.person._wall = lambda: wall() + ahead
    fleet.person.set_stage("copilot", percent=5.0, stage="ramp_5")
    assert fleet.run(20, until=fleet.tripped) <= 5


def test_a_replica_restarted_after_aa_reaches_the_same_evidence() -> None:
    fleet = Fleet(bad_between(START + 600, START + 1500), rollout(rules=(ERRORS,)))
    old = fleet.replica("a")
    fleet.arm(stage="aa")
    fleet.run(50)
    fleet.person.set_stage("copilot", percent=5.0, stage="ramp_5")
    fleet.run(20)
    new = fleet.replica("b")
    fleet.run(2)
    views = [each.controller._evaluator.accumulator.view("copilot", "error_rate") for each in (old, new)]
    assert views[0] is not None
    assert views[1] is not None
    assert views[0].value == pytest.approx(views[1].value, rel=1e-9)
    assert views[0][2:7] == views[1][2:7]
    assert (views[0].since or 0.0) >= START + 50 * INTERVAL


def test_a_dry_run_breach_does_not_trip_a_later_enforce() -> None:
    fleet = Fleet(bad_between(START + 600, START + 1500), rollout(mode=Mode.DRY_RUN))
    replica = fleet.replica("a")
    fleet.arm()
    said: list[float] = []

    def note() -> bool:
        if "would trip" in fleet.sentences()[0]:
            said.append(replica.controller.latest.tick if replica.controller.latest else 0.0)
        return False

    fleet.run(80, until=note)
    assert len(set(said)) > 3  # it goes on for a quarter of an hour, and is said again
    assert max(said) <= START + 1500 + 2 * INTERVAL
    replica.rules = Rules({"copilot": rollout(mode=Mode.ENFORCE, digest="sha256:2")}, "digest-2")
    fleet.replica("b", rules=replica.rules)  # one that reads all of it back
    fleet.run(60, until=fleet.tripped)
    assert not fleet.tripped()


@pytest.mark.parametrize("mended", [False, True])
def test_an_unwritten_breach_holds_while_the_window_is_over(mended: bool) -> None:
    """Evidence of a slow regression takes long to gather: a store that fails at that moment must not cost it all."""
    slow, end = 0.05, START + 2400 if mended else START + 1e6
    fleet = Fleet(bad_between(START + 600, end, slow), rollout(rules=(ERRORS,)))
    replica = fleet.replica("a")
    fleet.arm()
    replica.fail_store(lambda call: Fault.FAIL_BEFORE if _flips(call) else None)
    fleet.run(120)
    assert not fleet.tripped()
    alarms = replica.controller._evaluator._memory["copilot"].alarms
    if mended:  # its window has been within the limit since: no one is tripped for what is over
        assert not alarms
        replica.fail_store(lambda _: None)
        assert fleet.run(20, until=fleet.tripped) == 20
        return
    finding = replica.controller.latest.reports["copilot"].findings[0]  # type: ignore[union-attr]  # cycles ran
    assert finding.verdict is Verdict.BREACH
    replica.fail_store(lambda _: None)
    assert fleet.run(20, until=fleet.tripped) <= 2


# --- a change of percent ------------------------------------------------------------------------

EDGES = (0.5, 1.0, 2.0, 10.0, 60.0, 300.0, 600.0, float("inf"))


def with_latencies(traffic: Traffic, *shares: float) -> Script:
    """``shares``: of requests that take no longer than each edge."""

    def script(want: Want, cohort: Cohort, tick: float) -> Measurement:
        if not isinstance(want.signal, QuantileSignal):
            return traffic(want, cohort, tick)
        n = traffic.mean[cohort] * round(want.seconds / INTERVAL)
        return Buckets(EDGES, tuple(n * share for share in shares))

    return script


@pytest.mark.parametrize("again", [0, 15])
@pytest.mark.parametrize("tail", [0.0, 0.002, 0.01])
def test_a_fully_failing_canary_trips_in_two_ticks_after_a_raise(tail: float, again: int) -> None:
    """Two in a thousand answers that take 500 s held evidence up for ten minutes, and each raise began them again."""
    raised = START + 3600
    traffic = Traffic(rate=canary_from(raised, error_rate=1.0), since=START - 8000)
    whole = 1.0 - tail
    fleet = Fleet(with_latencies(traffic, 0.1, 0.5, 0.9 - tail, whole, whole, whole, 1.0, 1.0), rollout())
    fleet.replica("a")
    fleet.arm()
    fleet.run(120)
    assert not fleet.tripped()
    fleet.person.set_stage("copilot", percent=25.0, stage="ramp_25")
    ticks = 0
    while ticks < 40 and not fleet.tripped():
        ticks += fleet.run(1, until=fleet.tripped)
        if again and not ticks % again:
            fleet.person.set_stage("copilot", percent=25.0 + ticks / again, stage="custom")
    assert ticks <= 3


def test_a_rule_is_draining_while_most_answers_are_still_to_come() -> None:
    slow = with_latencies(Traffic(since=BEFORE), 0.0, 0.0, 0.0, 0.0, 0.5, 0.95, 1.0, 1.0)
    fleet = Fleet(slow, rollout(rules=(ERRORS, *(each for each in rollout().rules if each.name == "latency_p95"))))
    replica = fleet.replica("a")
    fleet.arm()
    said: list[Reason | None] = []

    def note() -> bool:
        report = replica.controller.latest
        if report is not None and report.reports["copilot"].findings:
            said.append(report.reports["copilot"].findings[0].reason)
        return False

    fleet.run(40, until=note)
    assert said.count(Reason.DRAINING) >= 3
    assert said[-1] is None
    assert "DRAINING" not in fleet.sentences()[0]


# --- the traffic's split ------------------------------------------------------------------------


def test_the_split_is_counted_on_all_requests_not_on_first_ones() -> None:
    """Arming makes every user of the canary "first" at one moment, and silent for five minutes after it."""
    first_ones = RatioSignal((Selector("judged_errors_total"),), (Selector("judged_requests_total"),))
    judged = replace(ERRORS, per_user=first_ones)
    traffic = Traffic(since=START)

    def script(want: Want, cohort: Cohort, tick: float) -> Measurement:
        found = traffic(want, cohort, tick)
        if not want.part.endswith("per_user") or not isinstance(found, Counts):
            return found
        few = 0.002 if cohort is Cohort.CANARY and (tick - START) % 300 > 30 else 0.5
        return Counts(round(found.events * few), round(found.trials * few))

    fleet = Fleet(script, rollout(rules=(judged,)))
    replica = fleet.replica("a")
    fleet.arm()

    def wrong() -> bool:
        return replica.controller._evaluator.accumulator.split_is_wrong("copilot")

    fleet.run(60, until=wrong)
    assert not wrong()
