"""How a rule is judged, and what follows for the rollout. Pure: readings in, findings out.

`compare` holds a window's reading against the rule's limits. `judge_threshold` turns that into a
verdict by the bare comparison. `decide` looks at all findings of a rollout. A verdict is never a bool,
and an error is never data: it moves nothing in either direction.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto
from typing import NamedTuple, Protocol

from killswitch.flags.flag import AA, Flag
from killswitch.model import (
    Buckets,
    Counts,
    Excursion,
    Finding,
    Measurement,
    Mode,
    QuantileSignal,
    Reading,
    Reason,
    Rollout,
    Rule,
    Unit,
    Unreadable,
    Verdict,
)
from killswitch.verdicts import histogram
from killswitch.verdicts.evidence import measure_offset
from killswitch.wording import (
    count_in_words,
    duration_in_words,
    evidence_in_words,
    odds_in_words,
    points_in_words,
    time_of_day,
    value_in_words,
)

# An UNKNOWN for one of these says nothing against our eyesight: the source answered, there is little to see.
SIGHTED = frozenset(
    {Reason.TOO_FEW_REQUESTS, Reason.JUST_ARMED, Reason.DRAINING, Reason.WARMING_UP, Reason.TRAFFIC_SPLIT}
)

AA_SAID = f"; in stage {AA}: "  # in a finding's sentence, before what that stage measured
_OTHER_USERS = "choose another salt or more users"
_LONGEST_ESTIMATE = 3.0 * 3600.0


class Comparison(NamedTuple):
    """A window's values held against a rule's limits.

    ``limit`` is what the canary must not exceed, given control now. ``over``: over every bound stated.
    ``control_too``: over the absolute bounds, yet not worse than control, so switching models would not help.
    ``problem``: why nothing can be said; ``impossible``: because no service can have such counts.
    ``raw_*``: the values over all requests, where only a user's first
    requests are judged.
    """

    canary: float | None = None
    control: float | None = None
    samples_canary: float | None = None
    samples_control: float | None = None
    limit: float | None = None
    over: bool = False
    control_too: bool = False
    problem: Unreadable | None = None
    impossible: bool = False
    raw_canary: float | None = None
    raw_control: float | None = None
    queries: tuple[str, ...] = ()


class _Bound(Enum):
    """The bounds a rule may state, or imply."""

    MAXIMUM = auto()
    CONTROL = auto()
    MAX_INCREASE = auto()
    MAX_RATIO = auto()
    FLOOR = auto()


class Gathered(Protocol):
    """The evidence on one rule, as the dossier shows it (see there for units)."""

    @property
    def value(self) -> float: ...
    @property
    def needed(self) -> float: ...
    @property
    def since(self) -> float | None: ...
    @property
    def events_canary(self) -> float: ...
    @property
    def trials_canary(self) -> float: ...
    @property
    def events_control(self) -> float: ...
    @property
    def trials_control(self) -> float: ...
    @property
    def updated_at(self) -> float | None: ...
    @property
    def until(self) -> float: ...
    @property
    def warming_up(self) -> bool: ...
    @property
    def problem(self) -> Unreadable | None: ...


@dataclass(frozen=True, slots=True)
class Streak:
    """Ticks in a row at which the window was over its limit (`decide: threshold`), and their span."""

    ticks: int = 0
    first: float = 0.0
    last: float = 0.0


def compare(rule: Rule, reading: Reading, beside: Reading | None = None) -> Comparison:
    """The rule's limits against one window. Never raises; a missing value is a ``problem``.

    ``beside`` is the plain signal's reading where ``reading`` is that of its judged twin.
    """
    canary, control = _value(rule, reading.canary), _value(rule, reading.control)
    limit: float | None = None
    over = control_too = False
    impossible = _impossible_counts(rule, reading)
    problem = impossible or _problem(canary, control, reading)
    if problem is None:
        assert isinstance(canary, float)
        assert isinstance(control, float)
        limit = max((bound for bound, _ in _bounds(rule, control)), default=math.inf)
        if math.isinf(canary) and limit >= _last_edge(reading.canary):
            # Above the last finite bucket is "over" only where the limit itself lies below that bucket.
            problem = _saturated("canary", reading.canary)
        else:
            over = canary > limit
            maximum = rule.limits.maximum
            control_too = maximum is not None and not over and maximum < canary <= control
    return Comparison(
        canary=None if isinstance(canary, Unreadable) else canary,
        control=None if isinstance(control, Unreadable) else control,
        samples_canary=_samples(reading.canary),
        samples_control=_samples(reading.control),
        limit=limit,
        over=over,
        control_too=control_too,
        problem=problem,
        impossible=impossible is not None,
        raw_canary=_known(rule, beside.canary) if beside is not None else None,
        raw_control=_known(rule, beside.control) if beside is not None else None,
        queries=reading.queries,
    )


def _problem(canary: float | Unreadable, control: float | Unreadable, reading: Reading) -> Unreadable | None:
    if isinstance(canary, Unreadable):
        return _named("canary", canary)
    if isinstance(control, Unreadable):
        return _named("control", control)
    return _saturated("control", reading.control) if math.isinf(control) else None


def more_events_than_trials(rule: Rule, events: float, trials: float) -> bool:
    """Whether there are well more events than trials, which no service can have: they are not of these trials.

    A quarter and a few may be of requests before the window: series scraped a moment later, and late feedback.
    """
    few = 10.0 if rule.delay > 0 else 3.0
    return events > 1.25 * max(trials, 0.0) + few


def _impossible_counts(rule: Rule, reading: Reading) -> Unreadable | None:
    for cohort, side in (("canary", reading.canary), ("control", reading.control)):
        if isinstance(side, Counts) and more_events_than_trials(rule, side.events, side.trials):
            return _not_of_these(cohort, side.events, side.trials, "in the window")
    return None


def _absurd(rule: Rule, view: Gathered) -> Unreadable | None:
    for cohort, events, trials in (
        ("canary", view.events_canary, view.trials_canary),
        ("control", view.events_control, view.trials_control),
    ):
        if more_events_than_trials(rule, events, trials):
            since = f"since {time_of_day(view.since)}" if view.since is not None else "so far"
            return _not_of_these(cohort, events, trials, since)
    return None


def _not_of_these(cohort: str, events: float, trials: float, since: str) -> Unreadable:
    return Unreadable(
        Reason.NUMERIC,
        f"{cohort} has {count_in_words(events)} events of {count_in_words(trials)} {since}: the events are not of "
        "these requests. Check that both counters of the rule count the same things once",
    )


def _known(rule: Rule, measurement: Measurement) -> float | None:
    value = _value(rule, measurement)
    return None if isinstance(value, Unreadable) else value


def judge_threshold(
    rule: Rule, comparison: Comparison, streak: Streak, *, rollout: Rollout, tick: float, interval: float
) -> tuple[Finding, Streak]:
    """BREACH when over every bound, with enough requests, for ``for_ticks`` ticks in a row; SUSPECT before that.

    ``interval``: seconds between ticks.

    A tick that says nothing (UNKNOWN) leaves the streak as it is, but a streak whose last tick lies
    further back than the window is forgotten: its data are no longer in sight.
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
    words = _over_words(rule, comparison)
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
    rule: Rule, comparison: Comparison, view: Gathered, *, rollout: Rollout, tick: float, fresh: float
) -> Finding:
    """BREACH when the evidence says so and is at most ``fresh`` seconds old, at any number of requests.

    The window decides nothing here: it is what a person sees, and what HEALTHY needs enough of.
    """
    young = view.updated_at is not None and abs(tick - view.updated_at) <= fresh
    absurd = _absurd(rule, view) or (comparison.problem if comparison.impossible else None)
    if absurd is not None:
        return _unknown(rule, comparison, absurd, view)
    if view.value >= view.needed and young:
        return _finding(rule, comparison, Verdict.BREACH, None, _evidence_words(rule, comparison, view), view=view)
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
        evidence = f"evidence {evidence_in_words(view.value, view.needed)}, {_pace(view, estimate)}"
        words = f"{_over_words(rule, comparison)}, not proven: {evidence}"
        return replace(_finding(rule, comparison, Verdict.SUSPECT, None, words, view=view), proven_in=estimate)
    return _within(rule, comparison, view)


