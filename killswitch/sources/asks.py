"""From wants to a handful of queries: what each want needs, and which of it one query can answer.

Every number a want needs is an `Ask`: one cohort's counters of one selector, summed. Asks that differ
only in the values of their equality matchers (service, cohort, …) share one query, grouped by those
labels: 1,000 rollouts cost as many queries as one. Pure; also used by the sources that need no PromQL.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, TypeVar, cast

from killswitch.model import Cohort, Matcher, QuantileSignal, QuerySignal, Range, RatioSignal, Selector, Want
from killswitch.sources import counter_resets
from killswitch.sources.prometheus import promql

_Part = TypeVar("_Part")

LOOKBACK: Final = 300.0  # seconds: how far back a stale cohort is told from one that never was (as Prometheus does)
SEEN_WITHIN: Final = 86_400.0  # seconds: how long ago a counter may have been seen and still count as known

EACH: Final = 2**28
"""What each series adds to `Shape.GROWN`: more than a cohort counts in a step. Sums of a million series are exact."""

_RESTART: Final = 4  # scrapes that a service, or a Prometheus, may miss while it is started again

# an answer of one query stays well under the 8 MB that are read at most
_ANSWER_BYTES: Final = 5_000_000
_BYTES_A_SERIES: Final = 160
_BYTES_A_POINT: Final = 36
_BUCKETS: Final = 24  # assumed in a histogram


class Shape(StrEnum):
    """What is asked about the counters of a selector."""

    INCREASE = "increase"  # increase(x[seconds]), extrapolated as a dashboard shows it
    STEP = "step"  # what was counted between the last samples of disjoint steps of `seconds`
    GROWN = "grown"  # the same of counters that were quiet a step ago: see `prometheus.quiet`
    CLOSE_INCREASE = "close increase"  # the two where a counter fell or is new: see `counter_resets`
    CLOSE_STEP = "close step"
    FALLS = "falls"  # the most falls of one series within an hour
    CLOSE_FALLS = "close falls"  # those that no restart explains
    LAYOUT = "layout"  # the upper edges that some of the histograms lacked for some of the scrapes within `seconds`
    LIVE = "live"  # how many of the histograms had a sample within `seconds`
    RECENT = "recent"  # samples within `seconds`; 0 where only older ones are to be found
    SEEN = "seen"  # samples within `seconds`


@dataclass(frozen=True, slots=True)
class Sum:
    """The counters of one cohort and selector (cohort matchers included), summed; per ``le`` if so wished.

    ``basis``: the counters by which a closer look knows the processes.
    """

    shape: Shape
    selector: Selector
    seconds: float
    by_le: bool = False
    basis: Selector | None = None
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.shape, self.selector, self.seconds, self.by_le, self.basis)))

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
    """The asks of one cohort of a want. ``seen`` is asked only where events are absent, ``falls`` every few minutes.

    ``layout`` of a step may be left out for as long as the histograms and their edges stay the same, which ``live``
    helps to tell. ``trials_are_recent``: a number of trials proves a sample that ``recent`` would count, so that is
    asked only where there is none. ``basis``: by which counters a closer look at trials and events knows the processes.
    """

    trials: tuple[Ask, ...]
    events: tuple[Ask, ...] = ()
    recent: tuple[Ask, ...] = ()
    layout: tuple[Sum, ...] = ()
    live: tuple[Sum, ...] = ()
    seen: tuple[Ask, ...] = ()
    falls: tuple[Sum, ...] = ()
    trials_are_recent: bool = False
    basis: Selector | None = None

    @property
    def at_once(self) -> tuple[Ask, ...]:
        return (*self.trials, *self.events, *(() if self.trials_are_recent else self.recent))


class Same:
    """Gives one object for all that are equal."""

    def __init__(self) -> None:
        self._known: dict[object, object] = {}

    def __call__(self, each: _Part) -> _Part:
        return cast("_Part", self._known.setdefault(each, each))


def needs(want: Want, cohort: Cohort, interval: float, same: Same) -> Needs:
    """What must be asked for one cohort of ``want``; ``interval`` is the scrape interval in seconds."""
    of_step = want.range is Range.STEP
    shape = Shape.STEP if of_step else Shape.INCREASE
    matchers = want.cohorts.get(cohort, ())
    # what a step counted is in no later step: a sample within it is always recent
    fresh = max(2 * interval, want.seconds) if of_step else 2 * interval
    # a step counts from a sample before it: edges that only one of the two has are not comparable
    alike = want.seconds + (_RESTART * interval if of_step else 0.0)

    def whole(selector: Selector) -> Selector:
        return same(Selector(selector.metric, same(tuple(sorted({*selector.matchers, *matchers})))))

    def sums(of: Shape, selectors: Iterable[Selector], seconds: float, *, by_le: bool = False) -> tuple[Sum, ...]:
        return same(tuple(same(Sum(of, whole(each), seconds, by_le)) for each in selectors))

    def falls(selectors: Iterable[Selector], basis: Selector) -> tuple[Sum, ...]:
        asks = sums(Shape.FALLS, selectors, counter_resets.FALLS_WITHIN)
        return same(tuple(dict.fromkeys(same(replace(ask, basis=whole(basis))) for ask in asks)))

    match want.signal:
        case RatioSignal(events, trials):
            return Needs(
                trials=sums(shape, trials, want.seconds),
                events=sums(shape, events, want.seconds),
                recent=sums(Shape.RECENT, trials, fresh),
                seen=sums(Shape.SEEN, events, SEEN_WITHIN),
                falls=falls((*trials, *events), trials[0]),
                trials_are_recent=of_step,
                basis=whole(trials[0]),
            )
        case QuantileSignal(buckets):
            total = Selector(buckets.metric, (*buckets.matchers, Matcher("le", "=", "+Inf")))
            return Needs(
                trials=sums(shape, (buckets,), want.seconds, by_le=True),
                recent=sums(Shape.RECENT, (total,), fresh),
                layout=sums(Shape.LAYOUT, (buckets,), alike, by_le=True),
                live=sums(Shape.LIVE, (total,), alike) if of_step else (),
                falls=falls((total,), total),
                trials_are_recent=of_step,
                basis=whole(total),
            )
        case QuerySignal(canary, control):
            return Needs(trials=(Free(canary if cohort is Cohort.CANARY else control),))


# --- which queries answer it --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Query:
    """One query for many asks: ``cells`` maps the values of ``labels`` to the ask they answer.

    ``basis``: of a closer look, whose processes are told apart by those labels that the basis has, too.
    """

    shape: Shape
    metric: str
    fixed: tuple[Matcher, ...]
    labels: tuple[str, ...]
    seconds: float
    by_le: bool
    cells: Mapping[tuple[str, ...], Sum]
    basis: _Many | None = None

    def text(self, ranges: Ranges) -> str:
        matchers = _matchers(self.fixed, self.labels, self.cells)
        question = PromQuery(self.shape, self.metric, matchers, self.seconds, self.by_le, self.labels)
        if self.shape is Shape.GROWN:
            return question.grown(ranges)
        if self.basis is None or self.shape is Shape.FALLS:
            return question.text(ranges)
        of_basis = {tuple(_split(ask.basis)[1].values()) for ask in self.cells.values() if ask.basis is not None}
        basis = promql.series(self.basis.metric, _matchers(self.basis.fixed, self.basis.labels, of_basis))
        return question.closer(ranges, basis, _shared(self.labels, self.basis.labels))


def shared_labels(selector: Selector, basis: Selector) -> tuple[str, ...]:
    """Labels of which both demand one value: they tell rollouts and cohorts apart, and so their processes."""
    return _shared(tuple(_split(selector)[1]), tuple(_split(basis)[1]))


def _shared(labels: Sequence[str], of_basis: Sequence[str]) -> tuple[str, ...]:
    return tuple(label for label in labels if label in of_basis and label != "le")


def _matchers(fixed: Iterable[Matcher], labels: Sequence[str], cells: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Printed: what is fixed, and for each label one of the values that the cells have."""
    cells = list(cells)
    varied = [promql.one_of(label, {values[at] for values in cells}) for at, label in enumerate(labels)]
    return tuple(sorted([*map(promql.matcher, fixed), *varied]))


