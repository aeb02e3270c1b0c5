"""The timeline and the forecast: stages with dates, and what a plan would see before it starts."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from killswitch.model import Verdict
from killswitch.ramps.forecast import ExpectedTraffic, forecast
from killswitch.ramps.gate import gate
from killswitch.ramps.gate_inputs import GateInputs, Judged, RuleNow
from killswitch.ramps.next_step import next_step
from killswitch.ramps.progress import StageProgress
from killswitch.ramps.timeline import StageStanding, Timeline, timeline
from tests.unit.ramps.ramped import DAY, HOUR, NOW, PLAN, flag_in, inputs_of, plan_of, progress_of, rollout_of, stepped


def shown(inputs: GateInputs) -> Timeline:
    plan = plan_of(inputs.rollout)
    progress = inputs.progress if isinstance(inputs.progress, StageProgress) else None
    found = gate(plan, inputs)
    step = next_step(plan, inputs.flag, progress, found, now=inputs.now, tick=inputs.now)
    return timeline(plan, inputs.flag, progress, found, step, now=inputs.now)


def test_a_stage_ends_no_sooner_than_its_known_waits() -> None:
    """A rule was known for half of the day: 9 more days, though no one can say when a breach ends."""
    inputs = inputs_of("ramp_1", seconds=7 * DAY)
    assert isinstance(inputs.progress, StageProgress)
    assert isinstance(inputs.judged, Judged)
    half = replace(inputs.progress.rules["latency_p95"], known=3.5 * DAY)
    progress = replace(inputs.progress, rules={**inputs.progress.rules, "latency_p95": half})
    judged = replace(inputs.judged, rules={**inputs.judged.rules, "error_rate": RuleNow(Verdict.BREACH)})
    found = shown(replace(inputs, progress=progress, judged=judged))
    now = next(row for row in found.rows if row.standing is StageStanding.NOW)
    assert now.ends == pytest.approx(inputs.now + (0.95 * 7 - 3.5) / 0.05 * DAY)


def test_stages_are_done_skipped_now_and_to_come() -> None:
    flag = stepped(stepped(flag_in("shadow"), "ramp_1", 1.0, NOW + 2 * DAY), "ramp_5", 5.0, NOW + 3 * DAY)
    rollout = rollout_of()
    now = NOW + 3.5 * DAY
    found = shown(
        inputs_of("ramp_5", flag=flag, progress=progress_of(flag, rollout, DAY / 2), seconds=3.5 * DAY)
    )  # fmt: skip
    assert [(row.stage.stage, row.standing) for row in found.rows] == [
        ("shadow", StageStanding.DONE), ("aa", StageStanding.SKIPPED),
        ("ramp_1", StageStanding.DONE), ("ramp_5", StageStanding.NOW),
        ("ramp_25", StageStanding.TO_COME), ("full", StageStanding.TO_COME),
    ]  # fmt: skip
    spans = [(row.begins, row.ends) for row in found.rows]
    assert spans[:2] == [(NOW, NOW + 2 * DAY), (None, None)]
    assert spans[3:5] == [(NOW + 3 * DAY, now + DAY / 2), (now + DAY / 2, now + 1.5 * DAY)]
    assert found.why == "watched: judged for 12h of 1d; 12h are missing, in about 12h at today's traffic"
    json.dumps(found.document(), allow_nan=False)


def test_a_weekend_that_is_closed_moves_every_later_date() -> None:
    closed = PLAN + '  not_during: ["* * * * sat,sun"]\n'
    found = shown(inputs_of("ramp_25", text=closed, seconds=6 * DAY))
    monday = 1_777_248_000.0
    assert [(row.begins, row.ends) for row in found.rows[-2:]] == [(NOW, monday), (monday, monday + 7 * DAY)]
    later = shown(inputs_of("ramp_5", text=closed, seconds=5 * DAY))  # a Friday, so ramp_25 would end on Saturday
    assert [row.begins for row in later.rows[-2:]] == [NOW + 5 * DAY, monday]


def test_out_of_the_plan_it_says_why_and_promises_no_date() -> None:
    found = shown(inputs_of("custom", flag=flag_in("custom", 3.0)))
    assert {row.standing for row in found.rows} == {StageStanding.TO_COME}
    assert "custom with 3% is not in the plan" in found.why


def at(rate: float) -> ExpectedTraffic:
    return ExpectedTraffic(rate, rate)


def test_a_forecast_says_how_long_each_stage_takes_and_whom_it_exposes() -> None:
    rollout = rollout_of()
    found = forecast(rollout, plan_of(rollout), at(50.0), starts=NOW, users=40_000)
    assert [one.takes / HOUR for one in found] == [48, 6, 24, 24, 24, 168]
    assert [one.requests for one in found] == pytest.approx(
        [0, 0, 0.5 * DAY, 2.5 * DAY, 12.5 * DAY, 49.5 * 7 * DAY]
    )  # fmt: skip
    assert [one.users for one in found] == pytest.approx([0, 0, 400, 2_000, 10_000, 39_600])
    assert found[-1].ends == NOW + 12.25 * DAY
    assert dict(found[3].sees)["error_rate"] == 1.1


def test_a_stage_without_enough_requests_in_a_window_never_ends() -> None:
    """1 % of 5 requests/s are 15 in five minutes, of the 100 that make a tick count."""
    found = forecast(rollout_of(), plan_of(rollout_of()), at(5.0), starts=NOW)
    ramp_1 = found[2]
    assert (ramp_1.judged, ramp_1.takes, ramp_1.ends) == (0.0, math.inf, None)
    assert ramp_1.document()["takes_seconds"] is None
    longer = rollout_of("window: 1h\n" + PLAN)
    assert forecast(longer, plan_of(longer), at(5.0), starts=NOW)[2].takes == DAY


def test_time_that_is_not_judged_makes_a_stage_longer() -> None:
    """1 % of 33 requests/s are 99 in five minutes: about half of the windows have 100."""
    found = forecast(rollout_of(), plan_of(rollout_of()), at(33.0), starts=NOW)
    assert found[2].judged == pytest.approx(0.47, abs=0.02)
    assert found[2].takes == pytest.approx(DAY / found[2].judged)


def test_little_traffic_takes_longer_than_for_and_says_what_it_cannot_see() -> None:
    rollout = rollout_of("window: 1d\n" + PLAN)
    found = forecast(rollout, plan_of(rollout), at(0.2), starts=NOW)
    ramp_1, ramp_5 = found[2], found[3]
    assert dict(ramp_1.sees)["error_rate"] == 10.0
    assert (ramp_1.takes, ramp_1.users) == (DAY, None)
    (detection,) = ramp_5.detections
    assert str(detection.regression) == "2x"
    assert ramp_5.takes == detection.seconds > 2 * DAY
    assert ramp_5.ends is not None
    assert found[4].begins == ramp_5.ends


def test_what_no_traffic_shows_never_ends() -> None:
    """A regression of a ten thousandth at one request an hour takes longer than there are dates."""
    text = "window: 1d\nmin_requests: 1\n" + PLAN.replace("{error_rate: 2x}", "{error_rate: 1.0001x}")
    rollout = rollout_of(text)
    found = forecast(rollout, plan_of(rollout), at(1 / 3600), starts=NOW)
    assert found[3].takes > 1e6 * DAY
    document = json.loads(json.dumps([one.document() for one in found], allow_nan=False))
    assert document[3]["ends"] is None
    assert math.isfinite(found[3].requests)
