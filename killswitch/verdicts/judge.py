"""Judges one rule at one tick: a comparison and its evidence in, a finding out. Pure.

`judge_threshold` uses the comparison alone, `judge_evidence` the evidence first. A verdict is never a bool, and an
error is never data: it moves nothing in either direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from killswitch.flags.flag import Flag
from killswitch.model import Excursion, Finding, Reason, Rollout, Rule, Unit, Unreadable, Verdict
from killswitch.verdicts.compare import Comparison, more_events_than_trials, not_of_these, too_few_requests
from killswitch.verdicts.decide import lacks_a_cohort
from killswitch.verdicts.evidence_view import EvidenceView
from killswitch.verdicts.sentences import (
    against_words,
    cohort_words,
    evidence_words,
    limit_in_words,
    limit_words,
    over_words,
    pace_in_words,
)
from killswitch.wording import duration_in_words, evidence_in_words, time_of_day, value_in_words


@dataclass(frozen=True, slots=True)
class Streak:
    """How many ticks in a row the window was over its limit (`decide: threshold`), and the first and last of them."""

    ticks: int = 0
    first: float = 0.0
    last: float = 0.0


def judge_threshold(
    rule: Rule, comparison: Comparison, streak: Streak, *, rollout: Rollout, tick: float, interval: float
) -> tuple[Finding, Streak]:
    """BREACH when over every bound, with enough requests, for ``for_ticks`` ticks in a row; SUSPECT before that.

    ``interval``: seconds between ticks.

    An UNKNOWN tick leaves the streak unchanged. A streak whose last tick is further back than the window is dropped,
    because its data have left the window.
    """
    if streak.ticks and tick - streak.last > rollout.window:
        streak = Streak()
    if comparison.problem is not None:
        return _unknown(rule, comparison, comparison.problem), streak
    few = too_few_requests(comparison, rollout)
    if few is not None:
        return _unknown(rule, comparison, few), streak
    if not comparison.over:
        return _within(rule, comparison), Streak()
    streak = Streak(streak.ticks + 1, streak.first if streak.ticks else tick, tick)
    words = over_words(rule, comparison)
    if streak.ticks < rule.for_ticks:
        missing = (rule.for_ticks - streak.ticks) * interval
        words = (
            f"{words}, for {streak.ticks} of {rule.for_ticks} ticks in a row: if it stays over, it trips in"
            f" {duration_in_words(missing)}"
        )
        finding = _finding(rule, comparison, Verdict.SUSPECT, None, words, since=streak.first)
        return replace(finding, proven_in=missing), streak
    return _finding(rule, comparison, Verdict.BREACH, None, words, since=streak.first), streak


def judge_evidence(
    rule: Rule, comparison: Comparison, view: EvidenceView, *, rollout: Rollout, tick: float, fresh: float
) -> Finding:
    """BREACH when the evidence is enough and at most ``fresh`` seconds old, at any number of requests.

    The window cannot make a BREACH. It is what people see, HEALTHY needs enough requests in it, and SUSPECT means
    that it is over its limit without enough evidence.
    """
    young = view.updated_at is not None and abs(tick - view.updated_at) <= fresh
    absurd = _absurd(rule, view) or (comparison.problem if comparison.impossible else None)
    if absurd is not None:
        return _unknown(rule, comparison, absurd, view)
    if view.value >= view.needed and young:
        return _finding(rule, comparison, Verdict.BREACH, None, evidence_words(rule, comparison, view), view=view)
    problem = (
        comparison.problem
        or _behind(view, tick, fresh)
        or _step_problem(view)
        or too_few_requests(comparison, rollout)
        or _cold(rule, comparison, view)
    )
    if problem is not None:
        return _unknown(rule, comparison, problem, view)
    if comparison.over:
        estimate = proven_in(view)
        evidence = f"evidence {evidence_in_words(view.value, view.needed)}, {pace_in_words(view, estimate)}"
        words = f"{over_words(rule, comparison)}, not proven: {evidence}"
        return replace(_finding(rule, comparison, Verdict.SUSPECT, None, words, view=view), proven_in=estimate)
    return _within(rule, comparison, view)


def _absurd(rule: Rule, view: EvidenceView) -> Unreadable | None:
    for cohort, events, trials in (
        ("canary", view.events_canary, view.trials_canary),
        ("control", view.events_control, view.trials_control),
    ):
        if more_events_than_trials(rule, events, trials):
            since = f"since {time_of_day(view.since)}" if view.since is not None else "so far"
            return not_of_these(cohort, events, trials, since)
    return None


def _behind(view: EvidenceView, tick: float, fresh: float) -> Unreadable | None:
    """Why evidence that has not reached the tick, or is dated after it, decides nothing, whatever the window shows."""
    if view.until - tick > fresh / 2:
        return Unreadable(Reason.BEHIND, f"evidence was gathered up to {time_of_day(view.until)}, a time still to come")
    if tick - view.until <= fresh:
        return None
    return behind(view.until)


def behind(until: float) -> Unreadable:
    """Why evidence gathered up to ``until`` (Unix seconds) says nothing about now."""
    return Unreadable(Reason.BEHIND, f"evidence has been gathered up to {time_of_day(until)} only; catching up")


def _step_problem(view: EvidenceView) -> Unreadable | None:
    # A step without requests is not a problem: the window shows whether there are enough.
    return None if view.problem is None or view.problem.reason is Reason.NO_DATA else view.problem


def _cold(rule: Rule, comparison: Comparison, view: EvidenceView) -> Unreadable | None:
    """Why nothing is called HEALTHY while too little of control's past is known; still names a value over its limit."""
    if not view.warming_up:
        return None
    why = "control's past is known for less than an hour, so evidence is weighed more carefully and trips later"
    if comparison.over:
        over = over_words(rule, comparison).removeprefix(f"{rule.name} ")  # the sentence begins with the rule
        why = f"{over}, evidence {evidence_in_words(view.value, view.needed)}; {why}"
    return Unreadable(Reason.WARMING_UP, why)


