"""The verdict of a drill: the real evidence engine on made-up readings, in a generation of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from killswitch.deadline import Deadline
from killswitch.drill.synthetic import SyntheticSource
from killswitch.flags.flag import AA, SHADOW, STAGES, Flag, StageEntry
from killswitch.model import Finding, Rollout, Rule
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.catch_up import catch_up
from killswitch.verdicts.decide import DecisionKind, decide
from killswitch.verdicts.evaluator import Evaluator

HEALTHY_FOR: Final = 4  # windows of a healthy canary before it breaks
PATIENCE: Final = 240  # ticks until the breach must be proven
_WITHIN = 20.0  # seconds that the whole rehearsal of verdicts may take
_ACTS = frozenset({DecisionKind.TRIP, DecisionKind.WOULD_TRIP})


@dataclass(frozen=True, slots=True)
class Proven:
    """A verdict that trips. ``proven_after``: seconds of readings from the canary's first bad request to it.

    ``judged_in``: seconds that the tick took that proved it, all rules together.
    """

    rule: str
    sentence: str
    findings: tuple[Finding, ...]
    rules: tuple[str, ...]
    proven_after: float
    judged_in: float


def rehearsed(flag: Flag) -> Flag:
    """The flag as the drill judges it: its own generation, in a stage in which both cohorts have users."""
    stage, percent = flag.stage, flag.canary_percent
    if stage in (SHADOW, AA) or not 0.0 < percent <= STAGES["full"]:
        stage, percent = "ramp_5", STAGES["ramp_5"]
    return replace(
        flag,
        generation=flag.generation + 1,
        stage=stage,
        canary_percent=percent,
        canary=flag.rollout_canary,
        canary_after_aa=None,
        shadow_percent=0.0,
        shadow_classes={},
    )


class VerdictRehearsal:
    """Feeds an `Evaluator` of its own until it trips. ``interval`` and ``step`` in seconds, as the daemon has them.

    ``now``: Unix seconds; ``monotonic`` gives seconds.
    """

    def __init__(
        self,
        rollout: Rollout,
        flag: Flag,
        *,
        interval: float,
        step: float,
        now: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._monotonic = monotonic
        self._rollout = rollout
        self._interval = interval
        self._step = step
        healthy = HEALTHY_FOR * max(rollout.window, step, interval)
        self._began = math.floor(now / interval) * interval - healthy
        self._breaks_at = self._began + math.ceil(healthy / interval) * interval
        flag = rehearsed(flag)
        self._flag = replace(
            flag, armed_at=self._began, stages=(StageEntry(flag.stage, flag.canary_percent, self._began),)
        )

    def prove(self) -> Proven | str:
        """The first rule's breach that trips, or why none does, in words."""
        deadline = Deadline(_WITHIN, self._monotonic)
        for rule in self._rollout.rules:
            found = self._prove(rule, deadline)
            if found is not None:
                return found
            if deadline.expired:
                return "the rules could not be judged on made-up readings in time; this replica is busy"
        names = ", ".join(rule.name for rule in self._rollout.rules[:5])
        return f"a canary far over its limits did not trip by any rule ({names}); run `killswitch test` and `doctor`"

    def _prove(self, broken: Rule, deadline: Deadline) -> Proven | None:
        source = SyntheticSource(
            self._rollout.rules, broken, percent=self._flag.canary_percent, breaks_at=self._breaks_at
        )
        evaluator = Evaluator(interval=self._interval, step=self._step)
        armed = ArmedRollout(self._rollout, self._flag, self._began)
        for number in range(1, round((self._breaks_at - self._began) / self._interval) + PATIENCE):
            tick = self._began + number * self._interval
            began = self._monotonic()
            catch_up(source, evaluator.accumulator, [armed], tick, deadline)
            wants = evaluator.wants([armed], tick)
            readings = source.read(wants, tick, deadline) if wants else {}
            findings = evaluator.judge([armed], tick, readings)[self._rollout.name]
            decision = decide(findings, self._flag, self._rollout)
            if decision.action in _ACTS:
                rules = tuple(finding.rule for finding in decision.tripping)
                sentence = "; ".join(finding.sentence for finding in decision.tripping)
                return Proven(
                    broken.name, sentence, findings, rules, max(tick - self._breaks_at, 0.0), self._monotonic() - began
                )
            if deadline.expired:
                return None
        return None
