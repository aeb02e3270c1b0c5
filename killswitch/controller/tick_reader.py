"""Reads what one tick needs from the metric source, and what missed ticks still need; then has it judged."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

from killswitch.controller.armings import Armings
from killswitch.deadline import Deadline
from killswitch.model import Finding, Readings, Reason, Unreadable, Want
from killswitch.sources import Source
from killswitch.status.self_metrics import SelfMetrics
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.catch_up import catch_up, last_step, note_falls
from killswitch.verdicts.evaluator import Evaluator, answer_all

log = logging.getLogger(__name__)
Findings = Mapping[str, tuple[Finding, ...]]  # by rollout, one a rule


class TickReader:
    """Asks ``source`` what ``evaluator`` wants, and lets it judge. ``interval`` between ticks, in seconds.

    A bug of a source adapter becomes UNKNOWN: it must not stop the loop, and must not look like health.
    """

    def __init__(
        self, source: Source, evaluator: Evaluator, armings: Armings, *, interval: float, metrics: SelfMetrics
    ) -> None:
        self._source = source
        self._evaluator = evaluator
        self._armings = armings
        self._interval = interval
        self._metrics = metrics

    def read_and_judge(
        self, all_armed: Sequence[ArmedRollout], tick: float, deadline: Deadline, source_problem: str | None
    ) -> Findings:
        """The findings of ``tick``. ``source_problem``: why the source cannot be read at all, or None."""
        evaluator = self._evaluator
        if source_problem is not None:
            problem = Unreadable(Reason.SOURCE_DOWN, source_problem)
            evaluator.cannot_read(all_armed, problem)
            return evaluator.judge(all_armed, tick, answer_all(evaluator.wants(all_armed, tick), problem))
        self._catch_up(all_armed, tick, deadline)
        for earlier, some in self._earlier_ticks(all_armed, tick):
            evaluator.judge(some, earlier, self._read(evaluator.wants(some, earlier), earlier, deadline))
        findings = evaluator.judge(all_armed, tick, self._read(evaluator.wants(all_armed, tick), tick, deadline))
        self._armings.note_judged(all_armed, tick)
        return findings

    def _catch_up(self, all_armed: Sequence[ArmedRollout], tick: float, deadline: Deadline) -> None:
        evidence = self._evaluator.accumulator
        try:
            catch_up(self._source, evidence, all_armed, tick, deadline, self._fell)
        except Exception as error:
            log.exception("gathering evidence: unexpected error")
            newest = last_step(tick, evidence.step)
            behind = [armed for armed in all_armed if evidence.until(armed.rollout.name) != newest]
            self._evaluator.cannot_read(behind, _bug_of_the_adapter(error))

    def _fell(self, rollout: str, rule: str) -> None:
        self._metrics.counter_falls.labels(rollout, rule).inc()

    def _read(self, wants: Sequence[Want], tick: float, deadline: Deadline) -> Readings:
        if not wants:
            return {}
        try:
            readings = self._source.read(wants, tick, deadline)
        except Exception as error:
            log.exception("reading the metric source: unexpected error")
            return answer_all(wants, _bug_of_the_adapter(error))
        note_falls([readings], self._fell)
        return readings

    def _earlier_ticks(
        self, all_armed: Sequence[ArmedRollout], tick: float
    ) -> Iterable[tuple[float, list[ArmedRollout]]]:
        """Ticks that were missed, or lie before our start, and that some rule's streak needs."""
        lookback = self._evaluator.lookback
        for back in range(max((lookback(armed) for armed in all_armed), default=0), 0, -1):
            earlier = tick - back * self._interval
            some = [
                armed for armed in all_armed if back <= lookback(armed) and earlier > self._armings.judged_until(armed)
            ]
            if some:
                yield earlier, some


def _bug_of_the_adapter(error: Exception) -> Unreadable:
    return Unreadable(Reason.INTERNAL_ERROR, f"a bug of the source adapter: {error!r}")
