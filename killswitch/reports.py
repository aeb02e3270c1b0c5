"""What a cycle has to say: one sentence a rollout, which is the log line, the status line, and what tests compare."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from killswitch.flag import Flag, State
from killswitch.judge import Action, Decision
from killswitch.model import Finding, Rollout
from killswitch.self_metrics import SelfMetrics

log = logging.getLogger(__name__)
_LOUD = frozenset({Action.TRIP.value, Action.WOULD_TRIP.value, Action.BLIND.value})


@dataclass(frozen=True, slots=True)
class RolloutReport:
    """What one cycle has to say about one rollout. ``last_good`` is the newest tick with a usable verdict.

    ``window``: seconds that the findings' values span, None where nothing was judged.
    ``unreadable``: what is wrong with a flag document that cannot be understood.
    """

    rollout: str
    sentence: str
    action: str = "none"
    flag: Flag | None = None
    rules: Rollout | None = None
    findings: tuple[Finding, ...] = ()
    last_good: float = 0.0
    window: float | None = None
    unreadable: str | None = None

    @property
    def unwatched(self) -> bool:
        """Armed, and no rule file has it."""
        return self.rules is None and self.flag is not None and self.flag.armed


@dataclass(frozen=True, slots=True)
class CycleReport:
    """``tick`` on the metric store's clock; ``finished`` on the monotonic clock; problems in words or None."""

    tick: float
    finished: float
    seconds: float
    reports: Mapping[str, RolloutReport]
    store_problem: str | None = None
    source_problem: str | None = None


def judged(
    flag: Flag, rules: Rollout, decision: Decision, findings: tuple[Finding, ...], *, last_good: float, window: float
) -> RolloutReport:
    """The report of a rollout that was judged."""
    loud = f"TRIP: {decision.sentence}" if decision.action is Action.TRIP else decision.sentence
    sentence = f"{_flag_words(flag)}: {loud}"
    return RolloutReport(flag.rollout, sentence, decision.action.value, flag, rules, findings, last_good, window)


def idle(name: str, flag: Flag | None, rules: Rollout | None, unreadable: str | None = None) -> RolloutReport:
    """The report of a rollout that there is nothing to judge about. ``unreadable``: what is wrong with its flag."""
    if unreadable is not None:
        advice = f"routers send everything to control; remove it with `killswitch end {name}`"
        sentence = f"[flag unreadable]: {unreadable}; {advice}"
    elif flag is None:
        sentence = f"[no flag]: routers send everything to control; arm it with `killswitch arm {name}`"
    elif flag.state is State.TRIPPED and flag.trip is not None:
        sentence = f"{_flag_words(flag)}: tripped by {flag.trip.by}: {flag.trip.reason}"
    elif rules is None:
        advice = f"no rule file has this rollout; add one or `killswitch end {name}`"
        sentence = f"{_flag_words(flag)}: NOBODY WATCHES IT: {advice}"
    else:
        sentence = f"{_flag_words(flag)}: not judged yet"
    return RolloutReport(name, sentence, flag=flag, rules=rules, unreadable=unreadable)


def publish(report: CycleReport, previous: CycleReport | None, metrics: SelfMetrics) -> None:
    """Log every sentence and set the gauges; rollouts that are gone lose theirs."""
    metrics.cycle_seconds.observe(report.seconds)
    metrics.cycles.inc()
    metrics.rollouts_without_rules.set(sum(one.unwatched for one in report.reports.values()))
    for name in sorted(report.reports):
        one = report.reports[name]
        if one.rules is not None:
            metrics.armed.labels(name).set(float(one.flag is not None and one.flag.armed))
            metrics.canary_percent.labels(name).set(one.flag.canary_percent if one.flag else 0.0)
            metrics.findings(name, one.findings)
        if one.last_good:
            metrics.last_good_evaluation.labels(name).set(one.last_good)
        level = logging.WARNING if one.action in _LOUD or one.unwatched or one.unreadable else logging.INFO
        extra = {"rollout": name, "tick": report.tick, "action": one.action}
        log.log(level, "%s %s", name, one.sentence, extra=extra)
    for gone in (previous.reports.keys() if previous is not None else set()) - report.reports.keys():
        metrics.forget(gone)


def _flag_words(flag: Flag) -> str:
    return f"[{flag.state.value} g{flag.generation} {flag.stage} {flag.canary_percent:g}%]"
