"""One criterion judged: PASS, FAIL, NOT_YET or NOT_GATED, with its numbers and the sentence that says them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from killswitch.model import Unit
from killswitch.rules.units import Kind
from killswitch.shadow.criteria import KIND_OF_LIMIT, OF_THE_FLOOR, TITLES, Criterion, Measure
from killswitch.shadow.evidence.betting import growth_needed
from killswitch.shadow.evidence.measures import NEVER_CONCURRENT, Compared
from killswitch.wording import count_in_words, counted, points_in_words, value_in_words

# No one waits for more pairs than that.
MOST_PAIRS = 10_000_000
_AT_ITS_MARGIN = "cannot be reached at these numbers: the canary is at the margin"
_LARGEST_LOG = 690.0  # exp of more is not a number


class CriterionState(StrEnum):
    """What is proven of a criterion. NOT_GATED: it is shown, and neither stops nor allows anything."""

    PASS = "PASS"  # noqa: S105 - a standing, no password
    FAIL = "FAIL"
    NOT_YET = "NOT_YET"
    NOT_GATED = "NOT_GATED"


@dataclass(frozen=True, slots=True)
class CriterionFinding:
    """One criterion over all pairs, or over those of one class.

    ``candidate`` and ``reference`` are what a person reads; ``excess`` is what is compared with ``limit``, and with
    ``low`` and ``high``, its interval that holds at any time (each end is wrong with probability ``wrong_go``, ever).
    NaN where unknown. ``reference`` is control's number, or control's against itself (``of_the_floor``).
    ``odds_within`` and ``odds_worse``: evidence for each side, needed: ``odds_to_pass`` and ``odds_to_fail``.
    ``odds_worse_at_all``: evidence that the canary is worse by any amount, NaN where that is not tested.
    ``more_pairs``: canary pairs still needed at the present numbers; None where none are, or where no number can be
    given (``reason`` says why).
    """

    criterion: Criterion
    standing: CriterionState
    prompt_class: str | None
    candidate: float
    reference: float
    excess: float
    low: float
    high: float
    limit: float
    pairs: int
    noise_pairs: int
    odds_within: float
    odds_worse: float
    odds_worse_at_all: float
    odds_to_pass: float
    odds_to_fail: float
    more_pairs: int | None
    reason: str
    sentence: str

    @property
    def title(self) -> str:
        return TITLES[self.criterion.measure]

    @property
    def of_the_floor(self) -> bool:
        """Whether ``reference`` is control against itself."""
        return self.criterion.measure in OF_THE_FLOOR

    @property
    def nears_fail(self) -> bool:
        """It is open, its estimate is beyond the limit, and ``more_pairs`` like those so far make it FAIL."""
        return self.standing is CriterionState.NOT_YET and self.more_pairs is not None and self.excess > self.limit


def judged(
    comparison: Compared, *, wrong_go: float, wrong_no_go: float, prompt_class: str | None = None
) -> CriterionFinding:
    """What the evidence proves; a PASS is wrong with probability ``wrong_go``, a FAIL with ``wrong_no_go``, ever."""
    evidence, limit = comparison.evidence, comparison.limit
    low = high = within = worse = at_all = math.nan
    more = None
    standing, reason = CriterionState.NOT_YET, comparison.why_not
    if evidence is not None and not reason:
        low, high = evidence.interval(wrong_go)
        within, worse = evidence.log_within(limit), evidence.log_worse(limit)
        if (none := _no_excess(comparison)) is not None:
            at_all = evidence.log_worse(none)
        if worse >= -math.log(wrong_no_go):
            standing = CriterionState.FAIL
        elif comparison.why_no_pass:
            reason = comparison.why_no_pass
        elif within >= -math.log(wrong_go):
            standing = CriterionState.PASS
        else:
            more = _more_pairs(comparison, wrong_go, wrong_no_go)
            known_worse = "worse than control, not yet proven by how much; " if at_all >= -math.log(wrong_no_go) else ""
            reason = known_worse + (_AT_ITS_MARGIN if more is None else f"about {counted(more, 'more pair')} needed")
    elif not reason:
        reason = f"too few pairs: {count_in_words(comparison.pairs)}"
    return CriterionFinding(
        comparison.criterion,
        standing,
        prompt_class,
        comparison.candidate,
        comparison.reference,
        comparison.excess,
        low,
        high,
        limit,
        comparison.pairs,
        comparison.noise_pairs,
        _odds(within),
        _odds(worse),
        _odds(at_all),
        1.0 / wrong_go,
        1.0 / wrong_no_go,
        more,
        reason,
        _sentence(comparison, standing, reason),
    )


def compared_as_points(comparison: Compared) -> CriterionFinding:
    """The bare comparison of the usual table: no margin, no evidence, a coin flip for an equal canary."""
    measure, limit = comparison.criterion.measure, comparison.criterion.limit
    passed = {
        Measure.ERRORS: comparison.excess <= 0.0,
        Measure.WIN_RATE: comparison.candidate > 0.5,
        Measure.SIMILARITY: comparison.candidate > limit,
        Measure.EQUIVALENT: comparison.candidate >= limit,
        Measure.PAIRS: comparison.candidate > limit,
    }.get(measure, comparison.excess < limit)
    standing, reason, more = (CriterionState.PASS if passed else CriterionState.FAIL), "", None
    if comparison.why_not == NEVER_CONCURRENT:
        standing, reason = CriterionState.NOT_YET, comparison.why_not
    elif measure is Measure.PAIRS and not passed:
        more = int(limit) + 1 - comparison.pairs
        standing, reason = CriterionState.NOT_YET, f"{counted(more, 'more pair')} needed"
    elif math.isnan(comparison.candidate if measure in _WITHOUT_REFERENCE else comparison.excess):
        standing, reason = CriterionState.NOT_YET, comparison.why_not or "no pairs"
    nan = math.nan
    return CriterionFinding(
        comparison.criterion,
        standing,
        None,
        comparison.candidate,
        comparison.reference,
        comparison.excess,
        nan,
        nan,
        limit,
        comparison.pairs,
        comparison.noise_pairs,
        nan,
        nan,
        nan,
        nan,
        nan,
        more,
        reason,
        _sentence(comparison, standing, reason, as_points=True),
    )


_WITHOUT_REFERENCE = frozenset({Measure.SIMILARITY, Measure.EQUIVALENT, Measure.WIN_RATE, Measure.PAIRS})


def _no_excess(comparison: Compared) -> float | None:
    """The excess of a canary that is like control; None where the bets are on a share of the floor."""
    if comparison.criterion.measure in (Measure.SIMILARITY, Measure.EQUIVALENT):
        return None
    return 1.0 if KIND_OF_LIMIT[comparison.criterion.measure] is Kind.RATIO else 0.0


def _more_pairs(comparison: Compared, wrong_go: float, wrong_no_go: float) -> int | None:
    """How many more canary pairs decide it if all are like those so far, by the side on which the estimate is."""
    if comparison.evidence is None or not comparison.pairs:
        return None
    worse = comparison.excess > comparison.limit
    needed = -math.log(wrong_no_go if worse else wrong_go)
    most = MOST_PAIRS / comparison.pairs
    growth = growth_needed(comparison.evidence, comparison.limit, log_needed=needed, worse=worse, most=most)
    return None if growth is None else max(math.ceil((growth - 1.0) * comparison.pairs), 1)


def _odds(log_evidence: float) -> float:
    return math.exp(min(log_evidence, _LARGEST_LOG)) if not math.isnan(log_evidence) else math.nan


def _sentence(comparison: Compared, standing: CriterionState, reason: str, *, as_points: bool = False) -> str:
    """``refusals: 8.7% against 1.1% (n = 1,240 pairs): worse by more than 0.50 pp``."""
    measure = comparison.criterion.measure
    numbers = _numbers(comparison)
    size = f"n = {counted(comparison.pairs, 'pair')}"
    if measure in OF_THE_FLOOR and comparison.noise_pairs:
        size += f" and {counted(comparison.noise_pairs, 'noise pair')}"
    if standing in (CriterionState.PASS, CriterionState.FAIL):
        said = _as_points(comparison, standing) if as_points else _proven(comparison, standing)
    else:
        said = reason
    return f"{TITLES[measure]}: {numbers} ({size}): {said}" if numbers else f"{TITLES[measure]}: {said}"


def _numbers(comparison: Compared) -> str:
    measure, shown = comparison.criterion.measure, (comparison.candidate, comparison.reference)
    if measure is Measure.PAIRS or math.isnan(comparison.candidate):
        return ""
    if measure is Measure.WIN_RATE:
        return value_in_words(comparison.candidate, Unit.FRACTION)
    floor = " of control against itself" if measure in OF_THE_FLOOR else ""
    prefix = f"{comparison.detail} " if comparison.detail else ""
    candidate, reference = (_value(measure, value) for value in shown)
    return f"{prefix}{candidate} against {reference}{floor}"


def _value(measure: Measure, value: float) -> str:
    if math.isnan(value):
        return "unknown"
    if measure is Measure.LATENCY_P95:
        return value_in_words(value, Unit.SECONDS)
    if measure is Measure.COST:
        return f"${value / 1e6:.3g}"
    if measure in (Measure.TOKENS, Measure.SIMILARITY):
        return f"{value:.3g}"
    return value_in_words(value, Unit.FRACTION)


def _proven(comparison: Compared, standing: CriterionState) -> str:
    criterion, passed = comparison.criterion, standing is CriterionState.PASS
    if criterion.measure in (Measure.SIMILARITY, Measure.EQUIVALENT):
        return f"{'at least' if passed else 'less than'} {criterion.written} of that"
    if KIND_OF_LIMIT[criterion.measure] is Kind.RATIO:
        return f"{'below' if passed else 'over'} {criterion.written} times control's"
    points = points_in_words(comparison.limit)
    if criterion.measure is Measure.WIN_RATE:
        return f"not more than {points} below 50%" if passed else f"more than {points} below 50%"
    if criterion.measure is Measure.OPENINGS:
        return f"differ by {'less' if passed else 'more'} than {points}"
    return f"not worse by {points}" if passed else f"worse by more than {points}"


def _as_points(comparison: Compared, standing: CriterionState) -> str:
    criterion = comparison.criterion
    wanted = {
        Measure.ERRORS: "not above",
        Measure.WIN_RATE: "over 50%",
        Measure.PAIRS: f"more than {count_in_words(criterion.limit)} pairs",
        Measure.SIMILARITY: f"over {criterion.written}",
        Measure.EQUIVALENT: f"at least {criterion.written}",
    }.get(criterion.measure, f"below {criterion.written} times control's")
    return f"{wanted}: {'yes' if standing is CriterionState.PASS else 'no'}, as a bare point"