def as_text(ask: Ask, ranges: Ranges) -> str:
    """The query a person would type for one ask alone; what tells falls and births from growth is left out."""
    if isinstance(ask, Free):
        return ask.query
    matchers = tuple(map(promql.matcher, ask.selector.matchers))
    question = PromQuery(ask.shape, ask.selector.metric, matchers, ask.seconds, ask.by_le)
    series, by = promql.series(question.metric, matchers), _clause("by", ("le",) if ask.by_le else ())
    within = series + ranges.half_open(ask.seconds)
    match ask.shape:
        case Shape.INCREASE:
            return f"sum{by} (increase({within}))"
        case Shape.STEP:
            return f"sum{by} (last_over_time({within}) - {question.before(ranges)})"
        case _:
            return question.text(ranges)


@dataclass(frozen=True, slots=True)
class PromQuery:
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
                # -Inf where a counter fell: then a closer look is needed
                return f"sum{by} (increase({within})) + ln(max{by} (resets({within})) < bool 1)"
            case Shape.SEEN | Shape.LIVE:
                return f"{'sum' if self.shape is Shape.SEEN else 'count'}{by} (count_over_time({within}))"
            case Shape.RECENT:
                # ranges, and not timestamp(): one failed scrape ends an instant vector at once
                older = series + ranges.half_open(max(LOOKBACK, 2 * self.seconds))
                return f"sum{by} (count_over_time({within})) or sum{by} (count_over_time({older})) * 0"
            case Shape.STEP:
                new = f"last_over_time({within})"
                old = self.before(ranges)
                reach = series + ranges.half_open(self.seconds + ranges.before)
                # -Inf where a counter fell or is new: then a closer look is needed
                return f"sum{by} ((({new} - {old}) unless resets({reach}) > 0) or {new} - Inf)"
            case Shape.FALLS:
                return f"max{by} (resets({within}))"
            case Shape.CLOSE_STEP | Shape.CLOSE_INCREASE | Shape.CLOSE_FALLS | Shape.GROWN:
                raise ValueError("a closer look has a basis: see `closer`; and quiet counters `grown`")
            case Shape.LAYOUT:
                # an edge has as many samples as its histogram's +Inf unless it was missing, came, went, or was spelt
                # anew ("1" is "1.0" since Prometheus 3); squared, its samples are fewer in two series than in one
                whole = promql.series(self.metric, tuple(sorted((*self.matchers, 'le="+Inf"'))))
                whole += ranges.half_open(self.seconds)
                all_of = f"sum{_clause('by', self.labels)} (count_over_time({whole}) ^ 2)"
                on = f"on ({', '.join(map(promql.label_name, self.labels))})"
                return f"sum{by} (count_over_time({within}) ^ 2) / {on} group_left () {all_of} < 1"

    def grown(self, ranges: Ranges) -> str:
        """See `prometheus.quiet`; of histograms the series expected are a row of their own, without an edge."""
        series, step = promql.series(self.metric, self.matchers), self.seconds
        by = _clause("by", (*self.labels, *(("le",) if self.by_le else ())))
        # two points of each series: the last samples of this step and of the one before
        pairs = f"last_over_time({series}{ranges.half_open(step)})"
        pairs += f"[{promql.duration(1.5 * step)}:{promql.duration(step)}]"
        counted = f"sum{by} (idelta({pairs}) + {EACH})"
        both = series + ranges.half_open(2 * step)
        expected = f"sum{_clause('by', self.labels)} (resets({both}) + 1)"
        return f"{counted} or {expected}" if self.by_le else f"{counted} - {EACH} * {expected}"

    def before(self, ranges: Ranges) -> str:
        """The last sample before a step."""
        series = promql.series(self.metric, self.matchers) + ranges.half_open(ranges.before)
        return f"last_over_time({series} offset {promql.duration(self.seconds)})"

    def closer(self, ranges: Ranges, basis: str, shared: Sequence[str]) -> str:
        """A closer look at the same counters: processes are those of ``basis``, and of the labels both have."""
        created = counter_resets.created_metric(self.metric)
        look = counter_resets.Look(
            series=promql.series(self.metric, self.matchers),
            basis=basis,
            created=None if created is None else promql.series(created, self.matchers),
            by=_clause("by", (*self.labels, *(("le",) if self.by_le else ()))),
            process=tuple(dict.fromkeys((*counter_resets.PROCESS_LABELS, *shared))),
            several=self.by_le,
        )
        within = ranges.half_open(self.seconds)
        if self.shape is Shape.CLOSE_INCREASE:
            return look.increase(within)
        if self.shape is Shape.CLOSE_FALLS:
            return look.falls(within, ranges.half_open(counter_resets.YOUNG))
        return look.step(
            within,
            ranges.half_open(ranges.before),
            ranges.half_open(counter_resets.SEEN),
            promql.duration(self.seconds),
            self.seconds + counter_resets.CREATED_SCRAPES * ranges.interval,
        )


