"""From asks to a handful of PromQL queries: which asks one query can answer, and its text.

Asks that differ only in the values of their equality matchers (service, cohort, …) share one query, grouped by those
labels: 1,000 rollouts cost as many queries as one. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from killswitch.model import Matcher
from killswitch.sources import counter_resets
from killswitch.sources.asks import LOOKBACK, Ask, Free, Shape, Sum, Users, before_step, labels_of_both, split_matchers
from killswitch.sources.prometheus import native_queries, promql
from killswitch.sources.prometheus.closer_look import CloserLook
from killswitch.sources.prometheus.native_queries import NativeLook
from killswitch.sources.prometheus.quiet import EACH
from killswitch.sources.prometheus.user_queries import plan_users

# an answer of one query stays well under the 8 MB that are read at most
_ANSWER_BYTES: Final = 5_000_000
_BYTES_A_SERIES: Final = 160
_BYTES_A_POINT: Final = 36
_BUCKETS: Final = 24  # assumed in a histogram
_NATIVE: Final = 250  # points as long as one native histogram of a hundred buckets


@dataclass(frozen=True, slots=True)
class Ranges:
    """How far ranges must reach: ``interval`` is the scrape interval in seconds.

    ``left_open`` is how the server reads ``[30s]``: Prometheus 3 leaves its first instant out, 2 does not.
    Our ranges always leave it out, so that both releases, and the sources without a server, count the same samples.
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
        """See `before_step`."""
        return before_step(self.interval)

    def typed(self, ask: Ask) -> str:
        """See `QueryLanguage`; the parts that detect falls and new series are left out."""
        return _typed(ask, self)


@dataclass(frozen=True, slots=True)
class Query:
    """One query for many asks: ``cells`` maps the values of ``labels`` to the ask they answer.

    ``basis``: of a closer look, whose processes are distinguished by the labels that the basis has, too.
    """

    shape: Shape
    metric: str
    fixed: tuple[Matcher, ...]
    labels: tuple[str, ...]
    seconds: float
    by_le: bool
    cells: Mapping[tuple[str, ...], Sum]
    basis: _Many | None = None
    native: bool = False

    def text(self, ranges: Ranges) -> str:
        matchers = _matchers(self.fixed, self.labels, self.cells)
        question = PromQuery(self.shape, self.metric, matchers, self.seconds, self.by_le, self.labels, self.native)
        if self.shape is Shape.GROWN:
            return question.grown(ranges)
        if self.basis is None or self.shape is Shape.FALLS:
            return question.text(ranges)
        of_basis = {
            tuple(split_matchers(ask.basis)[1].values()) for ask in self.cells.values() if ask.basis is not None
        }
        basis = promql.series(self.basis.metric, _matchers(self.basis.fixed, self.basis.labels, of_basis))
        return question.closer(ranges, basis, labels_of_both(self.labels, self.basis.labels))