def _behind(view: Gathered, tick: float, fresh: float) -> Unreadable | None:
    """Evidence not taken as far as the tick, or of a time to come, says nothing, however well the window looks."""
    if view.until - tick > fresh / 2:
        return Unreadable(Reason.BEHIND, f"evidence was gathered up to {time_of_day(view.until)}, a time still to come")
    if tick - view.until <= fresh:
        return None
    return behind(view.until)


def behind(until: float) -> Unreadable:
    """Why evidence that was taken as far as ``until`` says nothing about now."""
    return Unreadable(Reason.BEHIND, f"evidence has been gathered up to {time_of_day(until)} only; catching up")


def _step_problem(view: Gathered) -> Unreadable | None:
    # a step without a single request is no trouble: the window says whether there are enough
    return None if view.problem is None or view.problem.reason is Reason.NO_DATA else view.problem


def _cold(rule: Rule, comparison: Comparison, view: Gathered) -> Unreadable | None:
    """Too little of control's past to call anything healthy; what is over its limit is named all the same."""
    if not view.warming_up:
        return None
    why = "control's past is known for less than an hour, so evidence is weighed more carefully and trips later"
    if comparison.over:
        over = _over_words(rule, comparison).removeprefix(f"{rule.name} ")  # the sentence begins with the rule
        why = f"{over}, evidence {evidence_in_words(view.value, view.needed)}; {why}"
    return Unreadable(Reason.WARMING_UP, why)


