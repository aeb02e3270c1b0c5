"""The gate: what each check says of what is there, what is missing, and what could not be read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from killswitch.controller.plan_store import slow_or_why
from killswitch.flags.flag import trip
from killswitch.flags.transitions import Actor
from killswitch.model import Counts, Verdict
from killswitch.ramps import condition_checks
from killswitch.ramps.gate import Gate, gate
from killswitch.ramps.gate_check import CheckOutcome
from killswitch.ramps.gate_inputs import (
    Approval,
    GateInputs,
    Hold,
    Judged,
    Missing,
    RuleNow,
    SignalNow,
    WayBack,
)
from killswitch.ramps.progress import RuleWatch, StageProgress
from killswitch.slow.standing import SignalStanding, SlowStanding, to_document
from killswitch.stores import Put, keys
from killswitch.timestamps import from_iso
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import MemoryServer, MemoryStore
from tests.unit.ramps.ramped import DAY, HOUR, NOW, PLAN, flag_in, inputs_of, plan_of, progress_of, stepped, watch


def judged_by(inputs: GateInputs) -> Gate:
    return gate(plan_of(inputs.rollout), inputs)


def open_checks(inputs: GateInputs) -> dict[str, tuple[str, str]]:
    """The checks that do not pass, by name: outcome and sentence."""
    return {
        check.name: (check.outcome.value, check.sentence)
        for check in judged_by(inputs).checks
        if check.outcome is not CheckOutcome.PASS
    }


def only(inputs: GateInputs, name: str) -> tuple[str, str]:
    found = open_checks(inputs)
    assert list(found) == [name]
    return found[name]


def watched_as(inputs: GateInputs, **changes: Any) -> GateInputs:
    assert isinstance(inputs.progress, StageProgress)
    return replace(inputs, progress=replace(inputs.progress, **changes))


APPROVED = (Approval("@llm-leads", "ann@laptop", 1, "ramp_25", NOW),)


@pytest.mark.parametrize("stage", ["shadow", "aa", "ramp_1", "ramp_5", "full"])
def test_a_gate_passes_when_everything_is_there(stage: str) -> None:
    assert judged_by(inputs_of(stage)).ready
    assert judged_by(inputs_of(stage)).reason == ""


def test_an_approved_stage_passes() -> None:
    assert judged_by(inputs_of("ramp_25", approvals=APPROVED)).ready


@pytest.mark.parametrize("name", ["progress", "judged", "approvals", "way_back", "hold", "slow", "shadow"])
@pytest.mark.parametrize("stage", ["shadow", "aa", "ramp_1", "ramp_5", "ramp_25", "full"])
def test_what_is_missing_is_never_a_pass(stage: str, name: str) -> None:
    complete = inputs_of(stage, approvals=APPROVED)
    gone: Any = {name: Missing("the store is down")}
    found = judged_by(replace(complete, **gone))
    asked = name not in ("approvals", "shadow") or stage == {"approvals": "ramp_25", "shadow": "shadow"}[name]
    assert found.ready is not asked
    assert not [check for check in found.checks if check.outcome is CheckOutcome.FAIL]
    assert not asked or "the store is down" in found.reason


def test_a_check_that_breaks_is_no_pass_and_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: GateInputs) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(condition_checks, "hold", broken)
    found = judged_by(inputs_of("ramp_1"))
    assert found.checks[0].outcome is CheckOutcome.NOT_YET
    assert "ZeroDivisionError" in found.checks[0].sentence
    assert len(found.checks) == len(judged_by(inputs_of("ramp_1")).checks)


def test_a_tripped_or_unknown_stage_fails() -> None:
    armed = flag_in("ramp_5")
    gone = trip(
        armed, rollout="copilot", reason="r", rules=(), incident="i", now=NOW, by="c", actor=Actor.CONTROLLER
    )  # fmt: skip
    assert only(inputs_of("ramp_5", flag=gone), "armed") == ("FAIL", "it is tripped, not armed")
    assert only(inputs_of("custom", flag=flag_in("custom", 3.0)), "stage")[0] == "FAIL"
    assert only(inputs_of("ramp_5", flag=flag_in("ramp_5", 6.0)), "stage")[0] == "FAIL"


# --- what was watched ---------------------------------------------------------------------------


def test_blind_time_does_not_count_and_makes_the_wait_longer() -> None:
    """Half of 24 hours was judged, so the other half takes another 24."""
    inputs = watched_as(
        inputs_of("ramp_1", seconds=DAY), watched=DAY / 2, rules={r: watch(DAY / 2) for r in RULES}
    )  # fmt: skip
    found = next(check for check in judged_by(inputs).checks if check.name == "watched")
    assert found.outcome is CheckOutcome.NOT_YET
    assert found.wait == pytest.approx(DAY)
    assert found.sentence == "judged for 12h of 1d; 12h are missing"


RULES = ("error_rate", "latency_p95", "refusal_rate", "thumbs_down_rate")


def test_a_stage_that_is_hardly_judged_names_the_settings() -> None:
    said = only(watched_as(inputs_of("ramp_1", seconds=DAY), watched=HOUR), "watched")[1]
    assert said.endswith(
        "since a tick counts only if both cohorts have 100 requests in 5m; see `window` and `min_requests`"
    )


def test_progress_of_another_stage_is_no_progress() -> None:
    flag = flag_in("ramp_1")
    later = stepped(flag, "ramp_5", 5.0, NOW + 60)
    inputs = inputs_of("ramp_5", flag=later)
    old = replace(inputs, progress=progress_of(flag, inputs.rollout, 8 * DAY))
    assert "about another stage" in open_checks(old)["watched"][1]


def test_an_idle_canary_never_passes() -> None:
    few = {name: watch(8 * DAY, rate=0.0001, percent=1.0) for name in RULES}
    inputs = watched_as(inputs_of("ramp_1"), rules=few)
    outcome, said = only(inputs, "requests")
    assert outcome == "NOT_YET"
    assert said == "1 of the canary and 68 of control; each cohort needs 100"


@pytest.mark.parametrize(
    ("silent", "served", "said"),
    [
        (30.0, 0, "the canary has had no request for 30s, where 15 were to be expected"),
        (30.0, 1, "control has had no request for 30s, where 1,485 were to be expected"),
        (8 * DAY, 0, "the canary has had no request for 8d"),
    ],
)
def test_traffic_that_has_stopped_holds_it(silent: float, served: int, said: str) -> None:
    """Of a canary with half a request a second, one interval without any is no chance; of control neither."""
    inputs = inputs_of("ramp_1")
    assert isinstance(inputs.progress, StageProgress)
    newest = [inputs.progress.tick, inputs.progress.tick]
    newest[served] -= silent
    rules = {name: watch(8 * DAY, percent=1.0) for name in RULES}
    outcome, sentence = only(watched_as(inputs, served=tuple(newest), rules=rules), "traffic")
    assert outcome == "NOT_YET"
    assert sentence.startswith(said)


def test_a_pause_that_is_usual_at_this_traffic_is_no_end() -> None:
    """A canary with a request in five minutes has none in most intervals."""
    inputs = inputs_of("ramp_1")
    assert isinstance(inputs.progress, StageProgress)
    tick = inputs.progress.tick
    slow = {name: watch(8 * DAY, rate=1 / 3, percent=1.0) for name in RULES}
    assert judged_by(watched_as(inputs, served=(tick - 1200.0, tick), rules=slow)).ready
    assert only(watched_as(inputs, served=(tick - 1500.0, tick), rules=slow), "traffic")[0] == "NOT_YET"
    assert "the canary has had no request" in only(watched_as(inputs, served=(None, tick)), "traffic")[1]


def test_a_breach_fails_and_is_named() -> None:
    judged = Judged({"error_rate": RuleNow(Verdict.BREACH, "error_rate 8.7%")}, age=5.0)
    found = open_checks(inputs_of("ramp_1", judged=judged))
    assert found["breach"] == ("FAIL", "error_rate 8.7%")
    assert judged_by(inputs_of("ramp_1", judged=judged)).reason == "breach: error_rate 8.7%"


@pytest.mark.parametrize("verdict", [Verdict.SUSPECT, Verdict.UNKNOWN])
def test_one_rule_that_is_not_healthy_holds_it(verdict: Verdict) -> None:
    inputs = inputs_of("ramp_1")
    assert isinstance(inputs.judged, Judged)
    rules = {**inputs.judged.rules, "error_rate": RuleNow(verdict, "error_rate is odd")}
    assert only(replace(inputs, judged=Judged(rules, 5.0)), "healthy") == ("NOT_YET", "error_rate is odd")


def test_a_rule_without_verdict_holds_it() -> None:
    inputs = inputs_of("ramp_1", judged=Judged({"error_rate": RuleNow(Verdict.HEALTHY)}, 5.0))
    assert "refusal_rate has no verdict" in only(inputs, "healthy")[1]


@pytest.mark.parametrize(("age", "ready"), [(0.0, True), (60.0, True), (60.1, False), (-30.0, True), (-31.0, False)])
def test_verdicts_older_than_two_intervals_are_none(age: float, *, ready: bool) -> None:
    inputs = inputs_of("ramp_1")
    assert isinstance(inputs.judged, Judged)
    assert judged_by(replace(inputs, judged=replace(inputs.judged, age=age))).ready is ready


def test_each_rule_must_be_known_most_of_the_time() -> None:
    inputs = inputs_of("ramp_1", seconds=DAY)
    assert isinstance(inputs.progress, StageProgress)
    blind = replace(inputs.progress.rules["latency_p95"], known=0.9 * DAY)
    held = watched_as(inputs, rules={**inputs.progress.rules, "latency_p95": blind})
    assert only(held, "known")[1].endswith("only: latency_p95 90%; 95% is needed")
    (check,) = [check for check in judged_by(held).checks if check.name == "known"]
    assert check.wait == pytest.approx(DAY)  # then 1.9 of 2 days are known
    fine = replace(blind, known=0.95 * DAY)
    assert judged_by(watched_as(inputs, rules={**inputs.progress.rules, "latency_p95": fine})).ready


# --- what the requests could show ---------------------------------------------------------------


def rates(canary: float, control: float, *, rate: float, seconds: float = DAY, phi: float = 1.0) -> RuleWatch:
    n_c, n_b = rate * seconds * 0.05, rate * seconds * 0.95
    return RuleWatch(seconds, seconds, Counts(canary * n_c, n_c), Counts(control * n_b, n_b), phi)


def with_errors(found: RuleWatch) -> GateInputs:
    inputs = inputs_of("ramp_5", seconds=DAY)
    assert isinstance(inputs.progress, StageProgress)
    return watched_as(inputs, rules={**inputs.progress.rules, "error_rate": found})


def test_a_day_at_little_traffic_is_no_proof() -> None:
    """24 hours of 5 % at 0.2 requests/s show a doubled error rate in fewer than 9 of 10 cases, and it says so."""
    outcome, said = only(with_errors(rates(0.01, 0.01, rate=0.2)), "detects error_rate 2x")
    assert outcome == "NOT_YET"
    assert said.startswith("864 requests of the canary would have shown it with a chance of ")
    gated = judged_by(with_errors(rates(0.01, 0.01, rate=0.2)))
    assert gated.wait == pytest.approx(1.37 * DAY, rel=0.05)
    assert judged_by(with_errors(rates(0.01, 0.01, rate=1.0))).ready


def test_clumped_errors_need_more_requests() -> None:
    assert not judged_by(with_errors(rates(0.01, 0.01, rate=1.0, phi=4.0))).ready
    assert judged_by(with_errors(rates(0.01, 0.01, rate=4.0, phi=4.0))).ready


def test_a_regression_that_is_there_fails() -> None:
    """The rule allows it (at most 2 % of requests), and the plan names it all the same."""
    outcome, said = only(with_errors(rates(0.019, 0.009, rate=5.0)), "detects error_rate 2x")
    assert (outcome, said) == ("FAIL", "it is there: 1.9% against 0.90% over the whole stage")


def test_no_requests_at_all_show_nothing() -> None:
    gated = judged_by(with_errors(RuleWatch(DAY, DAY)))
    (check,) = [one for one in gated.checks if one.name.startswith("detects")]
    assert (check.outcome, check.wait) == (CheckOutcome.NOT_YET, None)


def test_a_control_without_errors_does_not_pass_for_a_rate() -> None:
    assert only(with_errors(rates(0.0, 0.0, rate=50.0)), "detects error_rate 2x")[0] == "NOT_YET"


def in_aa(canary: float, control: float, *, rate: float) -> GateInputs:
    inputs = inputs_of("aa", seconds=DAY)
    assert isinstance(inputs.progress, StageProgress)
    return watched_as(inputs, rules={**inputs.progress.rules, "refusal_rate": rates(canary, control, rate=rate)})


def test_small_offsets_pass_and_users_that_differ_fail() -> None:
    assert judged_by(in_aa(0.011, 0.010, rate=50.0)).ready
    outcome, said = only(in_aa(0.05, 0.01, rate=50.0), "offsets")
    assert outcome == "FAIL"
    assert "these users differ: refusal_rate" in said
    assert "--salt" in said


def test_an_offset_that_is_not_known_closely_waits() -> None:
    inputs = in_aa(0.01, 0.01, rate=0.05)
    gated = judged_by(inputs)
    (check,) = [one for one in gated.checks if one.name == "offsets"]
    assert check.outcome is CheckOutcome.NOT_YET
    assert check.wait is not None


# --- everything else ----------------------------------------------------------------------------


@pytest.mark.parametrize(("decision", "outcome"), [("NO_GO", "FAIL"), ("NOT_YET", "NOT_YET"), ("", "NOT_YET")])
def test_the_shadow_leaves_on_go_alone(decision: str, outcome: str) -> None:
    assert only(inputs_of("shadow", shadow=decision), "shadow report")[0] == outcome


def test_slow_signals_over_or_unknown_hold_it() -> None:
    slow = {"csat": SignalNow(True, "csat 3.4 points lower"), "refunds": SignalNow(None, "yesterday's load")}
    found = open_checks(inputs_of("ramp_1", slow=slow))
    assert found == {
        "slow csat": ("FAIL", "csat 3.4 points lower"), "slow refunds": ("NOT_YET", "yesterday's load"),
    }  # fmt: skip
    assert judged_by(inputs_of("ramp_1", slow={"csat": SignalNow(False)})).ready


SLOW = """\
slow:
  source: duckdb:///w.db
  users: {query: "select user_id, day, csat from csat", user: user_id, day: day}
  signals: {csat: {column: csat, range: [0, 100], max_drop: 3}}
