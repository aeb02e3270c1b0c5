"""What a canary must show in shadow mode before any user sees it: the criteria, their margins and their budget.

Each criterion is a non-inferiority test with a stated margin. Taken as bare points ("win rate > 50 %", "error rate not
above") they are coin flips for a canary that is as good as control; ``as_points: true`` compares so all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from enum import StrEnum

from killswitch.errors import BadRules
from killswitch.model import Rollout
from killswitch.rules.units import Kind, UnitError, format_percent, format_points, format_ratio, parse_as, shown


class Measure(StrEnum):
    """What a criterion compares. The value is its key in a file."""

    LATENCY_P95 = "latency_p95"
    ERRORS = "errors"
    WIN_RATE = "win_rate"
    SIMILARITY = "similarity"
    PAIRS = "pairs"
    EQUIVALENT = "equivalent"
    REFUSALS = "refusals"
    FACTS = "facts"
    TOOL_CALLS = "tool_calls"
    FORMAT = "format"
    LANGUAGE = "language"
    OPENINGS = "openings"
    COST = "cost"
    TOKENS = "tokens"


# Compared with control's second answers (noise pairs): without them these are never judged.
OF_THE_FLOOR = frozenset(
    {
        Measure.ERRORS,
        Measure.SIMILARITY,
        Measure.EQUIVALENT,
        Measure.FACTS,
        Measure.TOOL_CALLS,
        Measure.LANGUAGE,
    }
)
# What is usually compared as bare points: ``as_points`` compares these and no other.
OF_THE_MISSION = (
    Measure.LATENCY_P95,
    Measure.ERRORS,
    Measure.WIN_RATE,
    Measure.SIMILARITY,
    Measure.PAIRS,
    Measure.EQUIVALENT,
)
# Judged in each prompt class, too.
BY_CLASS = (
    Measure.ERRORS,
    Measure.REFUSALS,
    Measure.FACTS,
    Measure.TOOL_CALLS,
    Measure.FORMAT,
    Measure.LANGUAGE,
    Measure.EQUIVALENT,
)
TITLES: Mapping[Measure, str] = {
    Measure.LATENCY_P95: "p95 latency",
    Measure.ERRORS: "errors",
    Measure.WIN_RATE: "win rate",
    Measure.SIMILARITY: "similarity",
    Measure.PAIRS: "pairs",
    Measure.EQUIVALENT: "equivalent answers",
    Measure.REFUSALS: "refusals",
    Measure.FACTS: "changed facts",
    Measure.TOOL_CALLS: "other tool calls",
    Measure.FORMAT: "broken format",
    Measure.LANGUAGE: "other language",
    Measure.OPENINGS: "openings",
    Measure.COST: "cost a call",
    Measure.TOKENS: "output tokens",
}
# How a limit is written: 1.2 is a ratio to control, 0.5pp points above control or the floor, 70% a share.
KIND_OF_LIMIT: Mapping[Measure, Kind] = {
    Measure.LATENCY_P95: Kind.RATIO,
    Measure.ERRORS: Kind.POINTS,
    Measure.WIN_RATE: Kind.POINTS,
    Measure.SIMILARITY: Kind.RATIO,
    Measure.PAIRS: Kind.RATIO,
    Measure.EQUIVALENT: Kind.PERCENT,
    Measure.REFUSALS: Kind.POINTS,
    Measure.FACTS: Kind.POINTS,
    Measure.TOOL_CALLS: Kind.POINTS,
    Measure.FORMAT: Kind.POINTS,
    Measure.LANGUAGE: Kind.POINTS,
    Measure.OPENINGS: Kind.POINTS,
    Measure.COST: Kind.RATIO,
    Measure.TOKENS: Kind.RATIO,
}
MOST_OF_A_RATIO = 100.0


@dataclass(frozen=True, slots=True)
class Criterion:
    """One comparison with its limit.

    ``limit``, by measure: latency, cost and tokens: the canary is below this multiple of control. ``similarity``
    and ``equivalent``: the canary has at least this share of what control has against itself. ``win_rate``: this
    far below 50 % at most. ``pairs``: as points alone, more than this many. All others: at most this much above
    control, or above the floor, as a fraction (0.005 is 0.5 points).
    ``weight``: its part of the budget for a wrong NO_GO, relative to the others.
    """

    measure: Measure
    limit: float
    weight: float = 1.0

    @property
    def written(self) -> str:
        """The limit as a person writes it: ``0.5pp``."""
        kind = KIND_OF_LIMIT[self.measure]
        if kind is Kind.POINTS:
            return format_points(self.limit)
        return format_percent(self.limit) if kind is Kind.PERCENT else format_ratio(self.limit)


# What hurts most and shows soonest has the most of the budget, so it is seen with the fewest pairs.
DEFAULTS: tuple[Criterion, ...] = (
    Criterion(Measure.REFUSALS, 0.005, 6.0),
    Criterion(Measure.ERRORS, 0.005, 6.0),
    Criterion(Measure.FACTS, 0.01, 2.0),
    Criterion(Measure.EQUIVALENT, 0.70, 1.0),
    Criterion(Measure.SIMILARITY, 0.95, 1.0),
    Criterion(Measure.FORMAT, 0.005, 1.0),
    Criterion(Measure.LANGUAGE, 0.005, 1.0),
    Criterion(Measure.TOOL_CALLS, 0.02, 1.0),
    Criterion(Measure.OPENINGS, 0.20, 1.0),
    Criterion(Measure.LATENCY_P95, 1.2, 1.0),
    Criterion(Measure.PAIRS, 10_000, 0.0),
)
# Limits of what is off unless it is asked for, as `criteria_from` suggests them.
OPTIONAL: tuple[Criterion, ...] = (
    Criterion(Measure.WIN_RATE, 0.05, 1.0),
    Criterion(Measure.COST, 1.2, 1.0),
    Criterion(Measure.TOKENS, 1.2, 1.0),
)


@dataclass(frozen=True, slots=True)
class Criteria:
    """All criteria and the budget of their mistakes, over the whole of a shadow stage, however often one looks.

    ``wrong_go``: the chance of GO for a canary that is beyond a margin. GO needs every criterion, so this is not
    split. ``wrong_no_go``: the chance of NO_GO for a canary within all margins. It is split: ``classes_part`` of it
    over prompt classes, the rest over the criteria by weight. ``class_share``: a class that holds at least this part of
    the pairs must pass, too. ``class_margin``: a margin in points is this many times as wide within a class.
    ``lost_share``: no GO where more than this part of the sampled requests left no pair for a reason that may hide bad
    answers. ``missing_share``: nor where more than this part is missing for whatever reason. ``one_user``: nor where
    one user made more than this part of the pairs, because these are not independent; None for no such limit.
    """

    each: tuple[Criterion, ...] = field(default=DEFAULTS)
    as_points: bool = False
    wrong_go: float = 0.01
    wrong_no_go: float = 0.01
    classes_part: float = 0.4
    class_share: float = 0.25
    class_margin: float = 2.0
    lost_share: float = 0.10
    missing_share: float = 0.50
    one_user: float | None = 0.50

    def get(self, measure: Measure) -> Criterion | None:
        """The criterion of this measure, None where it is off."""
        return next((one for one in self.each if one.measure is measure), None)

    @property
    def judged(self) -> tuple[Criterion, ...]:
        """The criteria that are compared in this mode: `OF_THE_MISSION` alone as points, all but ``pairs`` else."""
        if self.as_points:
            return tuple(one for one in self.each if one.measure in OF_THE_MISSION)
        return tuple(one for one in self.each if one.measure is not Measure.PAIRS)

    def no_go_alpha(self, criterion: Criterion) -> float:
        """The chance of a wrong FAIL that this criterion may spend on all pairs together."""
        total = sum(one.weight for one in self.judged)
        return self.wrong_no_go * (1.0 - self.classes_part) * criterion.weight / total

    def no_go_alpha_in_class(self, criterion: Criterion, place: int) -> float:
        """The same within one prompt class, the ``place``-th (from 0) to appear.

        The first 20 classes share four fifths evenly; the later ones share the rest as 1 / (j (j + 1)), because no one
        knows beforehand how many there will be. All parts together are at most ``classes_part`` of the budget.
        """
        total = sum(one.weight for one in self.judged if one.measure in BY_CLASS)
        later = place - FIRST_CLASSES + 1
        part = 0.8 / FIRST_CLASSES if later < 1 else 0.2 / (later * (later + 1))
        return self.wrong_no_go * self.classes_part * part * criterion.weight / total


FIRST_CLASSES = 20
ONE_USER = "one_user"  # the key of the limit of one user's part of the pairs


def criteria_from(document: Mapping[str, object]) -> Criteria:
    """Criteria as a person writes them; what is not named keeps its default.

    ``{"errors": "1pp", "win_rate": true, "openings": false, "as_points": false}``: a limit with its unit, ``false`` for
    off, ``true`` for the default limit. ``one_user`` is a limit of all pairs together. Raises BadRules with every
    problem at once.
    """
    return _read(document, lambda _: "")


def criteria_of(rollout: Rollout) -> Criteria:
    """`criteria_from` the rollout's rule file. Raises BadRules with file, line and fix of every problem."""

    def place(key: str) -> str:
        return f"{rollout.where(f'shadow.criteria.{key}' if key else 'shadow.criteria')}: shadow.criteria: "

    return _read(rollout.shadow.criteria, place)