def mistrusted(finding: Finding, flag: Flag) -> Finding:
    """A healthy finding where the traffic is not split as the flag says: nobody knows who was measured."""
    split = f"the canary's share of requests is nowhere near the flag's {flag.canary_percent:g}%"
    detail = f"{split}: a router ignores the flag, labels are wrong, or requests hang"
    if _lacks_a_cohort(finding):
        detail = f"{detail}; {finding.sentence.partition(': ')[2]}"
    sentence = f"{finding.rule} unknown ({Reason.TRAFFIC_SPLIT}): {detail}"
    return replace(finding, verdict=Verdict.UNKNOWN, reason=Reason.TRAFFIC_SPLIT, sentence=sentence)


def proven_in(view: Gathered) -> float | None:
    """Seconds until evidence is enough if it goes on growing as it has since the excursion began; None if unknown.

    Evidence grows exponentially while a canary is over its limit, so the estimate is a straight line of its
    logarithm, from 1 at ``since``. It is an estimate of the mean course, not a promise.
    """
    if view.since is None or not 1.0 < view.value < view.needed or view.until <= view.since:
        return None
    return (math.log(view.needed) / math.log(view.value) - 1.0) * (view.until - view.since)


def _pace(view: Gathered, estimate: float | None) -> str:
    if estimate is None or view.since is None:
        return "too early to say when it would be enough"
    since = time_of_day(view.since)
    if estimate > _LONGEST_ESTIMATE:
        return f"which at the pace since {since} takes hours more"
    return f"enough in about {duration_in_words(max(60.0, 60.0 * round(estimate / 60.0)))} at the pace since {since}"


def offset_in_words(rule: Rule, reading: Reading, phi: float) -> str | None:
    """What stage `aa` has measured: how far the canary's users differ under the same model; None without data.

    ``phi`` is the dispersion of the rule's events: clumps make the interval wider.
    """
    if not isinstance(reading.canary, Counts) or not isinstance(reading.control, Counts):
        return None
    offset = measure_offset(reading.canary, reading.control, phi=phi)
    if offset is None:
        return None
    unit = Unit.FRACTION
    span = f"{points_in_words(offset.low)} to {points_in_words(offset.high)}"
    words = (
        f"with the same model these users have {value_in_words(offset.canary, unit)}, the others "
        f"{value_in_words(offset.control, unit)}, a difference of {points_in_words(offset.difference)} "
        f"(99 % interval: {span})"
    )
    limit = max((bound for bound, _ in _bounds(rule, offset.control)), default=math.inf)
    if offset.control + offset.low > limit:
        return (
            f"{words}; that is over the limit of {value_in_words(limit, unit)}, so an equally good canary would be "
            f"tripped in the next stage: {_OTHER_USERS}"
        )
    if offset.low > 0:
        return f"{words}; these users differ: {_OTHER_USERS}"
    if offset.canary > limit:
        return f"{words}; that is over the limit of {value_in_words(limit, unit)}, but so few requests may be chance"
    return words


