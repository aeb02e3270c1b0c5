"""From recorded pairs to what each criterion bets on: which pairs count, as what, and against what.

**Who counts.** ``budget`` (money or quota) and ``cancelled`` say nothing about a model: such pairs are left out and
counted. A canary that failed or timed out stays in every denominator: it is an error, not equivalent and not
similar. Refusals, format, language, facts, tool calls and latency take it for no difference, because `errors` must
pass as well. Control's second answers are counted by the same rules, so the floor has the same survivors.

**Errors** are compared with control's second answers, never with its first: a request is shadowed only after control
has answered it, so control's first answers have hardly an error left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from killswitch.shadow.criteria import OF_THE_FLOOR, Criterion, Measure
from killswitch.shadow.evidence.betting import Array, Bets, Excess, Sample
from killswitch.shadow.evidence.columns import FACTS, JSON_STATES, UNKNOWN, Flags, PairColumns, SmallFloats
from killswitch.shadow.evidence.floor import FEWEST_NOISE, matched
from killswitch.shadow.evidence.openings import LEARNING, differing
from killswitch.shadow.evidence.thresholds import FIRST, TAIL, RatioExcess, dearer, slower, slower_anyhow
from killswitch.wording import counted as how_many

MOST_UNKNOWN = 0.10  # where a feature is unknown in more than this part of the pairs, nothing is proven with it
_BROKEN, _INVALID = JSON_STATES.index("broken"), JSON_STATES.index("invalid")
NEVER_CONCURRENT = (
    "never comparable: no pair ran at the same time as control in the same streaming mode; latency_p95: false under"
    " shadow.criteria switches it off"
)


@dataclass(frozen=True, slots=True)
class Compared:
    """One measure of some pairs.

    ``candidate`` and ``reference``: the two numbers that a person reads (rates, means, p95 seconds, micro-dollars);
    NaN where unknown. ``excess``: what is compared with the limit. ``limit``: on the same scale. ``pairs`` and
    ``noise_pairs``: how many were compared. ``why_not``: why nothing can be proven now, "" where it can.
    ``why_no_pass``: why the canary cannot be proven to be within the limit, although it can be proven to be over it.
    ``detail``: words for the sentence.
    """

    criterion: Criterion
    candidate: float
    reference: float
    excess: float
    limit: float
    pairs: int
    noise_pairs: int = 0
    evidence: Bets | None = None
    why_not: str = ""
    why_no_pass: str = ""
    detail: str = ""


def counted(columns: PairColumns) -> Flags:
    """The pairs that say something about a model, (N,)."""
    silent = ("budget", "cancelled")
    return ~(columns.other.has_outcome(*silent) | columns.control.has_outcome(*silent))


def compare(columns: PairColumns, criterion: Criterion) -> Compared:
    """One criterion over counted pairs. `killswitch.shadow.decision` says what follows from it."""
    result = _COMPARE[criterion.measure](columns, criterion)
    if not result.pairs and not result.noise_pairs and criterion.measure is not Measure.WIN_RATE:
        return replace(result, why_not="no pairs")
    if result.why_not:
        return result
    if criterion.measure in OF_THE_FLOOR and result.evidence is None:
        few = f"{result.noise_pairs} noise pairs of {FEWEST_NOISE}" if result.noise_pairs else "no noise pairs"
        return replace(result, why_not=f"{few}: control's own differences are not known")
    return result


def _errors(columns: PairColumns, criterion: Criterion) -> Compared:
    return _of_the_floor(columns, criterion, _failed(columns), np.ones(columns.size, dtype=np.bool_))


def _of_differences(*kinds: str) -> Callable[[PairColumns, Criterion], Compared]:
    def compared(columns: PairColumns, criterion: Criterion) -> Compared:
        found = columns.has_difference(*kinds) & columns.comparable
        return _of_the_floor(columns, criterion, found, _comparable(columns))

    return compared


def _of_the_floor(columns: PairColumns, criterion: Criterion, events: Flags, rows: Flags) -> Compared:
    """A rate of events against the rate among control's second answers."""
    happened, noise = events[rows].astype(np.float64), columns.noise[rows]
    matching = matched(noise)
    evidence = None
    if matching is not None:
        alone = Sample.of(happened[~noise], 0.0, 1.0)
        evidence = Excess(Sample.of(matching.excess(happened), -1.0, 1.0), alone)
    candidate, floor = _mean(happened[~noise]), _mean(happened[noise])
    return Compared(
        criterion,
        candidate,
        floor,
        candidate - floor,
        criterion.limit,
        int((~noise).sum()),
        int(noise.sum()),
        evidence,
    )