"""


@pytest.mark.parametrize("stage", ["shadow", "aa"])
def test_a_slow_signal_holds_no_stage_that_exposes_no_one(stage: str) -> None:
    """Such a stage can have no verdict, so a plan with slow signals could never leave it."""
    store = MemoryStore(MemoryServer(VirtualClock()), "a")
    inputs = inputs_of(stage, text=SLOW + PLAN)
    inputs = replace(inputs, slow=slow_or_why(store.get, inputs.rollout, inputs.flag, NOW))
    assert judged_by(inputs).ready
    over = replace(inputs, slow={"csat": SignalNow(True, "csat 3.4 points lower")})
    assert only(over, "slow csat")[0] == "FAIL"


def test_an_old_evaluation_of_slow_signals_is_no_proof() -> None:
    """The daily job may have ended: what was healthy last week says nothing about the stage since."""
    store = MemoryStore(MemoryServer(VirtualClock()), "a")
    inputs = inputs_of("ramp_1", text=SLOW + PLAN)
    healthy = SignalStanding("csat", Verdict.HEALTHY, None, "fine")

    def judged(at: float) -> Gate:
        standing = SlowStanding("copilot", 1, at, at, (healthy,))
        store.commit((), (Put(keys.slow_standing("copilot"), to_document(standing)),))
        return judged_by(replace(inputs, slow=slow_or_why(store.get, inputs.rollout, inputs.flag, NOW)))

    assert judged(NOW - 27 * HOUR).ready
    for at in (NOW - 29 * HOUR, NOW - 5 * DAY, NOW + HOUR):
        assert [check.name for check in judged(at).checks if check.outcome is CheckOutcome.NOT_YET] == ["slow csat"]
    healthy = replace(healthy, verdict=Verdict.BREACH)
    assert [check.name for check in judged(NOW - 5 * DAY).checks if check.outcome is CheckOutcome.FAIL] == ["slow csat"]


def test_a_slow_signal_of_the_rule_file_that_nobody_has_judged_holds_it() -> None:
    assert only(inputs_of("ramp_1", text=SLOW + PLAN), "slow csat")[0] == "NOT_YET"
    assert judged_by(inputs_of("ramp_1", text=SLOW + PLAN, slow={"csat": SignalNow(False)})).ready
    assert judged_by(inputs_of("shadow", text=SLOW + PLAN)).ready
    assert judged_by(inputs_of("aa", text=SLOW + PLAN)).ready


@pytest.mark.parametrize(
    "change", [{"name": "@others"}, {"generation": 2}, {"stage": "ramp_5"}, {"began_at": NOW - 60}], ids=str
)
def test_an_approval_is_of_this_stage_and_name_alone(change: dict[str, Any]) -> None:
    other = replace(APPROVED[0], **change)
    assert only(inputs_of("ramp_25", approvals=(other,)), "approval @llm-leads")[0] == "NOT_YET"


WAY = WayBack(True, "it serves", capacity=80.0, rate=50.0)


def test_control_must_answer() -> None:
    assert only(inputs_of("ramp_1", way_back=replace(WAY, answers=False, said="404")), "control answers") == (
        "FAIL", "404",
    )  # fmt: skip


def test_before_full_someone_must_have_said_what_control_can_take() -> None:
    def at(stage: str, way: WayBack) -> dict[str, tuple[str, str]]:
        return open_checks(inputs_of(stage, approvals=APPROVED, way_back=way))

    unknown = replace(WAY, capacity=None)
    assert at("ramp_5", unknown) == {}
    assert at("ramp_25", unknown)["control's capacity"][0] == "NOT_YET"
    assert at("ramp_25", replace(WAY, rate=None))["control's capacity"][0] == "NOT_YET"
    assert at("ramp_25", replace(WAY, capacity=49.0)) == {
        "control's capacity": ("FAIL", "control can take 49 requests/s, and both cohorts have 50 now")
    }


def test_control_must_outlive_the_plan() -> None:
    """From ramp_1, ten days of stages are left, ramp_1 included."""
    inputs = inputs_of("ramp_1")
    late = replace(inputs, way_back=replace(WAY, retires=inputs.now + 10 * DAY + 1))
    assert judged_by(late).ready
    early = replace(inputs, way_back=replace(WAY, retires=inputs.now + 10 * DAY - 1))
    outcome, said = only(early, "control stays")
    assert (outcome, said.partition(", and ")[2]) == ("FAIL", "the plan takes 10d more")


def test_no_step_begins_in_a_closed_hour() -> None:
    closed = PLAN + '  not_during: ["* * * * sun"]\n'
    inputs = replace(inputs_of("ramp_1", text=closed), now=NOW + 7 * DAY)
    found = judged_by(inputs)
    assert found.reason.startswith("not_during: no step begins before 2026-04-27T00:00:00Z, in about 9h")
    assert judged_by(replace(inputs, now=NOW + 8 * DAY)).ready


@pytest.mark.parametrize(
    ("at", "opens"),
    [
        ("2026-03-29T01:30:00+01:00", "2026-03-29T01:00:00Z"),  # 02:00 to 03:00 is left out that night
        ("2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00Z"),  # and occurs twice that night: closed both times
        ("2026-10-25T02:30:00+01:00", "2026-10-25T02:00:00Z"),
    ],
)
def test_a_change_of_summer_time_opens_no_closed_hour(at: str, opens: str) -> None:
    """01:00 to 02:59 is closed, by the clock on the wall."""
    text = PLAN + '  not_during: ["* 1-2 * * *"]\n  time_zone: Europe/Berlin\n'
    found = only(inputs_of("ramp_1", text=text, now=from_iso(at)), "not_during")
    assert found == ("NOT_YET", f"no step begins before {opens}")


def test_a_plan_that_never_opens_says_so() -> None:
    """`check` refuses windows of every minute; these leave out one day in four years."""
    never = '  not_during: ["* * * 1,3-12 *", "* * 1-28 2 *"]\n'
    outcome, said = only(inputs_of("ramp_1", text=PLAN + never), "not_during")
    assert (outcome, said) == ("NOT_YET", "no step may begin for 400 days; change `not_during`")


def test_a_hold_is_named_with_the_way_out() -> None:
    held = inputs_of("ramp_1", hold=Hold("incident elsewhere", "ann@laptop"))
    assert only(held, "hold") == (
        "NOT_YET", "ann@laptop holds it: incident elsewhere; use `killswitch resume copilot`",
    )  # fmt: skip


def test_the_reason_is_what_fails_else_what_takes_longest() -> None:
    inputs = inputs_of("ramp_1", seconds=12 * HOUR, slow={"csat": SignalNow(True, "lower")})
    assert judged_by(inputs).reason == "slow csat: lower"
    waiting = replace(inputs, slow={})
    said = "watched: judged for 12h of 1d; 12h are missing, in about 12h at today's traffic"
    assert judged_by(waiting).reason == said
    assert judged_by(waiting).wait == pytest.approx(12 * HOUR)


def test_a_gate_without_checks_is_not_ready() -> None:
    assert not Gate(1, "ramp_1", NOW, ()).ready
    assert Gate(1, "ramp_1", NOW, ()).reason == "nothing was checked"
