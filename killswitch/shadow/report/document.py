"""What the report says, as one frozen value that is made of recorded pairs alone: the same records, the same bytes.

No clock is read. Counts are whole numbers, shares are made from counts, and None means unknown, never 0. ``candidate``
is the canary's answer of a canary pair; ``noise`` is control's second answer to the same request, the noise floor.
Times are in seconds, money in micro-dollars, points in time in Unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from killswitch.shadow.users_of_pairs import UsersOfPairs

FORMAT = 1


SHORTEST_PERIOD = 600.0  # seconds; from less, no rate of requests is worth guessing


@dataclass(frozen=True, slots=True)
class SharePart:
    """``events`` of ``trials``."""

    events: int
    trials: int

    @property
    def share(self) -> float | None:
        """0 to 1; None without trials."""
        return self.events / self.trials if self.trials else None


@dataclass(frozen=True, slots=True)
class OverFloor:
    """How often something is seen in canary pairs, and in pairs of control with itself."""

    name: str
    candidate: SharePart
    noise: SharePart

    @property
    def excess(self) -> float | None:
        """The canary's share less the noise floor, -1 to 1; None where either is unknown."""
        shares = (self.candidate.share, self.noise.share)
        return None if shares[0] is None or shares[1] is None else shares[0] - shares[1]


@dataclass(frozen=True, slots=True)
class ThreeWays:
    """One share for control, the canary, and control's second answer."""

    name: str
    control: SharePart
    candidate: SharePart
    noise: SharePart


@dataclass(frozen=True, slots=True)
class CriterionRow:
    """One criterion of the decision. Odds are evidence (e-values): 100 says that chance alone shows it 1 time in 100.

    ``standing``: PASS, FAIL, NOT_YET or NOT_GATED. ``candidate``, ``reference``: in the measure's own unit; seconds,
    micro-dollars, a share. ``odds_within`` passes at ``odds_to_pass``, ``odds_worse`` fails at ``odds_to_fail``.
    ``more_pairs``: how many more it needs; None where it is decided or where that is unknown.
    """

    measure: str
    title: str
    standing: str
    candidate: float | None
    reference: float | None
    limit: str
    pairs: int
    noise_pairs: int
    odds_within: float | None
    odds_to_pass: float | None
    odds_worse: float | None
    odds_to_fail: float | None
    more_pairs: int | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Decided:
    """GO, NO_GO or NOT_YET, as `killswitch.shadow.decision` decides it from the same records.

    ``wrong_go``, ``wrong_no_go``: the budgets, over the whole of the stage, however often one looks.
    ``lost_share``: the part of the sampled requests that left no pair and may hide bad answers.
    ``users``: how the canary pairs are spread over users; where one made too many of them there is no GO.
    """

    verdict: str
    sentence: str
    more_pairs: int | None
    as_points: bool
    wrong_go: float
    wrong_no_go: float
    lost_share: float
    criteria: tuple[CriterionRow, ...]
    users: UsersOfPairs | None = None


@dataclass(frozen=True, slots=True)
class RecordedPeriod:
    """Which records these are. ``since`` and ``until``: the oldest and the newest record, or what was asked for."""

    since: float | None
    until: float | None
    oldest: float | None
    newest: float | None
    generations: tuple[int, ...]
    record_formats: tuple[int, ...]
    control_models: tuple[str, ...]
    canary_models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PairCounts:
    """``sampled``: asked and dropped. ``dropped`` is None if the records say nothing of drops.

    ``not_compared``, ``noise_not_compared``: reason to pairs. ``left_out``: records of the period that are in no other
    number, by reason.
    """

    sampled: int | None
    asked: int
    compared: int
    not_compared: Mapping[str, int]
    dropped: Mapping[str, int] | None
    noise_asked: int
    noise_compared: int
    noise_not_compared: Mapping[str, int]
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of ``known`` answers; ``unknown`` more have no such number. All in the measure's unit."""

    known: int
    unknown: int
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Spread:
    """A measure's distribution over canary pairs: both sides' histograms and how far they are apart.

    ``edges``: N + 1 rising edges of N bins, in the measure's unit; a bin holds ``edge <= value < next edge``.
    ``control_bins``, ``candidate_bins``: N counts. ``wasserstein``: the area between both distribution functions, in
    the measure's unit; ``wasserstein_noise``: the same for control and its second answer.
    """

    name: str
    unit: str
    edges: tuple[float, ...]
    control_bins: tuple[int, ...]
    candidate_bins: tuple[int, ...]
    control: Quantiles
    candidate: Quantiles
    wasserstein: float | None
    wasserstein_noise: float | None

    @property
    def shift_p50(self) -> float | None:
        return _less(self.candidate.p50, self.control.p50)

    @property
    def shift_p95(self) -> float | None:
        return _less(self.candidate.p95, self.control.p95)


@dataclass(frozen=True, slots=True)
class BothWays:
    """Of which side something is true, among pairs that both answered.

    ``noise_*``: the same between control and its second answer. ``unknown``: pairs in no other number, because it is
    not known of both sides.
    """

    pairs: int
    both: int
    control_only: int
    candidate_only: int
    noise_pairs: int
    noise_both: int
    noise_first_only: int
    noise_second_only: int
    unknown: int = 0
    noise_unknown: int = 0