def _likeness(columns: PairColumns, criterion: Criterion) -> Compared:
    """Similarity or equivalence: the canary has at least ``limit`` times what control has against itself."""
    of_similarity = criterion.measure is Measure.SIMILARITY
    values = columns.similarity if of_similarity else columns.equivalent
    known = np.isfinite(values) if of_similarity else values != UNKNOWN
    failed, rows = _failed(columns), _comparable(columns)
    unknown = int((rows & ~failed & ~known).sum())
    alike = np.where(failed, 0.0, np.where(known, values, 0.0)).astype(np.float64).clip(0.0, 1.0)
    share_unknown = unknown / max(int(rows.sum()), 1)
    rows &= failed | known
    alike, noise = alike[rows], columns.noise[rows]
    matching, evidence = matched(noise), None
    if matching is not None:
        excess = matching.excess(alike, of_candidate=-1.0, of_noise=-criterion.limit)
        evidence = Excess(Sample.of(excess, -1.0, criterion.limit))
    candidate, floor = _mean(alike[~noise]), _mean(alike[noise])
    return Compared(
        criterion,
        candidate,
        floor,
        criterion.limit * floor - candidate,
        0.0,
        int((~noise).sum()),
        int(noise.sum()),
        evidence,
        _unknown(share_unknown, "similarity" if of_similarity else "equivalence"),
    )


def _refusals(columns: PairColumns, criterion: Criterion) -> Compared:
    control = columns.control.refused | columns.control.has_outcome("refused")
    other = columns.other.refused | columns.other.has_outcome("refused")
    return _paired(columns, criterion, control, other)


def _format(columns: PairColumns, criterion: Criterion) -> Compared:
    """JSON that is broken or invalid, or an answer that is cut at its limit of tokens.

    Where it is not known of both sides whether they were cut, only the JSON is compared.
    """
    known = (columns.control.cut != UNKNOWN) & (columns.other.cut != UNKNOWN)
    control, other = (
        (side.json == _BROKEN) | (side.json == _INVALID) | ((side.cut == 1) & known)
        for side in (columns.control, columns.other)
    )
    unknown = 0.0
    if not known.all():
        answered = _answered(columns) & ~columns.noise
        unknown = int((answered & ~known).sum()) / max(int(answered.sum()), 1)
    return replace(
        _paired(columns, criterion, control, other),
        why_no_pass=_unknown(unknown, "whether an answer was cut (its finish reason)"),
    )


def _paired(columns: PairColumns, criterion: Criterion, control: Flags, other: Flags) -> Compared:
    """An event of the canary against the same event of control, on the same requests."""
    rows = ~columns.noise
    both = _answered(columns) & rows
    worse, better = int((other & ~control & both).sum()), int((control & ~other & both).sum())
    pairs = int(rows.sum())
    evidence = Excess(Sample.of_signs(better, pairs - worse - better, worse))
    candidate, reference = (_share(int((side & both).sum()), pairs) for side in (other, control))
    return Compared(criterion, candidate, reference, candidate - reference, criterion.limit, pairs, evidence=evidence)


def _openings(columns: PairColumns, criterion: Criterion) -> Compared:
    rows = ~columns.noise & _answered(columns)
    sample, common = differing(columns.other.opening[rows], columns.control.opening[rows], columns.openings)
    return Compared(
        criterion,
        candidate=common.candidate if common else np.nan,
        reference=common.control if common else np.nan,
        excess=sample.mean,
        limit=criterion.limit,
        pairs=int(rows.sum()),
        evidence=Excess(sample),
        why_not=_few(int(rows.sum()), LEARNING),
        detail=f'"{common.words}"' if common else "",
    )


def _latency(columns: PairColumns, criterion: Criterion) -> Compared:
    """Pairs that ran at once in one mode; without any, both p95s are shown and nothing is proven."""
    wanted = ~columns.noise & columns.control.has_outcome("ok", "refused")
    failed = _failed(columns)
    everyone = wanted & _a_time(columns.control.seconds) & (failed | _a_time(columns.other.seconds))
    unknown = 1.0 - _share(int(everyone.sum()), int(wanted.sum())) if wanted.any() else 0.0
    seconds = np.where(failed, np.nan, columns.other.seconds)[everyone].astype(np.float64)
    theirs, at_once = columns.control.seconds[everyone].astype(np.float64), columns.concurrent[everyone]
    shown = at_once if at_once.any() else np.ones_like(at_once)
    candidate, control = seconds[shown], theirs[shown]
    pairs = int(shown.sum())
    slow = [_p95(candidate[np.isfinite(candidate)]), _p95(control)]
    everyone_else = None if shown.all() else slower_anyhow(seconds, theirs, at_once)
    evidence = RatioExcess(slower(candidate, control), everyone_else)
    return Compared(
        criterion,
        candidate=slow[0],
        reference=slow[1],
        excess=_share(slow[0], slow[1]),
        limit=criterion.limit,
        pairs=pairs,
        evidence=evidence if at_once.any() else None,
        why_not=(_unknown(unknown, "the time") or _few(pairs, FIRST))
        if at_once.any() or not pairs
        else NEVER_CONCURRENT,
    )