def _read(document: Mapping[str, object], place: Callable[[str], str]) -> Criteria:
    """``place``: what a problem of a key begins with; of "" one of all of them together."""
    problems: list[str] = []
    chosen = {one.measure: one for one in DEFAULTS}
    known = {one.measure: one for one in (*DEFAULTS, *OPTIONAL)}
    as_points = False
    one_user = Criteria().one_user
    for key, value in document.items():
        if key == "as_points":
            if not isinstance(value, bool):
                problems.append(
                    f"{place(key)}as_points: {shown(value)} is neither true nor false; fix: write true or false"
                )
            as_points = value is True
        elif key == ONE_USER:
            try:
                one_user = _part_of_one_user(value)
            except UnitError as error:
                problems.append(f"{place(key)}{key}: {error}")
        elif key not in set(Measure):
            near = get_close_matches(key, [*Measure, ONE_USER, "as_points"], 1)
            fix = f"write {near[0]}" if near else f"choose from {', '.join([*Measure, ONE_USER])}"
            problems.append(f"{place(key)}{shown(key)} is not a criterion; fix: {fix}")
        elif value is False:
            chosen.pop(Measure(key), None)
        elif value is True:
            chosen[Measure(key)] = known[Measure(key)]
        else:
            try:
                chosen[Measure(key)] = replace(known[Measure(key)], limit=_limit(Measure(key), value))
            except UnitError as error:
                problems.append(f"{place(key)}{key}: {error}")
    criteria = Criteria(tuple(chosen.values()), as_points, one_user=one_user)
    if not criteria.judged:
        problems.append(f"{place('')}every criterion is off, so nothing would be compared; fix: leave at least one on")
    if problems:
        raise BadRules(problems)
    return criteria


def _part_of_one_user(value: object) -> float | None:
    if isinstance(value, bool):
        return Criteria().one_user if value else None
    part = parse_as(Kind.PERCENT, value).value
    if not 0.0 < part < 1.0:
        raise UnitError(f"{shown(value)} is no part of the pairs", "write it like 50%, or false for no limit")
    return part


def _limit(measure: Measure, value: object) -> float:
    quantity = parse_as(KIND_OF_LIMIT[measure], value)
    lowest, highest = _range(measure)
    if not lowest < quantity.value < highest:
        example = next(one.written for one in (*DEFAULTS, *OPTIONAL) if one.measure is measure)
        raise UnitError(f"{shown(value)} leaves nothing to compare", f"write it like {example}")
    return quantity.value


def _range(measure: Measure) -> tuple[float, float]:
    """The limits that mean something, both ends excluded: no margin at all is a coin flip that never ends."""
    if measure is Measure.PAIRS:
        return 0.0, 1e12
    if measure is Measure.WIN_RATE:
        return 0.0, 0.5
    if measure in (Measure.LATENCY_P95, Measure.COST, Measure.TOKENS):
        return 0.0, MOST_OF_A_RATIO
    return 0.0, 1.0
