"""One rollout on its way through history: what the replays by evidence and by bare comparison share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from killswitch.flags import flag as flags
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import Actor
from killswitch.model import (
    Buckets,
    Counts,
    Finding,
    Measurement,
    Reading,
    Readings,
    Reason,
    Rollout,
    Scalar,
    Unreadable,
    Want,
)
from killswitch.preflight.backtest.ramp_detection import Stage
from killswitch.preflight.backtest.results import ReplayedTrip, RolloutHistory, RuleHistory, Terms
from killswitch.sources import Source
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.catch_up import first_step
from killswitch.verdicts.decide import Decision, DecisionKind, decide
from killswitch.verdicts.evaluator import WINDOW, Evaluator
from killswitch.verdicts.evidence_entry import PAST, STEP

_LARGEST_PERCENT = flags.STAGES["full"]
_BY = "back-test"


class Replay:
    """One rollout on its way through history: waiting for data, armed, tripped, re-armed."""

    spacing: float

    def __init__(self, rollout: Rollout, source: Source, terms: Terms) -> None:
        self.rollout = rollout
        self.source = source
        self.terms = terms
        self.armed: ArmedRollout | None = None
        self.first_armed: float | None = None
        self.percent = terms.percent
        self.stages: list[Stage] = []
        self.ticks = 0
        self.trips: list[ReplayedTrip] = []
        self.rules = {rule.name: RuleHistory(rule.name) for rule in rollout.rules}
        self.done = False
        self._flag: Flag | None = None
        self._arm_at = terms.armed_at
        self._why_not: dict[str, Unreadable] = {}
        self.evaluator = Evaluator(interval=terms.interval, step=terms.step)
        self.wants: Sequence[Want] = ()

    def take(self, ticks: Sequence[float], readings: Mapping[float, Readings]) -> None:
        """One more block of history."""
        position = 0
        while position < len(ticks) and not self.done:
            if self.armed is None:
                position = self._arm(ticks, position, readings)
            else:
                position = self._run(self.armed, ticks, position, readings)
        self._remember(ticks, readings)

    def history(self) -> RolloutHistory:
        problem = None
        if self.first_armed is None:
            problem = "it never had requests in both cohorts" if self._why_not else "it was armed after the last tick"
            if any(why.detail.startswith("control: no requests") for why in self._why_not.values()):
                problem += "; at 100% the daemon compares with a stored baseline, which a back-test does not replay"
        rules = tuple(self.rules.values())
        return RolloutHistory(
            self.rollout,
            self.first_armed,
            self.percent,
            self.ticks,
            tuple(self.trips),
            rules,
            problem,
            self.terms.percent is not None and self.evaluator.accumulator.split_is_wrong(self.rollout.name),
            tuple(self.stages),
            ()
            if problem is None
            else tuple(f"{rule}: {why.reason}: {why.detail}" for rule, why in self._why_not.items()),
        )

    def _run(
        self, armed: ArmedRollout, ticks: Sequence[float], position: int, readings: Mapping[float, Readings]
    ) -> int:
        """Judge from ``ticks[position]`` on; the position after the last tick that was judged."""
        raise NotImplementedError

    def _opened(self, armed: ArmedRollout, ticks: Sequence[float], readings: Mapping[float, Readings]) -> None:
        """Called when a generation begins. An hour of control's past is in ``readings`` or was remembered."""

    def _remember(self, ticks: Sequence[float], readings: Mapping[float, Readings]) -> None:
        """Called after each block."""

    def _arm(self, ticks: Sequence[float], position: int, readings: Mapping[float, Readings]) -> int:
        """Where the next generation begins; past the end when that is not in this block."""
        if self._arm_at is None:
            while position < len(ticks) and not self._has_data(readings[ticks[position]], ticks[position]):
                position += 1
            if position == len(ticks):
                return position
            self._arm_at = ticks[position] - self.spacing
        begins = first_step(self._arm_at, self.spacing)
        if begins > ticks[-1]:
            return len(ticks)
        stages: Sequence[Stage] = [Stage(self._arm_at, self.terms.percent or 0.0)]
        if self.terms.percent is None:
            stages = self._ramp(begins, [tick for tick in ticks if tick > begins], readings)
        self.percent = stages[0].percent
        if self._flag is None:
            self.armed = armed_rollout(self.rollout, self._arm_at, self.percent)
        else:
            flag = flags.rearm(
                self._flag,
                rollout=self.rollout.name,
                reason=_BY,
                now=self._arm_at,
                by=_BY,
                percent=self.percent,
                stage=self._flag.trip.stage_before if self._flag.trip else "custom",
            )
            self.armed = ArmedRollout(self.rollout, flag, self._arm_at)
        self._flag = self.armed.flag
        self.stages += [Stage(self._arm_at, self.percent)]
        self._go_on(stages[1:])
        self.first_armed = self._arm_at if self.first_armed is None else self.first_armed
        self._opened(self.armed, ticks, readings)
        return int(np.searchsorted(np.array(ticks), begins + self.spacing / 2))

    def _ramp(self, begins: float, ticks: Sequence[float], readings: Mapping[float, Readings]) -> Sequence[Stage]:
        """The stages of these ticks, at least one, as the flag might have had them."""
        return [Stage(begins, _measured_percent(readings, ticks))]

    def _go_on(self, stages: Sequence[Stage]) -> None:
        """Add later stages of the ramp to the armed flag."""
        for stage in stages:
            assert self.armed is not None
            staged = flags.set_stage(
                self.armed.flag,
                rollout=self.rollout.name,
                percent=stage.percent,
                stage=flags.resolve_stage(None, stage.percent)[0],
                now=stage.at,
                by=_BY,
                actor=Actor.PERSON,
            )
            self.armed = replace(self.armed, flag=staged)
            self._flag = staged
        self.stages += stages

    def _has_data(self, readings: Readings, tick: float) -> bool:
        """Whether some rule has requests in both cohorts. If not, the reasons are kept in ``_why_not``."""
        for want in self.wants:
            if want.part == PAST:
                continue
            reading = readings[want.key]
            problem = problem_of(reading) or no_requests(reading)
            if problem is not None:
                if want.part in (STEP, WINDOW):
                    self._why_not[want.rule] = problem
            elif tick > self.terms.since:
                return True
        return False

    def _decided(self, armed: ArmedRollout, tick: float, findings: tuple[Finding, ...]) -> bool:
        """Whether the switch acts at this tick; then the generation is over."""
        decision = decide(findings, armed.flag, armed.rollout)
        if decision.action not in (DecisionKind.TRIP, DecisionKind.WOULD_TRIP):
            return False
        self._tripped(armed, tick, decision, findings)
        return True

    def _tripped(self, armed: ArmedRollout, tick: float, decision: Decision, findings: tuple[Finding, ...]) -> None:
        rules = tuple(finding.rule for finding in decision.tripping)
        name, flag = armed.rollout.name, armed.flag
        self.trips.append(ReplayedTrip(name, rules[0], rules, tick, decision.sentence, flag.generation, findings))
        self.armed = None
        if self.terms.rearm_after is None:
            self.done = True
            return
        self._arm_at = tick + self.terms.rearm_after
        self._flag = flags.trip(
            flag,
            rollout=name,
            reason=decision.sentence,
            rules=rules,
            incident=f"{name}/{flag.generation}",
            now=tick,
            by=_BY,
            actor=Actor.CONTROLLER,
        )