def _a_time(seconds: SmallFloats) -> Flags:
    """Where it is known how long an answer took; a negative time is of a clock that was set."""
    known: Flags = np.isfinite(seconds) & (seconds >= 0)
    return known


def _p95(seconds: Array) -> float:
    return float(np.quantile(seconds, TAIL, method="inverted_cdf")) if seconds.size else np.nan


def _spent(name: str) -> Callable[[PairColumns, Criterion], Compared]:
    def compared(columns: PairColumns, criterion: Criterion) -> Compared:
        rows = ~columns.noise & _answered(columns)
        candidate, control = getattr(columns.other, name), getattr(columns.control, name)
        known = rows & np.isfinite(candidate) & np.isfinite(control) & (candidate >= 0) & (control >= 0)
        mine, theirs = candidate[known].astype(np.float64), control[known].astype(np.float64)
        pairs = int(known.sum())
        unknown = 1.0 - _share(pairs, int(rows.sum())) if rows.any() else 0.0
        return Compared(
            criterion,
            _mean(mine),
            _mean(theirs),
            _share(_mean(mine), _mean(theirs)),
            criterion.limit,
            pairs,
            evidence=RatioExcess(dearer(mine, theirs)),
            why_not=_unknown(unknown, "cost" if name == "cost_micros" else "usage") or _few(pairs, FIRST),
        )

    return compared


def _win_rate(columns: PairColumns, criterion: Criterion) -> Compared:
    rows = ~columns.noise & np.isfinite(columns.win)
    wins = columns.win[rows].astype(np.float64).clip(0.0, 1.0)
    rate = _mean(wins)
    return Compared(
        criterion,
        candidate=rate,
        reference=0.5,
        excess=0.5 - rate,
        limit=criterion.limit,
        pairs=int(rows.sum()),
        evidence=Excess(Sample.of(0.5 - wins, -0.5, 0.5)),
        why_not="" if rows.any() else "no pair was judged",
    )


def _pairs(columns: PairColumns, criterion: Criterion) -> Compared:
    pairs = int((~columns.noise).sum())
    return Compared(criterion, float(pairs), np.nan, float(pairs), criterion.limit, pairs)


_COMPARE: Mapping[Measure, Callable[[PairColumns, Criterion], Compared]] = {
    Measure.LATENCY_P95: _latency,
    Measure.ERRORS: _errors,
    Measure.WIN_RATE: _win_rate,
    Measure.SIMILARITY: _likeness,
    Measure.PAIRS: _pairs,
    Measure.EQUIVALENT: _likeness,
    Measure.REFUSALS: _refusals,
    Measure.FACTS: _of_differences(*FACTS),
    Measure.TOOL_CALLS: _of_differences("tool_call"),
    Measure.FORMAT: _format,
    Measure.LANGUAGE: _of_differences("language"),
    Measure.OPENINGS: _openings,
    Measure.COST: _spent("cost_micros"),
    Measure.TOKENS: _spent("output_tokens"),
}


def _failed(columns: PairColumns) -> Flags:
    """Where the other answer did not come."""
    return columns.other.has_outcome("error", "timeout")


def _answered(columns: PairColumns) -> Flags:
    answers = ("ok", "refused")
    return columns.other.has_outcome(*answers) & columns.control.has_outcome(*answers)


def _comparable(columns: PairColumns) -> Flags:
    """Compared answers, and those of a model that gave none where control did."""
    return columns.comparable | (_failed(columns) & columns.control.has_outcome("ok", "refused"))


def _unknown(share: float, what: str) -> str:
    return f"{what} is unknown in {share:.0%} of the pairs" if share > MOST_UNKNOWN else ""


def _few(pairs: int, learned_from: int) -> str:
    """The first pairs only teach the test what to count."""
    return "" if pairs > learned_from else f"{how_many(pairs, 'pair')}; the first {learned_from} are learned from"


def _mean(numbers: Array) -> float:
    return float(numbers.mean()) if numbers.size else np.nan


def _share(part: float, of: float) -> float:
    """NaN where the second is 0 or unknown, or both are infinite."""
    return part / of if of > 0 and np.isfinite(of) else np.nan