def too_few_requests(comparison: Comparison, rollout: Rollout) -> Unreadable | None:
    """Why the window holds too little to be called HEALTHY, or None. Free queries have no counts."""
    pairs = (("canary", comparison.samples_canary), ("control", comparison.samples_control))
    for cohort, samples in pairs:
        if samples is not None and samples < rollout.min_requests:
            return Unreadable(
                Reason.TOO_FEW_REQUESTS,
                f"{cohort} has {count_in_words(math.floor(samples))} requests in {duration_in_words(rollout.window)},"
                f" {rollout.min_requests} are needed",
            )
    return None


def own_bug(error: Exception) -> Unreadable:
    """What a rule says when judging it failed: the other rules go on."""
    return Unreadable(Reason.INTERNAL_ERROR, f"a bug of the kill switch itself: {error!r}; please report it")


def not_gathered(rule: Rule, comparison: Comparison) -> Finding:
    """The finding of a rule whose evidence has not been read back yet, whatever its window looks like."""
    behind = Unreadable(Reason.BEHIND, "its evidence has not been read back yet; catching up")
    return _unknown(rule, comparison, comparison.problem or behind)


def unknown(rule: Rule, problem: Unreadable) -> Finding:
    """The finding of a rule of which nothing at all is known."""
    return _unknown(rule, Comparison(), problem)


# --- what follows for the rollout ---------------------------------------------------------------


class DecisionKind(StrEnum):
    HOLD = "hold"
    TRIP = "trip"
    WOULD_TRIP = "would trip"
    BLIND = "blind"


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done about one rollout at one tick, and the sentence that says why."""

    action: DecisionKind
    sentence: str
    tripping: tuple[Finding, ...] = ()
    control_too: tuple[Finding, ...] = ()


def decide(findings: Sequence[Finding], flag: Flag, rollout: Rollout) -> Decision:
    """Trip on any breach, hold otherwise; blind when nothing at all can be seen of any rule.

    In stage ``aa`` both cohorts get the control model: a breach there is about the users, and trips nothing.
    """
    control_too = tuple(f for f in findings if f.reason is Reason.CONTROL_TOO)
    breaches = tuple(f for f in findings if f.verdict is Verdict.BREACH)
    if breaches:
        why = "; ".join(f.sentence for f in breaches)
        if flag.stage == AA:
            advice = f"both cohorts have the control model, so these users differ: {_OTHER_USERS}"
            return Decision(DecisionKind.HOLD, f"{advice}; {why}", (), control_too)
        if rollout.mode is Mode.DRY_RUN:
            return Decision(DecisionKind.WOULD_TRIP, f"would trip (dry run): {why}", breaches, control_too)
        return Decision(DecisionKind.TRIP, why, breaches, control_too)
    unknowns = [f for f in findings if f.verdict is Verdict.UNKNOWN]
    blind = [f for f in unknowns if blinding(f, flag)]
    if blind and len(blind) == len(findings):
        return Decision(DecisionKind.BLIND, f"blind: {_one_reason(blind)}", (), control_too)
    return Decision(DecisionKind.HOLD, _hold_words(findings, unknowns, control_too), (), control_too)


def blinding(finding: Finding, flag: Flag) -> bool:
    """Whether this rule has no verdict for a reason that says something against our eyesight."""
    if finding.verdict is not Verdict.UNKNOWN:
        return False
    if finding.reason is Reason.TRAFFIC_SPLIT:  # a breach is seen all the same, but only where there are both cohorts
        return _lacks_a_cohort(finding)
    return finding.reason not in SIGHTED and not _expected_silence(finding, flag)


def _lacks_a_cohort(finding: Finding) -> bool:
    """Counters that stand still are there: at night a small canary's users sleep, and control is busy."""
    canary, control = (finding.canary, finding.samples_canary), (finding.control, finding.samples_control)
    return canary == (None, None) or control == (None, None)


def _expected_silence(finding: Finding, flag: Flag) -> bool:
    # Nobody is routed to the canary, so its absence is what the flag asks for.
    return flag.canary_percent == 0.0 and finding.reason is Reason.NO_DATA


def _one_reason(findings: Sequence[Finding]) -> str:
    """Rules that have the same to say say it once."""
    alike: dict[tuple[Reason | None, str], list[Finding]] = {}
    for finding in findings:
        alike.setdefault((finding.reason, _without_aa(finding).partition(": ")[2]), []).append(finding)
    return "; ".join(
        _without_aa(some[0]) if len(some) == 1 else f"{len(some)} rules {reason}: {words}"
        for (reason, words), some in alike.items()
    )


def _without_aa(finding: Finding) -> str:
    return finding.sentence.partition(AA_SAID)[0]