def _matchers(fixed: Iterable[Matcher], labels: Sequence[str], cells: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Printed: what is fixed, and for each label one of the values that the cells have."""
    cells = list(cells)
    varied = [promql.one_of(label, {values[at] for values in cells}) for at, label in enumerate(labels)]
    return tuple(sorted([*map(promql.matcher, fixed), *varied]))


@dataclass(frozen=True, slots=True)
class PromQuery:
    """One query's parts: ``matchers`` are printed; the answer is grouped by ``labels``, and by ``le`` if ``by_le``."""

    shape: Shape
    metric: str
    matchers: tuple[str, ...]
    seconds: float
    by_le: bool
    labels: tuple[str, ...] = ()
    native: bool = False

    def text(self, ranges: Ranges) -> str:  # noqa: PLR0911  one for each shape
        series = promql.series(self.metric, self.matchers)
        by = _clause("by", (*self.labels, *(("le",) if self.by_le else ())))
        within = series + ranges.half_open(self.seconds)
        if self.native and self.shape is Shape.INCREASE:
            return native_queries.increase(by, within)
        match self.shape:
            case Shape.INCREASE:
                # -Inf if a counter fell: then a closer look is needed
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
                if self.native:
                    return native_queries.step(by, within, old, reach)
                # -Inf if a counter fell or is new: then a closer look is needed
                return f"sum{by} ((({new} - {old}) unless resets({reach}) > 0) or {new} - Inf)"
            case Shape.FALLS:
                return f"max{by} (resets({within}))"
            case Shape.CLOSE_STEP | Shape.CLOSE_INCREASE | Shape.CLOSE_FALLS | Shape.GROWN:
                raise ValueError("a closer look has a basis: see `closer`; and quiet counters `grown`")
            case Shape.LAYOUT:
                # An edge has as many samples as its histogram's +Inf, unless it was missing, came, went, or changed its
                # spelling ("1" is "1.0" since Prometheus 3). Squares make the samples of two series fewer than of one.
                whole = promql.series(self.metric, tuple(sorted((*self.matchers, 'le="+Inf"'))))
                whole += ranges.half_open(self.seconds)
                all_of = f"sum{_clause('by', self.labels)} (count_over_time({whole}) ^ 2)"
                on = f"on ({', '.join(map(promql.label_name, self.labels))})"
                return f"sum{by} (count_over_time({within}) ^ 2) / {on} group_left () {all_of} < 1"

    def grown(self, ranges: Ranges) -> str:
        """See `prometheus.quiet`; of histograms the series expected are a row of their own, without an edge."""
        series, step = promql.series(self.metric, self.matchers), self.seconds
        by, of_all = _clause("by", (*self.labels, *(("le",) if self.by_le else ()))), _clause("by", self.labels)
        each = f"{EACH:.17g}"
        # two points of each series: the last samples of this step and of the one before
        pairs = f"last_over_time({series}{ranges.half_open(step)})"
        pairs += f"[{promql.duration(1.5 * step)}:{promql.duration(step)}]"
        counted = f"sum{by} (idelta({pairs}) + {each})"
        # one for each series, and infinite where one fell
        expected = f"sum{of_all} (Inf ^ resets({series}{ranges.half_open(step + ranges.before)}))"
        return f"{counted} or {expected}" if self.by_le else f"{counted} - {each} * {expected}"

    def before(self, ranges: Ranges) -> str:
        """The last sample before a step."""
        series = promql.series(self.metric, self.matchers) + ranges.half_open(ranges.before)
        return f"last_over_time({series} offset {promql.duration(self.seconds)})"

    def closer(self, ranges: Ranges, basis: str, shared: Sequence[str]) -> str:
        """A closer look at the same counters: processes are those of ``basis``, and of the labels both have."""
        created = counter_resets.created_metric(self.metric)
        kind = NativeLook if self.native else CloserLook
        look = kind(
            series=promql.series(self.metric, self.matchers),
            basis=basis,
            created=None if created is None else promql.series(created, self.matchers),
            by=_clause("by", (*self.labels, *(("le",) if self.by_le else ()))),
            process=tuple(dict.fromkeys((*counter_resets.PROCESS_LABELS, *shared))),
            several=self.by_le,
            resolution=ranges.interval,
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

    Matchers other than equality stay as they are; asks that share them share a query.
    """
    groups: dict[_Group, dict[tuple[str, ...], Sum]] = defaultdict(dict)
    for ask in dict.fromkeys(asks):
        fixed, equal = split_matchers(ask.selector, by_le=ask.by_le)
        basis = None
        if ask.basis is not None:
            basis_fixed, basis_equal = split_matchers(ask.basis)
            basis = _Many(ask.basis.metric, basis_fixed, tuple(basis_equal))
        group = _Group(ask.shape, ask.selector.metric, fixed, tuple(equal), ask.seconds, ask.by_le, basis, ask.native)
        groups[group][tuple(equal.values())] = ask
    return [
        Query(
            group.shape,
            group.metric,
            group.fixed,
            group.labels,
            group.seconds,
            group.by_le,
            cells,
            group.basis,
            group.native,
        )
        for group, members in groups.items()
        for cells in _portions(members, ticks, points_each(by_le=group.by_le, native=group.native))
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
    native: bool


def _portions(members: Mapping[tuple[str, ...], Sum], ticks: int, each: int) -> Iterator[dict[tuple[str, ...], Sum]]:
    # by the most varied label first, so that a portion asks for few unneeded combinations
    variety = [len(set(column)) for column in zip(*members, strict=True)]
    order = sorted(range(len(variety)), key=lambda position: -variety[position])
    rows = sorted(members.items(), key=lambda row: [row[0][position] for position in order])
    label_bytes = max(sum(map(len, values)) for values in members)
    series = _BYTES_A_SERIES + label_bytes + ticks * _BYTES_A_POINT
    size = max(1, int(_ANSWER_BYTES / (series * each)))
    for start in range(0, len(rows), size):
        yield dict(rows[start : start + size])


def points_each(*, by_le: bool, native: bool) -> int:
    """How many plain numbers are as long as one number of an ask."""
    return _NATIVE if native else _BUCKETS if by_le else 1


def most_ticks(ask: Ask) -> int:
    """How many points of time one query may cover so that even a single ask's answer stays small."""
    each = points_each(by_le=ask.by_le, native=ask.native) if isinstance(ask, Sum) else 1
    return int(_ANSWER_BYTES / _BYTES_A_POINT / each)


def _typed(ask: Ask, ranges: Ranges) -> str:
    """The query a person would type for one ask alone; the parts that detect falls and new series are left out."""
    if isinstance(ask, Free):
        return ask.query
    if isinstance(ask, Users):
        return next(plan_users([ask])).text(ranges)
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
