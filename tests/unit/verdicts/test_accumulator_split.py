"""Traffic that does not follow the flag's split is noticed; earlier stages are tolerated."""

from __future__ import annotations

from dataclasses import replace

from killswitch.model import Cohort, Measurement, RatioSignal, Want
from tests.doubles.scripted_source import STEP, Traffic
from tests.unit.verdicts.read_replica import START, Replica, armed_rollout, flag_of, staged, ticks


def split(percent: float) -> dict[Cohort, float]:
    return {Cohort.CANARY: 15.0 * percent, Cohort.CONTROL: 15.0 * (100 - percent)}


class Ramp:
    """Traffic that follows its flag: so many percent from each moment on."""

    def __init__(self, *parts: tuple[float, float]) -> None:
        self.parts = [(at, Traffic(mean=split(percent))) for at, percent in parts]

    def __call__(self, want: Want, cohort: Cohort, tick: float) -> Measurement:
        current = [traffic for at, traffic in self.parts if tick - STEP >= at]
        return (current or [self.parts[0][1]])[-1](want, cohort, tick)


def test_traffic_that_ignores_the_flag_is_noticed() -> None:
    armed = armed_rollout(flag=flag_of(percent=25.0))
    replica = Replica(Traffic(mean=split(1.0)))
    replica.through(ticks(10), armed)
    assert replica.accumulator.split_is_wrong("copilot")


def test_traffic_that_follows_the_flag_is_trusted_in_every_stage() -> None:
    flag = flag_of(percent=1.0)
    replica = Replica(Ramp((START, 1.0), (START + 1800.0, 25.0)))
    replica.through(ticks(60), armed_rollout(flag=flag))
    assert not replica.accumulator.split_is_wrong("copilot")
    replica.through(ticks(60, START + 1800.0), armed_rollout(flag=staged(flag, 25.0, START + 1800.0)))
    assert not replica.accumulator.split_is_wrong("copilot")


def test_a_restart_tolerates_the_traffic_of_earlier_stages() -> None:
    flag = staged(flag_of(percent=1.0), 25.0, START + 1800.0)
    replica = Replica(Ramp((START, 1.0), (START + 1800.0, 25.0)), START + 120 * STEP)
    replica.at(START + 121 * STEP, armed_rollout(flag=flag))
    assert not replica.accumulator.split_is_wrong("copilot")


def test_users_who_are_left_out_are_no_missing_traffic() -> None:
    """A rule that counts users leaves out those who failed, so in a bad canary hardly anyone is left."""
    armed = armed_rollout(flag=flag_of(percent=25.0))
    rules = tuple(
        replace(rule, signal=replace(rule.signal, per="end_user"))
        if rule.name == "error_rate" and isinstance(rule.signal, RatioSignal)
        else rule
        for rule in armed.rollout.rules
    )
    requests, users = Traffic(mean=split(25.0)), Traffic(mean=split(1.0))

    def measured(want: Want, cohort: Cohort, tick: float) -> Measurement:
        by_user = isinstance(want.signal, RatioSignal) and want.signal.per
        return (users if by_user else requests)(want, cohort, tick)

    replica = Replica(measured)
    replica.through(ticks(10), replace(armed, rollout=replace(armed.rollout, rules=rules)))
    assert not replica.accumulator.split_is_wrong("copilot")
