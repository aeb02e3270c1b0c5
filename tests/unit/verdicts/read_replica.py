"""A replica that reads evidence as the controller does, in virtual time, and rollouts that are armed for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from killswitch.deadline import Deadline
from killswitch.flags.flag import Flag, arm, set_stage
from killswitch.flags.transitions import Actor
from killswitch.model import Cohort, Measurement, Rollout, Want
from killswitch.verdicts.accumulator import EvidenceAccumulator
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.catch_up import catch_up
from killswitch.verdicts.evidence_view import EvidenceView
from tests.doubles.clock import VirtualClock
from tests.doubles.scripted_source import HEALTHY_RATES, STEP, ScriptedSource, Traffic, rollout

START = 1_776_600_000.0
WOBBLY = Traffic(rate=lambda _r, rule, cohort, tick: HEALTHY_RATES.get(rule, 1.0) * (1.4 if tick % 600 < 200 else 0.9))


def flag_of(name: str = "copilot", percent: float = 5.0, at: float = START) -> Flag:
    return arm(
        None, rollout=name, control="model-old", canary="model-new", percent=percent, stage="ramp", now=at, by="ann"
    )


def staged(flag: Flag, percent: float, at: float) -> Flag:
    return set_stage(
        flag, rollout=flag.rollout, percent=percent, stage="next", now=at, by="ann", actor=Actor.PERSON
    )  # fmt: skip


def armed_rollout(name: str = "copilot", flag: Flag | None = None, **changes: object) -> ArmedRollout:
    flag = flag or flag_of(name)
    rules: Rollout = rollout(name, **changes)  # type: ignore[arg-type]  # fields of Rollout
    return ArmedRollout(rules, flag, flag.armed_at)


class Replica:
    """A accumulator that reads as the controller does, in virtual time."""

    def __init__(self, script: Callable[[Want, Cohort, float], Measurement], now: float = START) -> None:
        self.clock = VirtualClock(wall=now + 6.0)
        self.source = ScriptedSource(self.clock, script)
        self.accumulator = EvidenceAccumulator(step=STEP)

    def at(self, tick: float, *all_armed: ArmedRollout) -> None:
        self.clock.advance(tick + 6.0 - self.clock.wall())
        self.accumulator.keep([armed.rollout.name for armed in all_armed])
        catch_up(self.source, self.accumulator, all_armed, tick, Deadline(10.0, self.clock.monotonic))

    def through(self, ticks: Sequence[float], *all_armed: ArmedRollout) -> None:
        for tick in ticks:
            self.at(tick, *all_armed)

    def views(self, *all_armed: ArmedRollout) -> list[EvidenceView]:
        found = [self.accumulator.view_for(armed, rule) for armed in all_armed for rule in armed.rollout.rules]
        return [view for view in found if view is not None]


def ticks(count: int, after: float = START) -> list[float]:
    return [after + STEP * n for n in range(1, count + 1)]


def assert_same(left: Sequence[EvidenceView], right: Sequence[EvidenceView]) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-6, abs=1e-12)
        assert one.needed == other.needed
        assert one.since == other.since
        assert (one.updated_at, one.until, one.warming_up) == (other.updated_at, other.until, other.warming_up)
        for name in ("events_canary", "trials_canary", "events_control", "trials_control"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-6, abs=1e-6)