@dataclass(frozen=True, slots=True)
class OpeningExample:
    pair: str
    control: str
    candidate: str


@dataclass(frozen=True, slots=True)
class Tone:
    """The first words of answers. ``by_control``, ``by_candidate``: the most frequent openings of each, with shares.

    ``e_value``: evidence that both distributions differ, valid at every look; None where it was not computed.
    ``grown``: the opening whose share grew most; ``examples``: pairs in which only the canary opened with it.
    """

    by_control: tuple[ThreeWays, ...]
    by_candidate: tuple[ThreeWays, ...]
    e_value: float | None
    needed: float | None
    sentence: str
    grown: str | None
    examples: tuple[OpeningExample, ...]


@dataclass(frozen=True, slots=True)
class SecondsOfBoth:
    """Seconds of control and the canary over one kind of pairs. Only ``concurrent`` pairs may be compared."""

    name: str
    control: Quantiles
    candidate: Quantiles


@dataclass(frozen=True, slots=True)
class Cost:
    """Micro-dollars a call, over pairs whose cost is known on both sides, and for all requests of a month.

    ``unknown_pairs``: pairs without a cost on a side. ``month_micros`` is None where the requests of a month are not
    known; ``basis`` says where they are from.
    """

    pairs: int
    unknown_pairs: int
    control_micros: float | None
    candidate_micros: float | None
    requests_per_month: float | None
    month_control_micros: float | None
    month_candidate_micros: float | None
    basis: str


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One prompt class. ``worst_case``: a lower bound (95 %) of its excess of material differences over the floor.

    The floor is the class's own from 30 noise pairs on, else that of all classes (``own_floor`` False).
    ``standing`` and ``sentence`` are the decision's, "" where it judges no class. ``must_pass``: it can hold up GO.
    """

    name: str
    standing: str
    must_pass: bool
    sentence: str
    different: OverFloor
    own_floor: bool
    refusals: OverFloor
    errors: SharePart
    main_difference: str
    worst_case: float | None


@dataclass(frozen=True, slots=True)
class Example:
    """A pair that differs materially. Texts are None where none were kept, and are cut after `EXAMPLE_CHARACTERS`."""

    pair: str
    at: float
    prompt_class: str
    differences: tuple[str, ...]
    similarity: float | None
    prompt: str | None
    control: str | None
    candidate: str | None


@dataclass(frozen=True, slots=True)
class JudgeSaid:
    """What a judge said. ``gates``: its win rate may decide. ``sentences``: its counts and agreement, and why not."""

    win_rate: float | None
    gates: bool
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """``measures``: names of the measures of likeness; ``measure_agreement``: how each agrees with labelled pairs.

    ``cut``: answers that their limit of tokens ended. ``texts_left_out``: texts were kept, and too large to be read.
    """

    version: str
    rollout: str
    period: RecordedPeriod
    measures: tuple[str, ...]
    decided: Decided
    counts: PairCounts
    agreement: tuple[OverFloor, ...]
    differences: tuple[OverFloor, ...]
    refusals: BothWays
    cut: BothWays
    outcomes: tuple[ThreeWays, ...]
    tone: Tone
    formats: tuple[ThreeWays, ...]
    languages: tuple[ThreeWays, ...]
    spreads: tuple[Spread, ...]
    timings: tuple[SecondsOfBoth, ...]
    cost: Cost
    classes: tuple[ClassRow, ...]
    classes_left_out: int
    examples: tuple[Example, ...]
    texts_left_out: bool
    judge: JudgeSaid | None
    measure_agreement: tuple[str, ...]

    @property
    def more_seconds(self) -> float | None:
        """How long ``decided.more_pairs`` take at this period's pairs a second; None where one of both is unknown."""
        more, oldest, newest = self.decided.more_pairs, self.period.oldest, self.period.newest
        if more is None or oldest is None or newest is None or newest - oldest < SHORTEST_PERIOD:
            return None
        return more * (newest - oldest) / self.counts.asked if self.counts.asked else None


def to_document(report: ShadowReport) -> dict[str, Any]:
    """The report as JSON holds it. Shares and shifts are written out next to the counts they are made of."""
    return {"format": FORMAT, **_written(report, asdict(report))}


_DERIVED = {
    ShadowReport: ("more_seconds",),
    SharePart: ("share",),
    UsersOfPairs: ("share", "sentence"),
    OverFloor: ("excess",),
    Spread: ("shift_p50", "shift_p95"),
}


def _written(value: Any, plain: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        found = {name: _written(getattr(value, name), plain[name]) for name in plain}
        return found | {name: getattr(value, name) for name in _DERIVED.get(type(value), ())}
    if isinstance(value, tuple):
        return [_written(one, other) for one, other in zip(value, plain, strict=True)]
    if isinstance(value, Mapping):
        return {key: value[key] for key in sorted(value)}
    return value


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
