"""A rollout that the bare comparison decides, looked at tick by tick."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from killswitch.model import Finding, Readings, Reason, Rollout, Verdict
from killswitch.preflight.backtest.reading import read
from killswitch.preflight.backtest.replay import Replay, armed_rollout
from killswitch.preflight.backtest.results import Terms
from killswitch.sources import Source
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.evaluator import WINDOW


class ThresholdReplay(Replay):
    """Replays a rollout with `decide: threshold`; its ticks are the daemon's."""

    def __init__(self, rollout: Rollout, source: Source, terms: Terms) -> None:
        super().__init__(rollout, source, terms)
        self.spacing = terms.interval
        # whole windows; the shorter ones just after an arming are read when needed
        self.wants = self.evaluator.wants([armed_rollout(rollout, terms.since - 2 * rollout.window, 1.0)], terms.since)
        self._counted_until = -math.inf

    def judged(
        self, armed: ArmedRollout, ticks: Sequence[float], readings: Mapping[float, Readings]
    ) -> Iterator[tuple[float, tuple[Finding, ...]]]:
        for tick in ticks:
            at = readings[tick]
            if tick < armed.armed_at + armed.rollout.window:
                wants = self.evaluator.wants([armed], tick)
                at = read(self.source, wants, [tick], self.terms)[tick] if wants else {}
            yield tick, self.evaluator.judge([armed], tick, at)[armed.rollout.name]

    def _run(
        self, armed: ArmedRollout, ticks: Sequence[float], position: int, readings: Mapping[float, Readings]
    ) -> int:
        for offset, (tick, findings) in enumerate(self.judged(armed, ticks[position:], readings)):
            self.ticks += 1
            self._count(tick, readings)
            for finding in findings:
                if finding.verdict is Verdict.UNKNOWN:
                    self.rules[finding.rule].missed(finding.reason or Reason.INTERNAL_ERROR, finding.sentence)
                else:
                    self.rules[finding.rule].ticks += 1
                    self.rules[finding.rule].suspect += finding.verdict is Verdict.SUSPECT
            if self._decided(armed, tick, findings):
                return position + offset + 1
        return len(ticks)

    def _count(self, tick: float, readings: Mapping[float, Readings]) -> None:
        """Windows overlap, so a window is counted only if it shares nothing with the last counted one."""
        if tick < self._counted_until + self.rollout.window:
            return
        self._counted_until = tick
        for rule in self.rollout.rules:
            found = readings[tick].get((self.rollout.name, rule.name, WINDOW))
            if found is not None:
                self.rules[rule.name].count(found)
