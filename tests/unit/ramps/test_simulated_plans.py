"""Plans on simulated traffic, tick by tick: who goes past 25 %. The whole table is `python -m bench.plans`."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from bench.plan_traffic import RATES, Badness, Traffic, newest, nothing, numbers, windows
from bench.plans import CANARIES, Group, Part, Run, Service, Watch
from bench.scenarios import LATENCY, STEP
from killswitch.model import Counts, Verdict
from killswitch.ramps.progress import RuleTick, observed
from killswitch.verdicts import evidence as ev
from tests.unit.ramps.ramped import NOW, flag_in

pytestmark = pytest.mark.simulation
HEALTHY, AT_THE_LIMIT, HALF_OVER, TWICE_OVER = CANARIES
SLOW = Service(0.5, "1h", 10)


def outcomes(service: Service, badness: Badness, plans: int) -> Counter[str]:
    return Counter(one.how for one in Part(service, badness, 0, plans).outcomes())


@pytest.mark.parametrize("badness", [HALF_OVER, TWICE_OVER], ids=lambda one: one.name)
def test_no_canary_over_a_limit_goes_past_25_percent(badness: Badness) -> None:
    """At half a request a second, where evidence alone takes days; each rule is over in a quarter of the plans."""
    found = outcomes(SLOW, badness, 8)
    assert found["advanced"] == 0
    assert found["tripped"] > 0


def test_a_healthy_canary_goes_past_25_percent_on_time() -> None:
    found = Part(Service(50.0), HEALTHY, 0, 4).outcomes()
    assert [one.how for one in found] == ["advanced"] * 4
    assert max(one.late for one in found) < 3600.0


def test_a_stage_without_enough_requests_in_its_windows_is_held() -> None:
    """The default window of five minutes has 1.5 requests of a canary of 1 % at half a request a second."""
    found = Part(Service(0.5), HEALTHY, 0, 2).outcomes()
    assert {(one.how, one.stage) for one in found} == {("held", "ramp_1")}


def test_windows_of_many_plans_say_what_the_judge_says() -> None:
    rollout = Service(0.5, "1h", 90).rollout()
    traffic = Traffic(0.5, AT_THE_LIMIT, np.random.default_rng(5))
    plans = numbers(20)
    armed = nothing(len(plans))
    verdicts: Counter[Verdict] = Counter()
    for _ in range(25):
        steps = traffic.draw(20, 5.0, plans)
        seen = windows(rollout, armed, steps)
        armed = newest(armed.then(steps))
        run = Run(rollout, rollout.plan, traffic)  # type: ignore[arg-type]
        group = Group(plans, [], ev.start([]), armed, armed, np.zeros(len(plans)))
        for plan in plans.tolist():
            judged = run._verdicts(group, plan, [1.0] * 4, NOW)  # what the gate is asked with
            for number, rule in enumerate(rollout.rules):
                expected = Verdict.SUSPECT if seen.over[-1, plan, number] else Verdict.HEALTHY
                expected = expected if seen.known[-1, plan] else Verdict.UNKNOWN
                assert judged[rule.name].verdict is expected
                verdicts[expected] += 1
    assert min(verdicts.values()) > 20
    assert len(verdicts) == 3


def test_sums_over_blocks_are_the_progress_of_a_stage() -> None:
    """What `Watch` sums of a block of ticks is what `observed` sums of each."""
    rollout = Service(0.5, "5m", 3).rollout()
    traffic = Traffic(0.5, AT_THE_LIMIT, np.random.default_rng(7))
    plans = numbers(1)
    flag = flag_in("ramp_5")
    watch, armed = Watch.of(1, 4), nothing(1)
    progress = None
    for block in range(4):
        steps = traffic.draw(30, 5.0, plans)
        seen = windows(rollout, armed, steps)
        watch.add(steps, seen, np.full((1, 4), 1.5))
        armed = newest(armed.then(steps))
        for at in range(30):
            ticks = {}
            for number, rule in enumerate(rollout.rules):
                canary, control = (
                    Counts(
                        0.0 if number == LATENCY else float(steps.events[number][cohort][at, 0]),
                        float(steps.trials[cohort][at, 0]),
                    )
                    for cohort in (0, 1)
                )
                over = Verdict.SUSPECT if seen.over[at, 0, number] else Verdict.HEALTHY
                ticks[rule.name] = RuleTick(over if seen.known[at, 0] else Verdict.UNKNOWN, canary, control, 1.5)
            progress = observed(progress, flag, NOW + (30 * block + at + 1) * STEP, STEP, ticks)
    assert progress is not None
    found = watch.progress(0, flag, rollout.rules, progress.tick)
    assert 0 < found.watched < 120 * STEP
    assert set(RATES) < set(range(4))
    assert replace(found, began_at=progress.began_at) == progress