def armed_rollout(rollout: Rollout, armed_at: float, percent: float) -> ArmedRollout:
    """The rollout with the flag that it might have had, in its first generation."""
    flag = flags.arm(
        None,
        rollout=rollout.name,
        control=rollout.control,
        canary=rollout.canary,
        percent=percent,
        stage=flags.resolve_stage(None, percent)[0],
        now=armed_at,
        by=_BY,
    )
    return ArmedRollout(rollout, flag, armed_at)


def problem_of(reading: Reading) -> Unreadable | None:
    for cohort, side in (("canary", reading.canary), ("control", reading.control)):
        if isinstance(side, Unreadable):
            return Unreadable(side.reason, f"{cohort}: {side.detail}")
    return None


def no_requests(reading: Reading) -> Unreadable | None:
    for cohort, side in (("canary", reading.canary), ("control", reading.control)):
        if not trials_of(side) > 0:
            return Unreadable(Reason.NO_DATA, f"{cohort}: no requests")
    return None


def trials_of(measurement: Measurement) -> float:
    match measurement:
        case Counts(_, trials):
            return trials
        case Buckets(_, counts) if counts:
            return counts[-1]
        case Scalar():
            return 1.0
        case _:
            return 0.0


def _measured_percent(readings: Mapping[float, Readings], ticks: Sequence[float]) -> float:
    """The canary's share of the requests of a block, to three digits; as the flag might have said."""
    canary = control = 0.0
    for tick in ticks:
        for reading in readings[tick].values():
            if isinstance(reading.canary, Counts) and isinstance(reading.control, Counts):
                canary, control = canary + reading.canary.trials, control + reading.control.trials
    return flag_percent(100.0 * canary / (canary + control) if canary + control else 1.0)


def flag_percent(share: float) -> float:
    """A percent as a flag may hold it, to three digits."""
    return min(max(float(f"{share:.3g}"), 0.001), _LARGEST_PERCENT)
