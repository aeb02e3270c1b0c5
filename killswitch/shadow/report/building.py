"""Makes the report from the view `pairs` and the decision: every number is counted here or bound by its query."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from killswitch import __version__
from killswitch.shadow.evidence.columns import PairColumns
from killswitch.shadow.report import queries
from killswitch.shadow.report.distributions import quantiles, spread
from killswitch.shadow.report.document import (
    SHORTEST_PERIOD,
    BothWays,
    ClassRow,
    Cost,
    Decided,
    Example,
    JudgeSaid,
    OpeningExample,
    OverFloor,
    PairCounts,
    RecordedPeriod,
    SecondsOfBoth,
    ShadowReport,
    SharePart,
    Spread,
    ThreeWays,
    Tone,
)
from killswitch.shadow.report.tone import openings_of
from killswitch.timestamps import DAY
from killswitch.wording import duration_in_words

EXAMPLES_OF_A_KIND = 3
EXAMPLE_CHARACTERS = 4_000
OPENING_EXAMPLES = 5
MONTH = 30 * DAY
OWN_FLOOR = 30  # noise pairs of a class, from which on its own floor is used
_Z = 1.96  # of a 95 % interval
_OUTCOMES = ("ok", "refused", "error", "timeout", "budget", "cancelled")
_MILLISECONDS = 1000


@dataclass(frozen=True, slots=True)
class ToneEvidence:
    """What the statistics say of the openings: an e-value, how much is needed, and the sentence."""

    e_value: float | None = None
    needed: float | None = None
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class ClassStanding:
    """What the decision says of one prompt class."""

    standing: str = ""
    must_pass: bool = False
    sentence: str = ""


_NOT_JUDGED = ClassStanding()


@dataclass(frozen=True, slots=True)
class Context:
    """What the pairs do not hold, or what was decided from them.

    ``since``, ``until``: as asked, in Unix seconds, None for all there is. ``dropped``: reason to requests, None where
    nothing recorded it. ``percent``: of control's requests sampled, 0 to 100. ``requests_per_month``: control's.
    ``measures``: the measures of equivalence that the records were made with. ``classes``: by name.
    """

    rollout: str
    decided: Decided
    since: float | None = None
    until: float | None = None
    dropped: Mapping[str, int] | None = None
    percent: float | None = None
    requests_per_month: float | None = None
    measures: tuple[str, ...] = ()
    classes: Mapping[str, ClassStanding] = field(default_factory=dict)
    tone: ToneEvidence = field(default_factory=ToneEvidence)
    examples: tuple[Example, ...] = ()
    texts_left_out: bool = False
    judge: JudgeSaid | None = None
    measure_agreement: tuple[str, ...] = ()


def report_of(connection: Any, columns: PairColumns, context: Context) -> ShadowReport:
    """The report of all pairs in the view `pairs` of the connection, which ``columns`` hold, too."""
    period = _period(connection, context)
    counts, agreement = _counted(connection, context)
    judged = {name: part for row in agreement for name, part in (("candidate", row.candidate), ("noise", row.noise))}
    outcomes = queries.outcomes(connection)
    rows, left_out = _classes(connection, context, agreement[-1].noise)
    return ShadowReport(
        version=__version__,
        rollout=context.rollout,
        period=period,
        measures=context.measures,
        decided=context.decided,
        counts=counts,
        agreement=agreement,
        differences=_differences(connection, judged["candidate"].trials, judged["noise"].trials),
        refusals=_refusals(outcomes),
        cut=_both_ways(queries.cut(connection)),
        outcomes=_outcomes(outcomes),
        tone=_tone(connection, columns, context.tone),
        formats=_formats(connection),
        languages=_languages(connection),
        spreads=_spreads(connection),
        timings=_timings(connection),
        cost=_cost(connection, context, counts, period),
        classes=rows,
        classes_left_out=left_out,
        examples=context.examples,
        texts_left_out=context.texts_left_out,
        judge=context.judge,
        measure_agreement=context.measure_agreement,
    )


def _period(connection: Any, context: Context) -> RecordedPeriod:
    found = queries.period(connection)
    since = found["oldest"] if context.since is None else context.since
    until = found["newest"] if context.until is None else context.until
    return RecordedPeriod(since=since, until=until, **found)


def _counted(connection: Any, context: Context) -> tuple[PairCounts, tuple[OverFloor, ...]]:
    """How many pairs, and the three shares: identical, equivalent (the identical ones, too), materially different."""
    by_kind = queries.agreement(connection)
    asked, compared, judged, identical, equivalent = by_kind.get("candidate", (0,) * 5)
    noise_asked, noise_compared, noise_judged, noise_identical, noise_equivalent = by_kind.get("noise", (0,) * 5)
    reasons = queries.not_compared(connection)
    counts = PairCounts(
        sampled=None if context.dropped is None else asked + sum(context.dropped.values()),
        asked=asked,
        compared=compared,
        not_compared=reasons.get("candidate", {}),
        dropped=context.dropped,
        noise_asked=noise_asked,
        noise_compared=noise_compared,
        noise_not_compared=reasons.get("noise", {}),
        left_out=queries.left_out(connection),
    )
    events = {
        "identical": (identical, noise_identical),
        "equivalent": (equivalent, noise_equivalent),
        "materially different": (judged - equivalent, noise_judged - noise_equivalent),
    }
    return counts, tuple(
        OverFloor(name, SharePart(one, judged), SharePart(other, noise_judged)) for name, (one, other) in events.items()
    )


def _differences(connection: Any, judged: int, noise_judged: int) -> tuple[OverFloor, ...]:
    """Each kind of difference, the one that is most above its floor first."""
    found: dict[str, Counter[str]] = {"candidate": Counter(), "noise": Counter()}
    for kind, name, pairs in queries.differences(connection):
        found.setdefault(kind, Counter())[name] = pairs
    rows = [
        OverFloor(name, SharePart(found["candidate"][name], judged), SharePart(found["noise"][name], noise_judged))
        for name in sorted({*found["candidate"], *found["noise"]})
    ]
    return tuple(sorted(rows, key=lambda row: -(row.excess if row.excess is not None else row.candidate.share or 0.0)))


_Outcome = tuple[str, str, str, bool, bool, int]


def _refusals(rows: Iterable[_Outcome]) -> BothWays:
    return _both_ways((row[0], *row[3:]) for row in rows if {row[1], row[2]} <= {"ok", "refused"})


def _both_ways(rows: Iterable[tuple[str, bool | None, bool | None, int]]) -> BothWays:
    """Each row: the kind of pair, whether it is true of either side (None where that is not known), and the pairs."""
    seen: Counter[tuple[str, bool | None, bool | None]] = Counter()
    for kind, control, other, pairs in rows:
        known = control is not None and other is not None
        seen[kind, control if known else None, other if known else None] += pairs
    candidate, noise = (
        (
            sum(seen[kind, one, two] for one in (True, False) for two in (True, False)),
            seen[kind, True, True],
            seen[kind, True, False],
            seen[kind, False, True],
        )
        for kind in ("candidate", "noise")
    )
    return BothWays(*candidate, *noise, unknown=seen["candidate", None, None], noise_unknown=seen["noise", None, None])


def _outcomes(rows: Iterable[_Outcome]) -> tuple[ThreeWays, ...]:
    """How control, the canary and control's second call ended."""
    seen: Counter[tuple[str, str]] = Counter()
    for kind, control, other, _, _, pairs in rows:
        seen[f"{kind} control", control] += pairs
        seen[f"{kind} other", other] += pairs
    totals = Counter[str]()
    for (series, _), pairs in seen.items():
        totals[series] += pairs
    names = [*_OUTCOMES, *sorted({name for _, name in seen} - set(_OUTCOMES))]
    each = ("candidate control", "candidate other", "noise other")
    return tuple(ThreeWays(name, *(SharePart(seen[one, name], totals[one]) for one in each)) for name in names)


