"""From wants to a handful of queries: what each want needs, and which of it one query can answer.

Every number a want needs is an `Ask`: one cohort's counters of one selector, summed. Asks that differ
only in the values of their equality matchers (service, cohort, …) share one query, grouped by those
labels: 1,000 rollouts cost as many queries as one. Pure; also used by the sources that need no PromQL.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from killswitch.model import Cohort, Matcher, QuantileSignal, QuerySignal, RatioSignal, Selector
from killswitch.sources import Range, Want, promql

LOOKBACK: Final = 300.0  # seconds: how far back a stale cohort is told from one that never was (as Prometheus does)
SEEN_WITHIN: Final = 86_400.0  # seconds: how long ago a counter may have been seen and still count as known

_RESTART: Final = 4  # scrapes that a service, or a Prometheus, may miss while it is started again

# an answer of one query stays well under the 8 MB that are read at most
_ANSWER_BYTES: Final = 3_000_000
_BYTES_A_SERIES: Final = 160
_BYTES_A_POINT: Final = 36
_BUCKETS: Final = 24  # assumed in a histogram


class Shape(StrEnum):
    """What is asked about the counters of a selector."""

    INCREASE = "increase"  # increase(x[seconds]), extrapolated as a dashboard shows it
    STEP = "step"  # what was counted between the last samples of disjoint steps of `seconds`
    LAYOUT = "layout"  # the upper edges that some of the histograms lacked for some of the scrapes within `seconds`
    RECENT = "recent"  # samples within `seconds`; 0 where only older ones are to be found
    SEEN = "seen"  # samples within `seconds`


@dataclass(frozen=True, slots=True)
class Sum:
    """The counters of one cohort and selector (cohort matchers included), summed; per ``le`` if so wished."""

    shape: Shape
    selector: Selector
    seconds: float
    by_le: bool = False
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.shape, self.selector, self.seconds, self.by_le)))

    def __hash__(self) -> int:
        return self._hash  # asks are keys of every table, thousands of times a cycle


@dataclass(frozen=True, slots=True)
class Free:
    """A free query; it must give one series."""

    query: str


Ask = Sum | Free


@dataclass(frozen=True, slots=True)
class Ranges:
    """How far ranges must reach: ``interval`` is the scrape interval in seconds.

    ``left_open`` is how the server reads ``[30s]``: Prometheus 3 leaves its first instant out, 2 does not.
    Ranges here always do, so that both servers, and the sources that are none, count the same samples.
    """

    interval: float
    left_open: bool = False

    def half_open(self, seconds: float) -> str:
        """``[30s]``, as this server must be asked for the range that holds a sample at its end, not one at its start.

        Times are whole milliseconds: a closed range holds one more of them than an open one.
        """
        return f"[{promql.duration(seconds if self.left_open else seconds - 0.001)}]"

    @property
    def before(self) -> float:
        """How long before a step, in seconds, its counters' last sample may lie: at least four scrapes."""
        return max(LOOKBACK, _RESTART * self.interval)


def evidence_step(scrape_interval: float) -> float:
    """The evidence step in seconds: the smallest multiple of the scrape interval that is at least 30 s."""
    return scrape_interval * math.ceil(30.0 / scrape_interval - 1e-9)


# --- what a want needs --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Needs:
    """The asks of one cohort of a want. ``seen`` is asked only where events are absent."""

    trials: tuple[Ask, ...]
    events: tuple[Ask, ...] = ()
    recent: tuple[Ask, ...] = ()
    layout: tuple[Ask, ...] = ()
    seen: tuple[Ask, ...] = ()

    @property
    def at_once(self) -> tuple[Ask, ...]:
        return (*self.trials, *self.events, *self.recent, *self.layout)


def needs(want: Want, cohort: Cohort, interval: float) -> Needs:
    """What must be asked for one cohort of ``want``; ``interval`` is the scrape interval in seconds."""
    shape = Shape.STEP if want.range is Range.STEP else Shape.INCREASE
    matchers = want.cohorts.get(cohort, ())
    # what a step counted is in no later step: a sample within it is always recent
    fresh = max(2 * interval, want.seconds) if want.range is Range.STEP else 2 * interval
    # a step counts from a sample before it: edges that only one of the two has are not comparable
    alike = want.seconds + (_RESTART * interval if want.range is Range.STEP else 0.0)

    def sums(of: Shape, selectors: Iterable[Selector], seconds: float, *, by_le: bool = False) -> tuple[Ask, ...]:
        return tuple(
            Sum(of, Selector(each.metric, tuple(sorted({*each.matchers, *matchers}))), seconds, by_le)
            for each in selectors
        )

    match want.signal:
        case RatioSignal(events, trials):
            return Needs(
                trials=sums(shape, trials, want.seconds),
                events=sums(shape, events, want.seconds),
                recent=sums(Shape.RECENT, trials, fresh),
                seen=sums(Shape.SEEN, events, SEEN_WITHIN),
            )
        case QuantileSignal(buckets):
            total = Selector(buckets.metric, (*buckets.matchers, Matcher("le", "=", "+Inf")))
            return Needs(
                trials=sums(shape, (buckets,), want.seconds, by_le=True),
                recent=sums(Shape.RECENT, (total,), fresh),
                layout=sums(Shape.LAYOUT, (buckets,), alike, by_le=True),
            )
        case QuerySignal(canary, control):
            return Needs(trials=(Free(canary if cohort is Cohort.CANARY else control),))