def mistrusted(finding: Finding, flag: Flag) -> Finding:
    """The finding as UNKNOWN, because traffic is not split as the flag says: it is unclear who was measured."""
    split = f"the canary's share of requests is nowhere near the flag's {flag.canary_percent:g}%"
    detail = f"{split}: a router ignores the flag, labels are wrong, or requests hang"
    if lacks_a_cohort(finding):
        detail = f"{detail}; {finding.sentence.partition(': ')[2]}"
    sentence = f"{finding.rule} unknown ({Reason.TRAFFIC_SPLIT}): {detail}"
    return replace(finding, verdict=Verdict.UNKNOWN, reason=Reason.TRAFFIC_SPLIT, sentence=sentence)


def proven_in(view: EvidenceView) -> float | None:
    """Seconds until evidence is enough, if it keeps growing as it has since the excursion began; None if unknown.

    Evidence grows exponentially while a canary is over its limit, so the estimate is a straight line through its
    logarithm, from 1 at ``since``. This is an average course, not a promise.
    """
    if view.since is None or not 1.0 < view.value < view.needed or view.until <= view.since:
        return None
    return (math.log(view.needed) / math.log(view.value) - 1.0) * (view.until - view.since)


def own_bug(error: Exception) -> Unreadable:
    """The problem of a rule that could not be judged because of a bug here. The other rules are judged as usual."""
    return Unreadable(Reason.INTERNAL_ERROR, f"a bug of the kill switch itself: {error!r}; please report it")


def not_gathered(rule: Rule, comparison: Comparison) -> Finding:
    """The finding of a rule whose evidence has not been read back yet, whatever its window shows."""
    behind = Unreadable(Reason.BEHIND, "its evidence has not been read back yet; catching up")
    return _unknown(rule, comparison, comparison.problem or behind)


def unknown(rule: Rule, problem: Unreadable) -> Finding:
    """The finding of a rule of which nothing is known."""
    return _unknown(rule, Comparison(), problem)


def _within(rule: Rule, comparison: Comparison, view: EvidenceView | None = None) -> Finding:
    if comparison.control_too:
        maximum = value_in_words(rule.limits.maximum, rule.unit)
        sentence = (
            f"{cohort_words(rule, comparison)} over {maximum}, but control is at"
            f" {value_in_words(comparison.control, rule.unit)}: both are bad, switching models would not help"
        )
        return _finding(rule, comparison, Verdict.HEALTHY, Reason.CONTROL_TOO, sentence, view=view)
    sentence = f"{cohort_words(rule, comparison)} within {limit_words(rule, comparison)}{against_words(comparison)}"
    return _finding(rule, comparison, Verdict.HEALTHY, None, sentence, view=view)


def _unknown(rule: Rule, comparison: Comparison, problem: Unreadable, view: EvidenceView | None = None) -> Finding:
    sentence = f"{rule.name} unknown ({problem.reason}): {problem.detail}"
    return _finding(rule, comparison, Verdict.UNKNOWN, problem.reason, sentence, view=view)


def _finding(
    rule: Rule,
    comparison: Comparison,
    verdict: Verdict,
    reason: Reason | None,
    sentence: str,
    *,
    since: float | None = None,
    view: EvidenceView | None = None,
) -> Finding:
    return Finding(
        rule=rule.name,
        verdict=verdict,
        reason=reason,
        sentence=sentence,
        unit=rule.unit,
        canary=comparison.canary,
        control=comparison.control,
        limit=comparison.limit,
        samples_canary=comparison.samples_canary,
        samples_control=comparison.samples_control,
        over=comparison.over,
        since=since if view is None else view.since,
        evidence=None if view is None else view.value,
        needed=None if view is None else view.needed,
        excursion=None if view is None else _excursion(rule, view),
        raw_canary=comparison.raw_canary,
        raw_control=comparison.raw_control,
        raw_samples_canary=comparison.raw_samples_canary,
        raw_samples_control=comparison.raw_samples_control,
        queries=comparison.queries,
    )


def _excursion(rule: Rule, view: EvidenceView) -> Excursion | None:
    """The counts since the excursion began; None if there are none yet."""
    if view.since is None or not view.trials_canary > 0:
        return None
    counted = Excursion(view.since, view.events_canary, view.trials_canary, view.events_control, view.trials_control)
    if rule.unit is not Unit.FRACTION or counted.control is None:
        return counted
    limit = limit_in_words(rule, counted.control)[0]
    return replace(counted, limit=limit if math.isfinite(limit) else None)