def _tone(connection: Any, columns: PairColumns, evidence: ToneEvidence) -> Tone:
    found = openings_of(columns)
    rows = queries.opening_examples(connection, found.grown_texts, most=OPENING_EXAMPLES)
    return Tone(
        by_control=found.by_control,
        by_candidate=found.by_candidate,
        e_value=evidence.e_value,
        needed=evidence.needed,
        sentence=evidence.sentence,
        grown=found.grown,
        examples=tuple(OpeningExample(*row) for row in rows),
    )


def _three_ways(rows: Iterable[tuple[str, int, int, int]], totals: tuple[int, int, int]) -> tuple[ThreeWays, ...]:
    return tuple(
        ThreeWays(name, *(SharePart(number, total) for number, total in zip(numbers, totals, strict=True)))
        for name, *numbers in rows
    )


def _formats(connection: Any) -> tuple[ThreeWays, ...]:
    by_kind = queries.formats(connection)
    nothing = dict.fromkeys(("", *queries.FORMAT_FEATURES), (0, 0))
    candidate, noise = by_kind.get("candidate", nothing), by_kind.get("noise", nothing)
    return tuple(
        ThreeWays(
            name,
            SharePart(candidate[name][0], candidate[""][0]),
            SharePart(candidate[name][1], candidate[""][1]),
            SharePart(noise[name][1], noise[""][1]),
        )
        for name in queries.FORMAT_FEATURES
    )


def _languages(connection: Any) -> tuple[ThreeWays, ...]:
    totals = {kind: counts[""][1] for kind, counts in queries.formats(connection).items()}
    candidate, noise = totals.get("candidate", 0), totals.get("noise", 0)
    return _three_ways(queries.languages(connection), (candidate, candidate, noise))


