"""Which rollouts are judged, and what is remembered of each arming between cycles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from killswitch.controller.known_flags import KnownFlags
from killswitch.controller.tick_clock import TickClock
from killswitch.flags.flag import SHADOW, Flag
from killswitch.model import Rollout
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.baseline import Baseline, against
from killswitch.verdicts.decide import Decision, DecisionKind
from killswitch.verdicts.shadow_stage import in_shadow


@dataclass(slots=True)
class Arming:
    """One arming of one rollout. ``since``: the tick we first saw it at; ``last_good``: the newest with a verdict.

    ``identity``: the flag's generation and time of arming; ``armed_at``: the bound of all windows. ``armed``: what was
    judged in the last cycle; it stays the same object for as long as nothing in it changes.
    """

    identity: tuple[int, float]
    armed_at: float
    since: float
    last_good: float = 0.0  # never
    judged_until: float | None = None
    rollout: Rollout | None = None
    armed: ArmedRollout | None = None


class Armings:
    """The armings that this replica judges. ``interval`` between ticks, in seconds."""

    def __init__(self, known: KnownFlags, clock: TickClock, *, interval: float) -> None:
        self._known = known
        self._clock = clock
        self._interval = interval
        self._looked_at: dict[str, float] = {}
        self.by_rollout: dict[str, Arming] = {}

    def armed_rollouts(self, rollouts: Mapping[str, Rollout], tick: float, *, fresh: bool) -> list[ArmedRollout]:
        """Armed rollouts that have rules, each with the moment before which no window may reach.

        ``fresh``: whether flags could be read in this cycle.
        """
        found: list[ArmedRollout] = []
        looked_at = self._looked_at
        if fresh:
            self._looked_at = dict.fromkeys(rollouts, tick)
        for name, rollout in rollouts.items():
            flag = self._known.flag(name)
            if flag is None or not flag.armed:
                continue
            arming = self.by_rollout.get(name)
            identity = (flag.generation, flag.armed_at)
            if arming is None or arming.identity != identity:
                armed_at = self._armed_at(flag, tick, looked_at.get(name))
                arming = self.by_rollout[name] = Arming(identity, armed_at, since=tick)
            found.append(self._armed_rollout(rollout, flag, arming))
        watched = {armed.rollout.name for armed in found}
        self.by_rollout = {name: arming for name, arming in self.by_rollout.items() if name in watched}
        return found

    def step_back(self, tick: float) -> None:
        """The metric store's clock was ahead: what was remembered of later ticks is read again, as after a start."""
        self._looked_at = {name: at for name, at in self._looked_at.items() if at <= tick}
        self.by_rollout = {name: arming for name, arming in self.by_rollout.items() if arming.armed_at <= tick}
        for arming in self.by_rollout.values():
            arming.since, arming.last_good = min(arming.since, tick), min(arming.last_good, tick)
            arming.judged_until = None

    def judged_until(self, armed: ArmedRollout) -> float:
        """The newest tick this arming was judged at, else when it was armed."""
        return self.by_rollout[armed.rollout.name].judged_until or armed.armed_at

    def note_judged(self, all_armed: Sequence[ArmedRollout], tick: float) -> None:
        for armed in all_armed:
            self.by_rollout[armed.rollout.name].judged_until = tick

    def note_decisions(self, decisions: Mapping[str, Decision], tick: float) -> None:
        """Remember which rollouts had a usable verdict at ``tick``."""
        for name, decision in decisions.items():
            if decision.action is not DecisionKind.BLIND:
                self.by_rollout[name].last_good = tick

    def _armed_at(self, flag: Flag, tick: float, before: float | None) -> float:
        """The bound of all windows, whatever the clock of the person who armed it says.

        Ahead of the metric store's: when we first saw it, or it would not be watched until that time has come.
        Behind: not before ``before``, the tick at which we looked and it was not armed yet, or data that tripped
        the last generation could trip this one.
        """
        if flag.armed_at > self._clock.now() + self._interval:
            return tick
        return flag.armed_at if before is None else max(flag.armed_at, before)

    def _armed_rollout(self, rollout: Rollout, flag: Flag, arming: Arming) -> ArmedRollout:
        baseline = self._known.baseline(flag)
        armed = arming.armed
        unchanged = (
            armed is not None and arming.rollout is rollout and armed.flag == flag and armed.baseline is baseline
        )
        if armed is None or not unchanged:
            armed, arming.rollout = judged_as(rollout, flag, arming.armed_at, baseline), rollout
        arming.armed = armed
        return armed


def judged_as(rollout: Rollout, flag: Flag, armed_at: float, baseline: Baseline | None) -> ArmedRollout:
    """The armed rollout with its rules as they are judged in the flag's stage."""
    if flag.stage == SHADOW:
        shadow = in_shadow(rollout)
        return ArmedRollout(shadow.rollout, flag, armed_at, unjudged=shadow.unjudged)
    rules = rollout if baseline is None else against(rollout, baseline)
    return ArmedRollout(rules, flag, armed_at, baseline)