def _hold_words(findings: Sequence[Finding], unknowns: Sequence[Finding], control_too: Sequence[Finding]) -> str:
    suspects = [f for f in findings if f.verdict is Verdict.SUSPECT]
    healthy = len(findings) - len(unknowns) - len(suspects)
    parts = [f"{healthy} of {len(findings)} rules healthy"]
    if suspects:
        parts[0] += f", {len(suspects)} suspect"
    parts += [f.sentence for f in suspects]
    parts += [f.sentence for f in control_too]
    if unknowns:
        parts.append(_one_reason(unknowns))
    measured = ((f.rule, f.sentence.partition(AA_SAID)[2]) for f in findings)
    parts += [f"{rule} in stage {AA}: {said}" for rule, said in measured if _OTHER_USERS in said]
    return "; ".join(parts)


# --- values, limits and words -------------------------------------------------------------------


# A counter that stands still is seen well enough: nobody asked anything, which is no blindness.
_NO_REQUESTS = Unreadable(Reason.TOO_FEW_REQUESTS, "no requests in the window")


def _value(rule: Rule, measurement: Measurement) -> float | Unreadable:
    if isinstance(measurement, Counts):
        events, trials = measurement.events, measurement.trials
        if not (math.isfinite(events) and math.isfinite(trials)) or events < 0 or trials < 0:
            return Unreadable(Reason.NUMERIC, f"{events!r} events of {trials!r} trials")
        return events / trials if trials > 0 else _NO_REQUESTS
    if isinstance(measurement, Unreadable):
        return measurement
    if isinstance(measurement, Buckets):
        assert isinstance(rule.signal, QuantileSignal)
        if histogram.is_saturated(measurement, rule.signal.quantile):
            return math.inf
        value = histogram.quantile(measurement, rule.signal.quantile)
        return _NO_REQUESTS if math.isnan(value) else value
    value = measurement.value
    return value if math.isfinite(value) else Unreadable(Reason.NUMERIC, f"the query gave {value!r}")


def _samples(measurement: Measurement) -> float | None:
    if isinstance(measurement, Counts):
        return measurement.trials
    if isinstance(measurement, Buckets):
        return measurement.counts[-1] if measurement.counts else 0.0
    return None


def _named(cohort: str, problem: Unreadable) -> Unreadable:
    return problem if cohort in problem.detail else Unreadable(problem.reason, f"{cohort}: {problem.detail}")


def _last_edge(measurement: Measurement) -> float:
    return histogram.last_finite_bound(measurement) if isinstance(measurement, Buckets) else -math.inf


def _saturated(cohort: str, measurement: Measurement) -> Unreadable:
    edge = duration_in_words(_last_edge(measurement))
    return Unreadable(Reason.SATURATED, f"{cohort} lies above the histogram's last bucket ({edge}); add larger buckets")


def _bounds(rule: Rule, control: float) -> Iterator[tuple[float, _Bound]]:
    """Each bound given control's value."""
    limits = rule.limits
    if limits.maximum is not None:
        yield limits.maximum, _Bound.MAXIMUM
        if not limits.even_if_control_is_bad:
            yield control, _Bound.CONTROL
    if limits.max_increase is not None:
        yield control + limits.max_increase, _Bound.MAX_INCREASE
    if limits.max_ratio is not None:
        yield control * limits.max_ratio, _Bound.MAX_RATIO
    if limits.floor is not None:
        yield limits.floor, _Bound.FLOOR


def limit_in_words(rule: Rule, control: float) -> tuple[float, str]:
    """The largest of the bounds given control's value, and how it comes about: ``control 1.1% + 5.0 pp``."""
    limits, unit = rule.limits, rule.unit
    limit, bound = max(_bounds(rule, control), key=lambda one: one[0], default=(math.inf, None))
    control_words = f"control {value_in_words(control, unit)}"
    match bound:
        case _Bound.MAXIMUM:
            return limit, value_in_words(limits.maximum, unit)
        case _Bound.CONTROL:
            return limit, control_words
        case _Bound.MAX_INCREASE:
            assert limits.max_increase is not None
            fraction = unit is Unit.FRACTION
            step = points_in_words(limits.max_increase) if fraction else value_in_words(limits.max_increase, unit)
            return limit, f"{control_words} + {step}"
        case _Bound.MAX_RATIO:
            return limit, f"{limits.max_ratio:g} x {control_words}"
        case _Bound.FLOOR:
            return limit, f"the floor of {value_in_words(limits.floor, unit)}"
        case None:
            return limit, "no limit"