# --- which queries answer it --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Query:
    """One query for many asks: ``cells`` maps the values of ``labels`` to the ask they answer."""

    shape: Shape
    metric: str
    fixed: tuple[Matcher, ...]
    labels: tuple[str, ...]
    seconds: float
    by_le: bool
    cells: Mapping[tuple[str, ...], Sum]

    def text(self, ranges: Ranges) -> str:
        matchers = [promql.matcher(each) for each in self.fixed]
        for position, label in enumerate(self.labels):
            matchers.append(promql.one_of(label, {values[position] for values in self.cells}))
        question = Question(self.shape, self.metric, tuple(sorted(matchers)), self.seconds, self.by_le, self.labels)
        return question.text(ranges)


def as_text(ask: Ask, ranges: Ranges) -> str:
    """The query a person would type for one ask alone."""
    if isinstance(ask, Free):
        return ask.query
    matchers = tuple(map(promql.matcher, ask.selector.matchers))
    return Question(ask.shape, ask.selector.metric, matchers, ask.seconds, ask.by_le).text(ranges)


@dataclass(frozen=True, slots=True)
class Question:
    """One query's parts: ``matchers`` are printed; the answer is grouped by ``labels``, and by ``le`` if so wished."""

    shape: Shape
    metric: str
    matchers: tuple[str, ...]
    seconds: float
    by_le: bool
    labels: tuple[str, ...] = ()

    def text(self, ranges: Ranges) -> str:
        series = promql.series(self.metric, self.matchers)
        by = _clause("by", (*self.labels, *(("le",) if self.by_le else ())))
        within = series + ranges.half_open(self.seconds)
        match self.shape:
            case Shape.INCREASE:
                return f"sum{by} (increase({within}))"
            case Shape.SEEN:
                return f"sum{by} (count_over_time({within}))"
            case Shape.RECENT:
                # ranges, and not timestamp(): one failed scrape ends an instant vector at once
                older = series + ranges.half_open(max(LOOKBACK, 2 * self.seconds))
                return f"sum{by} (count_over_time({within})) or sum{by} (count_over_time({older})) * 0"
            case Shape.STEP:
                new = f"last_over_time({within})"
                before = series + ranges.half_open(ranges.before)
                old = f"last_over_time({before} offset {promql.duration(self.seconds)})"
                # a counter that fell has begun again at zero; what is not a number stays none
                return f"sum{by} ({new} - {old} * ({old} <= bool {new}))"
            case Shape.LAYOUT:
                # an edge has as many samples as its histogram's +Inf unless it was missing, came, went, or was spelt
                # anew ("1" is "1.0" since Prometheus 3); squared, its samples are fewer in two series than in one
                whole = promql.series(self.metric, tuple(sorted((*self.matchers, 'le="+Inf"'))))
                whole += ranges.half_open(self.seconds)
                all_of = f"sum{_clause('by', self.labels)} (count_over_time({whole}) ^ 2)"
                on = f"on ({', '.join(map(promql.label_name, self.labels))})"
                return f"sum{by} (count_over_time({within}) ^ 2) / {on} group_left () {all_of} < 1"


def _clause(word: str, labels: Sequence[str]) -> str:
    return f" {word} ({', '.join(map(promql.label_name, labels))})" if labels else ""


def plan(asks: Iterable[Sum], ticks: int = 1) -> list[Query]:
    """As few queries as answer every ask at ``ticks`` points, each with an answer of a few megabytes at most.

    Matchers other than equality stand as they are in their query; asks that share them share it.
    """
    groups: dict[_Group, dict[tuple[str, ...], Sum]] = defaultdict(dict)
    for ask in dict.fromkeys(asks):
        fixed, equal = _split(ask)
        group = _Group(ask.shape, ask.selector.metric, fixed, tuple(equal), ask.seconds, ask.by_le)
        groups[group][tuple(equal.values())] = ask
    return [
        Query(group.shape, group.metric, group.fixed, group.labels, group.seconds, group.by_le, cells)
        for group, members in groups.items()
        for cells in _portions(members, ticks, by_le=group.by_le)
    ]


@dataclass(frozen=True, slots=True)
class _Group:
    """What asks must have in common to share a query."""

    shape: Shape
    metric: str
    fixed: tuple[Matcher, ...]
    labels: tuple[str, ...]
    seconds: float
    by_le: bool


def _split(ask: Sum) -> tuple[tuple[Matcher, ...], dict[str, str]]:
    """Matchers that stay as they are, and by label the value that tells this ask from its neighbours."""
    fixed: list[Matcher] = []
    equal: dict[str, str] = {}
    for each in sorted(ask.selector.matchers):
        # a second equality on a label contradicts the first; both must stand
        if each.operator != "=" or each.label in equal or (ask.by_le and each.label == "le"):
            fixed.append(each)
        else:
            equal[each.label] = each.value
    return tuple(fixed), equal


def _portions(
    members: Mapping[tuple[str, ...], Sum], ticks: int, *, by_le: bool
) -> Iterator[dict[tuple[str, ...], Sum]]:
    # by the most varied label first, so that a part asks for few combinations that nobody wants
    variety = [len(set(column)) for column in zip(*members, strict=True)]
    order = sorted(range(len(variety)), key=lambda position: -variety[position])
    rows = sorted(members.items(), key=lambda row: [row[0][position] for position in order])
    label_bytes = max(sum(map(len, values)) for values in members)
    series = _BYTES_A_SERIES + label_bytes + ticks * _BYTES_A_POINT
    size = max(1, int(_ANSWER_BYTES / (series * (_BUCKETS if by_le else 1))))
    for start in range(0, len(rows), size):
        yield dict(rows[start : start + size])


def most_ticks(*, by_le: bool) -> int:
    """How many points of time one query may cover so that even a single ask's answer stays small."""
    return int(_ANSWER_BYTES / _BYTES_A_POINT / (_BUCKETS if by_le else 1))
