"""What a fresh rollout knows of its control model before the first canary request."""

from __future__ import annotations

from killswitch.deadline import Deadline
from killswitch.flags.flag import arm
from killswitch.verdicts.accumulator import EvidenceAccumulator
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.catch_up import catch_up
from tests.doubles.clock import VirtualClock
from tests.doubles.scripted_source import ERRORS, LATENCY, STEP, ScriptedSource, Traffic, rollout

START = 1_776_600_000.0
# control's quantile is known after 2,000 requests, two ticks into the hour that is read back
SOON = START + 5 * STEP


def test_controls_past_warms_up_every_rule_without_a_canary() -> None:
    """The first canary of a model: its metric store has weeks of control, and nothing of the canary."""
    flag = arm(None, rollout="r", control="old", canary="new", percent=5.0, stage="ramp", now=START, by="ann")
    armed = ArmedRollout(rollout("r", rules=(ERRORS, LATENCY)), flag, START)
    clock = VirtualClock(wall=SOON + 6.0)
    accumulator = EvidenceAccumulator(step=STEP)
    source = ScriptedSource(clock, Traffic(since=START))
    catch_up(source, accumulator, [armed], SOON, Deadline(10.0, clock.monotonic))
    for rule in (ERRORS, LATENCY):
        view = accumulator.view("r", rule.name)
        assert view is not None
        assert view.updated_at == SOON
        assert not view.warming_up, rule.name