def _limit_words(rule: Rule, comparison: Comparison) -> str:
    if comparison.limit is None or comparison.control is None:
        return ""
    return limit_in_words(rule, comparison.control)[1]


def _cohort_words(rule: Rule, comparison: Comparison) -> str:
    counted = "" if comparison.samples_canary is None else f", n={comparison.samples_canary:.0f}"
    if comparison.canary is not None and math.isinf(comparison.canary):
        return f"{rule.name} above the last bucket (canary{counted})"
    return f"{rule.name} {value_in_words(comparison.canary, rule.unit)} (canary{counted})"


def _against_words(comparison: Comparison) -> str:
    return "" if comparison.samples_control is None else f" (control n={comparison.samples_control:.0f})"


def _over_words(rule: Rule, comparison: Comparison) -> str:
    limit = _limit_words(rule, comparison)
    words = f"{_cohort_words(rule, comparison)} over {limit}"
    if "control" not in limit and comparison.control is not None:
        words += f", control {value_in_words(comparison.control, rule.unit)}"
    return words + _against_words(comparison)


def _evidence_words(rule: Rule, comparison: Comparison, view: Gathered) -> str:
    """``refusal_rate 8.7% (canary, 160 of 1,842 since 14:08:11) over control 1.1% + 5.0 pp; chance …``."""
    since = f" since {time_of_day(view.since)}" if view.since is not None else ""
    counted = f"{count_in_words(view.events_canary)} of {count_in_words(view.trials_canary)}"
    luck = f"chance of this by luck under {odds_in_words(view.value)}"
    if rule.unit is not Unit.FRACTION or not view.trials_canary:
        share = f"; {counted} canary requests{since} were slower than control's allow" if view.trials_canary else ""
        return f"{_in_the_window(rule, comparison)}{share}; {luck}"
    rate = view.events_canary / view.trials_canary
    beside = view.events_control / view.trials_control if view.trials_control else comparison.control
    _, words = limit_in_words(rule, beside) if beside is not None else (0.0, "its limit")
    control = "" if beside is None or "control" in words else f", control {value_in_words(beside, rule.unit)}"
    return f"{rule.name} {value_in_words(rate, rule.unit)} (canary, {counted}{since}) over {words}{control}; {luck}"


def _in_the_window(rule: Rule, comparison: Comparison) -> str:
    """What a quantile is in the window, which may hold minutes from before the excursion: then it is not over yet."""
    if comparison.limit is None:
        return rule.name
    if comparison.over:
        return _over_words(rule, comparison)
    limit = f"{_limit_words(rule, comparison)}{_against_words(comparison)}"
    return f"{_cohort_words(rule, comparison)} in the whole window, limit {limit}"


def _within(rule: Rule, comparison: Comparison, view: Gathered | None = None) -> Finding:
    if comparison.control_too:
        maximum = value_in_words(rule.limits.maximum, rule.unit)
        sentence = (
            f"{_cohort_words(rule, comparison)} over {maximum}, but control is at"
            f" {value_in_words(comparison.control, rule.unit)}: both are bad, switching models would not help"
        )
        return _finding(rule, comparison, Verdict.HEALTHY, Reason.CONTROL_TOO, sentence, view=view)
    sentence = f"{_cohort_words(rule, comparison)} within {_limit_words(rule, comparison)}{_against_words(comparison)}"
    return _finding(rule, comparison, Verdict.HEALTHY, None, sentence, view=view)


def _unknown(rule: Rule, comparison: Comparison, problem: Unreadable, view: Gathered | None = None) -> Finding:
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
    view: Gathered | None = None,
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
        queries=comparison.queries,
    )


def _excursion(rule: Rule, view: Gathered) -> Excursion | None:
    """What was counted since the excursion began; None before anything was."""
    if view.since is None or not view.trials_canary > 0:
        return None
    counted = Excursion(view.since, view.events_canary, view.trials_canary, view.events_control, view.trials_control)
    if rule.unit is not Unit.FRACTION or counted.control is None:
        return counted
    limit = limit_in_words(rule, counted.control)[0]
    return replace(counted, limit=limit if math.isfinite(limit) else None)