def _spreads(connection: Any) -> tuple[Spread, ...]:
    found = []
    for measure in ("output tokens", "characters", "words"):
        sides = queries.tallies(connection, measure)
        noise = (sides.noise_first, sides.noise_second)
        found.append(spread(measure, sides.control, sides.candidate, noise))
    sides = queries.tallies(connection, "seconds", concurrent=True)
    if sides.control.known:
        noise = (sides.noise_first, sides.noise_second)
        found.append(spread("seconds", sides.control, sides.candidate, noise, unit="s", parts=_MILLISECONDS))
    return tuple(found)


def _timings(connection: Any) -> tuple[SecondsOfBoth, ...]:
    """Pairs that ran at once can be compared; the others are shown apart."""
    found = []
    for measure in ("seconds", "seconds to the first token"):
        for concurrent, when in ((True, "at the same time"), (False, "one after the other")):
            sides = queries.tallies(connection, measure, concurrent=concurrent)
            if sides.control.known or sides.candidate.known:
                both = (quantiles(side, _MILLISECONDS) for side in (sides.control, sides.candidate))
                found.append(SecondsOfBoth(f"{measure}, {when}", *both))
    return tuple(found)


def _cost(connection: Any, context: Context, counts: PairCounts, period: RecordedPeriod) -> Cost:
    pairs, unknown, control, candidate = queries.costs(connection)
    requests, basis = _requests_per_month(context, counts, period)
    means = [total / pairs if pairs else None for total in (control, candidate)]
    months = [None if mean is None or requests is None else mean * requests for mean in means]
    return Cost(pairs, unknown, means[0], means[1], requests, months[0], months[1], basis)


def _requests_per_month(context: Context, counts: PairCounts, period: RecordedPeriod) -> tuple[float | None, str]:
    """Control's requests in 30 days, and where the number is from; None if it is not known."""
    if context.requests_per_month is not None:
        return context.requests_per_month, "given with --requests-per-month"
    if not context.percent:
        return None, "unknown: give --requests-per-month, or --percent, the share of requests that is sampled"
    if period.since is None or period.until is None or period.until - period.since < SHORTEST_PERIOD:
        return None, f"unknown: fewer than {duration_in_words(SHORTEST_PERIOD)} of records; give --requests-per-month"
    sampled, seconds = counts.sampled or counts.asked, period.until - period.since
    basis = f"{sampled:,} requests sampled in {duration_in_words(seconds)} at {context.percent:g} %"
    return sampled / (context.percent / 100.0) * MONTH / seconds, basis


def _classes(connection: Any, context: Context, floor: SharePart) -> tuple[tuple[ClassRow, ...], int]:
    """Worst first: by what the class's excess is at least, so that one pair does not lead the list."""
    rows, left_out = queries.classes(connection)
    found = []
    for row in rows:
        different, own = SharePart(row[2], row[1]), SharePart(row[4], row[3])
        standing = context.classes.get(row[0], _NOT_JUDGED)
        used = own if own.trials >= OWN_FLOOR else floor
        found.append(
            ClassRow(
                name=row[0],
                standing=standing.standing,
                must_pass=standing.must_pass,
                sentence=standing.sentence,
                different=OverFloor("materially different", different, used),
                own_floor=used is own,
                refusals=OverFloor("refused", SharePart(row[6], row[5]), SharePart(row[8], row[7])),
                errors=SharePart(row[10], row[9]),
                main_difference=row[11],
                worst_case=_least_excess(different, used),
            )
        )
    found.sort(
        key=lambda one: (-math.inf if one.worst_case is None else one.worst_case, one.different.candidate.trials)
    )
    return tuple(reversed(found)), left_out


def _badness(row: ClassRow) -> tuple[bool, float, str]:
    return row.standing != "FAIL", math.inf if row.worst_case is None else -row.worst_case, row.name


def _least_excess(candidate: SharePart, floor: SharePart) -> float | None:
    """The lower end of a 95 % interval of both shares' difference (Newcombe 1998, method 10); None without trials."""
    if candidate.share is None or floor.share is None:
        return None
    low, _ = _wilson(candidate)
    _, high = _wilson(floor)
    away = math.hypot(candidate.share - low, high - floor.share)
    return candidate.share - floor.share - away


def _wilson(part: SharePart) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    share, trials, z = part.share or 0.0, part.trials, _Z
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def examples_of(connection: Any) -> tuple[tuple[Example, ...], bool]:
    """Pairs to look at, and whether their texts were too large to be read. To be asked first: texts need memory."""
    rows, read = queries.examples(connection, each=EXAMPLES_OF_A_KIND, characters=EXAMPLE_CHARACTERS)
    found = tuple(
        Example(
            pair=row["pair"],
            at=row["at"],
            prompt_class=row["prompt_class"] or "",
            differences=tuple(row["differences"] or ()),
            similarity=row["similarity"],
            prompt=_cut(row["prompt"]),
            control=_cut(row["control"]),
            candidate=_cut(row["candidate"]),
        )
        for row in rows
    )
    return found, not read


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= EXAMPLE_CHARACTERS else f"{text[:EXAMPLE_CHARACTERS]}…"