def _clause(word: str, labels: Sequence[str]) -> str:
    return f" {word} ({', '.join(map(promql.label_name, labels))})" if labels else ""


def plan(asks: Iterable[Sum], ticks: int = 1) -> list[Query]:
    """As few queries as answer every ask at ``ticks`` points, each with an answer of a few megabytes at most.

    Matchers other than equality stand as they are in their query; asks that share them share it.
    """
    groups: dict[_Group, dict[tuple[str, ...], Sum]] = defaultdict(dict)
    for ask in dict.fromkeys(asks):
        fixed, equal = _split(ask.selector, by_le=ask.by_le)
        basis = None
        if ask.basis is not None:
            basis_fixed, basis_equal = _split(ask.basis)
            basis = _Many(ask.basis.metric, basis_fixed, tuple(basis_equal))
        group = _Group(ask.shape, ask.selector.metric, fixed, tuple(equal), ask.seconds, ask.by_le, basis)
        groups[group][tuple(equal.values())] = ask
    return [
        Query(group.shape, group.metric, group.fixed, group.labels, group.seconds, group.by_le, cells, group.basis)
        for group, members in groups.items()
        for cells in _portions(members, ticks, by_le=group.by_le)
    ]


@dataclass(frozen=True, slots=True)
class _Many:
    """Selectors that differ in the values of ``labels`` alone."""

    metric: str
    fixed: tuple[Matcher, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Group:
    """What asks must have in common to share a query."""

    shape: Shape
    metric: str
    fixed: tuple[Matcher, ...]
    labels: tuple[str, ...]
    seconds: float
    by_le: bool
    basis: _Many | None


def _split(selector: Selector, *, by_le: bool = False) -> tuple[tuple[Matcher, ...], dict[str, str]]:
    """Matchers that stay as they are, and by label the value that tells this ask from its neighbours."""
    fixed: list[Matcher] = []
    equal: dict[str, str] = {}
    for each in sorted(selector.matchers):
        # a second equality on a label contradicts the first; both must stand
        if each.operator != "=" or each.label in equal or (by_le and each.label == "le"):
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
