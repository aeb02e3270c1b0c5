"""The report of a cycle: one sentence for each rollout, for the log, the status line and the tests."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from killswitch.flags.flag import Flag
from killswitch.flags.pinning import stopped_in_words
from killswitch.model import Finding, Rollout
from killswitch.spend.standing import CapStanding
from killswitch.status.self_metrics import SelfMetrics
from killswitch.verdicts.decide import Decision, DecisionKind
from killswitch.wording import time_of_day

log = logging.getLogger(__name__)
_LOUD = frozenset({DecisionKind.TRIP.value, DecisionKind.WOULD_TRIP.value, DecisionKind.BLIND.value})


class Documented(Protocol):
    """Something that is worked out and put into JSON when someone asks for the status."""

    def document(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class FlagsRead:
    """When all flags were last read (Unix seconds, None: never), and whether this cycle could read them.

    If it could not, the state of a flag is not known: it may have been armed, tripped or ended since.
    """

    at: float | None
    fresh: bool

    @property
    def words(self) -> str:
        return f"as last read at {time_of_day(self.at)} UTC" if self.at is not None else "never read"


FRESH = FlagsRead(0.0, fresh=True)


@dataclass(frozen=True, slots=True)
class RolloutReport:
    """The report of one rollout. ``last_good``: the newest tick with a usable verdict, in Unix seconds.

    ``window``: the seconds that the findings' values cover; None if nothing was judged.
    ``unreadable``: what is wrong with a flag document that cannot be read. ``caps``: of its rule file, with their use.
    ``plan``: where it is in its plan, None without one. ``slow``: the slow signals of its rule file.
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
    read: FlagsRead = FRESH
    caps: tuple[CapStanding, ...] = ()
    plan: Documented | None = None
    slow: tuple[Documented, ...] = ()

    @property
    def state(self) -> str:
        """``armed``, ``tripped``, ``pinned``, ``absent`` or ``unreadable``; ``unknown`` if the flag could not be read.

        Without a fresh reading this is the state as last read, and ``read`` says when. If the last reading found no
        flag, there may be one now, so the state is ``unknown``.
        """
        if self.unreadable is not None:
            return "unreadable"
        if self.flag is not None:
            return self.flag.state.value
        return "absent" if self.read.fresh else "unknown"

    @property
    def unwatched(self) -> bool:
        """Armed, and no rule file has it."""
        return self.rules is None and self.flag is not None and self.flag.armed


@dataclass(frozen=True, slots=True)
class CycleReport:
    """One cycle. ``tick``: on the metric store's clock. ``finished``: on the monotonic clock. Problems: in words."""

    tick: float
    finished: float
    seconds: float
    reports: Mapping[str, RolloutReport]
    store_problem: str | None = None
    source_problem: str | None = None
    flags_read_at: float | None = None


def judged(
    flag: Flag,
    rules: Rollout,
    decision: Decision,
    findings: tuple[Finding, ...],
    *,
    last_good: float,
    window: float,
    read: FlagsRead = FRESH,
) -> RolloutReport:
    """The report of a rollout that was judged."""
    loud = f"TRIP: {decision.sentence}" if decision.action is DecisionKind.TRIP else decision.sentence
    sentence = f"{_flag_words(flag, read)}: {loud}"
    action = decision.action.value
    return RolloutReport(flag.rollout, sentence, action, flag, rules, findings, last_good, window, read=read)


def idle(
    name: str, flag: Flag | None, rules: Rollout | None, unreadable: str | None = None, *, read: FlagsRead = FRESH
) -> RolloutReport:
    """The report of a rollout that was not judged. ``unreadable``: what is wrong with its flag."""
    if unreadable is not None:
        advice = f"routers send everything to control; remove it with `killswitch end {name}`"
        sentence = (
            f"[flag unreadable]: {unreadable}; {advice}"
            if read.fresh
            else f"[flag unreadable, {read.words}]: {unreadable}"
        )
    elif flag is None and not read.fresh:
        said = "it had none" if read.at is not None else "this replica has not read the flag store since it started"
        sentence = (
            f"[flag UNKNOWN, {read.words}]: {said}; it may be armed now, and routers obey the flag they have; look at "
            "the flag store"
        )
    elif flag is None:
        sentence = f"[no flag]: routers send everything to control; arm it with `killswitch arm {name} --stage ramp_1`"
    elif not flag.armed:
        sentence = f"{_flag_words(flag, read)}: {stopped_in_words(flag)}"
    elif rules is None:
        advice = f"no rule file has this rollout; add one, or `killswitch end {name}`"
        sentence = f"{_flag_words(flag, read)}: not monitored: {advice}"
    else:
        sentence = f"{_flag_words(flag, read)}: not judged yet"
    return RolloutReport(name, sentence, flag=flag, rules=rules, unreadable=unreadable, read=read)


def publish(report: CycleReport, previous: CycleReport | None, metrics: SelfMetrics) -> None:
    """Log every sentence and set the gauges. Drop the gauges of rollouts that are gone."""
    metrics.cycle_seconds.observe(report.seconds)
    metrics.cycles.inc()
    known = report.store_problem is None
    metrics.flags_read(report.flags_read_at)
    without_rules = sum(one.unwatched for one in report.reports.values())
    metrics.rollouts_without_rules.set(without_rules if known else math.nan)
    for name in sorted(report.reports):
        one = report.reports[name]
        if one.rules is not None:
            armed, percent = float(one.state == "armed"), one.flag.canary_percent if one.flag else 0.0
            metrics.armed.labels(name).set(armed if known else math.nan)
            metrics.canary_percent.labels(name).set(percent if known else math.nan)
            metrics.findings(name, one.findings)
        metrics.flag(name, one.flag)
        if one.last_good:
            metrics.last_good_evaluation.labels(name).set(one.last_good)
        level = logging.WARNING if one.action in _LOUD or one.unwatched or one.unreadable else logging.INFO
        extra = {"rollout": name, "tick": report.tick, "action": one.action}
        log.log(level, "%s %s", name, one.sentence, extra=extra)
    for gone in (previous.reports.keys() if previous is not None else set()) - report.reports.keys():
        metrics.forget(gone)


def _flag_words(flag: Flag, read: FlagsRead) -> str:
    when = "" if read.fresh else f", {read.words}"
    # a class may have any name: the tag has their number only, so that it can be told from the sentence
    classes = f" (other in {len(flag.shadow_classes)} classes)" if flag.shadow_classes else ""
    shadow = "" if flag.shadow_share.nothing else f", {flag.shadow_percent:g}%{classes} shadowed"
    return f"[{flag.state.value} g{flag.generation} {flag.stage} {flag.canary_percent:g}%{shadow}{when}]"
