"""Arithmetic on the samples of counters: what Prometheus computes in its server, for sources that have none.

Times are whole milliseconds, as in Prometheus. Everything is computed for all ticks at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from killswitch.model import Buckets, Matcher, Readings, Reason, Selector, Unreadable, Want
from killswitch.sources.asks import LOOKBACK, Ask, Free, QueryLanguage, Shape, Sum, Users, before_step, shared_labels
from killswitch.sources.assembly import Assemblies
from killswitch.sources.closer_looks import with_closer
from killswitch.sources.columns import WHOLE, Answers, Column, Point, buckets_of
from killswitch.sources.counter_lookups import SeenCache
from killswitch.sources.counter_resets import (
    PROCESS_LABELS,
    SEEN,
    Counter,
    Processes,
    Times,
    close_steps,
    created_metric,
    fell_in,
    unexplained_falls,
)
from killswitch.sources.falls import Falls
from killswitch.sources.gauge_histograms import gauge_counts, without_gauges
from killswitch.sources.prometheus.queries import Ranges
from killswitch.sources.user_counts import SLOT, too_many, user_counts

Milliseconds = NDArray[np.int64]
Values = NDArray[np.float64]
Present = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SampleSeries:
    """One counter's samples: ``stamps`` strictly ascending."""

    labels: Mapping[str, str]
    stamps: Milliseconds
    values: Values


Load = Callable[[str, int, int], Iterable[SampleSeries]]
"""The series of a metric with their samples between two times in milliseconds, both included (or more)."""


def increase(series: SampleSeries, ticks: Milliseconds, reach: int) -> tuple[Values, Present]:
    """PromQL's ``increase(x[reach])``: extrapolated to the range's ends, but not below zero nor over gaps.

    Prometheus 3.15, promql/functions.go, ``extrapolatedRate``. (Before 2.51 a series that begins in the range
    was taken back to its zero by up to 1.1 scrapes instead of half of one.)
    """
    first, last = _between(series, ticks, reach)
    present = last > first
    first, last = np.where(present, first, 0), np.where(present, last, 0)
    gained = _gained(series, first, last)
    stamps, values = series.stamps, series.values
    with np.errstate(divide="ignore", invalid="ignore"):
        to_start = (stamps[first] - (ticks - reach)) / 1000.0
        to_end = (ticks - stamps[last]) / 1000.0
        covered = (stamps[last] - stamps[first]) / 1000.0
        distance = covered / (last - first)
        to_zero = covered * (values[first] / gained)
        to_start = np.where(to_start < distance * 1.1, to_start, distance / 2)
        limited = (gained > 0) & (values[first] >= 0) & (to_zero < to_start)
        to_start = np.where(limited, to_zero, to_start)
        to_end = np.where(to_end < distance * 1.1, to_end, distance / 2)
        result: Values = gained * ((covered + to_start + to_end) / covered)
    return result, present


def step(series: SampleSeries, ticks: Milliseconds, seconds: float, before: float) -> tuple[Values, Present]:
    """What was counted between the last sample before each step and the last one in it.

    Whatever scrapes are late, missed or doubled, every count falls into exactly one step. A series without a sample in
    the step is left out. -inf asks for a closer look: the series has no sample in the ``before`` seconds before the
    step, or it fell since.
    """
    whole, reach = round(seconds * 1000), round(before * 1000)
    counter = Counter(series.labels, series.stamps, series.values)
    (last, present), (first, known) = counter.last(ticks, whole), counter.last(ticks - whole, reach)
    with np.errstate(invalid="ignore"):
        counted: Values = np.where(known & (counter.resets(ticks, whole + reach) == 0), last - first, -np.inf)
    return counted, present


def _between(series: SampleSeries, ticks: Milliseconds, reach: int) -> tuple[Milliseconds, Milliseconds]:
    """Positions of the first and the last sample in each range; a sample at its very beginning is none of them."""
    first = np.searchsorted(series.stamps, ticks - reach, side="right")
    return first, np.searchsorted(series.stamps, ticks, side="right") - 1


def _gained(series: SampleSeries, first: Milliseconds, last: Milliseconds) -> Values:
    """The counter's growth from sample to sample; after a fall it had begun again at zero."""
    values = series.values
    with np.errstate(invalid="ignore"):
        lost = np.where(values[1:] < values[:-1], values[:-1], 0.0)
        # an infinite sample spoils the ranges it lies in, and no later one
        infinite = np.concatenate(([0], np.cumsum(~np.isfinite(lost))))
        before = np.concatenate(([0.0], np.cumsum(np.where(np.isfinite(lost), lost, 0.0))))
        gained: Values = values[last] - values[first] + (before[last] - before[first])
    return np.where(infinite[last] > infinite[first], np.inf, gained)


def _counted(series: SampleSeries, ticks: Milliseconds, reach: float) -> tuple[Values, Present]:
    first, last = _between(series, ticks, round(reach * 1000))
    count = (last - first + 1).astype(np.float64)
    return count, count > 0


def _recent(series: SampleSeries, ticks: Milliseconds, reach: float) -> tuple[Values, Present]:
    count, _ = _counted(series, ticks, reach)
    return count, _counted(series, ticks, max(LOOKBACK, 2 * reach))[1]


# --- from series to readings --------------------------------------------------------------------

_NO_QUERIES: Final = Unreadable(
    Reason.SOURCE_REFUSED, "a free query needs a Prometheus; this source knows counters and histograms"
)


class SampleReader:
    """Answers wants from samples. ``load`` finds them; its errors pass through. ``interval``: of scrapes, in seconds.

    ``language``: in which a person would ask for the same numbers; PromQL if none is given, since the samples are as
    Prometheus has them.
    """

    def __init__(self, load: Load, interval: float, language: QueryLanguage | None = None) -> None:
        self._load = load
        self._interval = interval
        self._before = before_step(interval)
        self._language = language if language is not None else Ranges(interval)
        self._seen = SeenCache()
        self._falls = Falls()
        self._assemblies = Assemblies()

    def read_back(self, wants: Sequence[Want], ticks: Sequence[float]) -> Mapping[float, Readings]:
        if not ticks:
            return {}
        assembly = self._assemblies.of(wants, self._language)
        found: Answers = self._columns((*assembly.asks, *assembly.layouts), ticks)
        found = {**found, **self._columns(list(assembly.absent(found, len(ticks))), ticks)}
        falls = self._falls.at(assembly.falls(found), ticks, self._columns)
        closer = assembly.closer(found, falls, len(ticks))
        looks = self._columns([look.ask for look in closer.values()], ticks)
        found = with_closer(found, closer, looks, len(ticks))
        seen = self._look_up(assembly.doubts(found, len(ticks)), ticks[0])
        readings = dict(zip(ticks, assembly.readings(found, seen, falls, len(ticks)), strict=True))
        first, last = (round(stamp * 1000) for stamp in (min(ticks) - LOOKBACK, max(ticks)))
        there = {name for name in gauge_counts(wants) if any(len(one.stamps) for one in self._load(name, first, last))}
        return without_gauges(wants, readings, there)

    def _look_up(self, asks: Sequence[Ask], tick: float) -> Answers:
        known = {ask: column for ask in asks if (column := self._seen.at(ask, tick)) is not None}
        found = self._columns([ask for ask in asks if ask not in known], [tick])
        for ask, column in found.items():
            self._seen.keep(ask, tick, column)
        return {**known, **found}

    def _columns(self, asks: Sequence[Ask], ticks: Sequence[float]) -> dict[Ask, Column]:
        stamps = np.array([round(tick * 1000) for tick in ticks], dtype=np.int64)
        loaded: dict[str, list[SampleSeries]] = {}
        reach: dict[str, float] = {}
        for ask in asks:
            for metric in _metrics(ask):
                reach[metric] = max(reach.get(metric, 0.0), self._reach(ask))
        for metric, seconds in reach.items():
            loaded[metric] = list(self._load(metric, int(stamps.min() - round(seconds * 1000)), int(stamps.max())))
        return {ask: self._column(ask, loaded, stamps) for ask in asks}

    def _reach(self, ask: Ask) -> float:
        if isinstance(ask, Free):
            return 0.0
        if isinstance(ask, Users):
            return ask.seconds + SLOT + self._before
        match ask.shape:
            case Shape.STEP:
                return ask.seconds + self._before
            case Shape.CLOSE_STEP:
                return ask.seconds + max(self._before, SEEN)
            case Shape.RECENT:
                return max(LOOKBACK, 2 * ask.seconds)
            case _:
                return ask.seconds

    def _column(self, ask: Ask, loaded: Mapping[str, Sequence[SampleSeries]], ticks: Milliseconds) -> Column:
        if not isinstance(ask, Sum):
            return self._users(ask, loaded, ticks) if isinstance(ask, Users) else _NO_QUERIES
        try:
            chosen = [each for each in selected(loaded[ask.selector.metric], ask.selector) if len(each.stamps)]
        except re.error as error:
            return Unreadable(
                Reason.SOURCE_REFUSED, f"a matcher of {ask.selector.metric} is no regular expression: {error}"
            )
        computed = self._all_computed(ask, chosen, loaded, ticks)
        if ask.shape in {Shape.FALLS, Shape.CLOSE_FALLS}:
            return _points(*_most(computed, len(ticks)))
        if not ask.by_le:
            return _points(*_summed(computed, len(ticks)))
        edges: dict[float, list[tuple[Values, Present]]] = {}
        for each, part in zip(chosen, computed, strict=True):
            try:
                edges.setdefault(float(each.labels.get("le", "")), []).append(part)
            except ValueError:
                return Unreadable(Reason.GARBAGE, f"{ask.selector.metric} has a bucket whose edge is not a number")
        sums = {edge: _summed(members, len(ticks)) for edge, members in edges.items()}
        return _layouts(sums, len(ticks)) if ask.shape is Shape.LAYOUT else _histograms(sums, len(ticks))

    def _users(self, ask: Users, loaded: Mapping[str, Sequence[SampleSeries]], ticks: Milliseconds) -> Column:
        try:
            trials, events = (
                [_counter(each) for one in some for each in selected(loaded[one.metric], one) if len(each.stamps)]
                for some in (ask.trials, ask.events)
            )
        except re.error as error:
            return Unreadable(Reason.SOURCE_REFUSED, f"a matcher is no regular expression: {error}")
        return too_many(_points(*user_counts(ask, trials, events, ticks, self._before)))

    def _all_computed(
        self,
        ask: Sum,
        chosen: Sequence[SampleSeries],
        loaded: Mapping[str, Sequence[SampleSeries]],
        ticks: Milliseconds,
    ) -> list[tuple[Values, Present]]:
        if ask.basis is None or ask.shape is Shape.FALLS:
            return [self._computed(ask, each, ticks) for each in chosen]
        labels = (*PROCESS_LABELS, *shared_labels(ask.selector, ask.basis))
        basis = [_counter(each) for each in selected(loaded[ask.basis.metric], ask.basis) if len(each.stamps)]
        whole = round(ask.seconds * 1000)
        if ask.shape is Shape.CLOSE_FALLS:
            return unexplained_falls(list(map(_counter, chosen)), basis, labels, ticks)
        if ask.shape is Shape.CLOSE_INCREASE:
            fell = fell_in(list(map(_counter, chosen)), basis, labels, ticks, whole)
            parts = [increase(each, ticks, whole) for each in chosen]
            return [
                (np.where(down, -np.inf, values), there | down)
                for (values, there), down in zip(parts, fell, strict=True)
            ]
        times = Times(ticks, whole, round(self._before * 1000), round(self._interval * 1000))
        created = {_without_le(each.labels): each for each in loaded.get(created_metric(ask.selector.metric) or "", ())}
        counters = [_counter(each, created.get(_without_le(each.labels))) for each in chosen]
        return close_steps(counters, Processes(basis, labels, times), several=ask.by_le)

    def _computed(self, ask: Sum, series: SampleSeries, ticks: Milliseconds) -> tuple[Values, Present]:
        match ask.shape:
            case Shape.INCREASE:
                values, present = increase(series, ticks, round(ask.seconds * 1000))
                fell = _counter(series).resets(ticks, round(ask.seconds * 1000)) > 0
                return np.where(fell, -np.inf, values), present
            case Shape.FALLS:
                _, present = _counted(series, ticks, ask.seconds)
                return _counter(series).resets(ticks, round(ask.seconds * 1000)), present
            case Shape.CLOSE_STEP | Shape.CLOSE_INCREASE | Shape.CLOSE_FALLS:
                raise ValueError("a closer look has a basis")
            case Shape.STEP | Shape.GROWN:
                return step(series, ticks, ask.seconds, self._before)
            case Shape.RECENT:
                return _recent(series, ticks, ask.seconds)
            case Shape.SEEN | Shape.LIVE:
                count, present = _counted(series, ticks, ask.seconds)
                return count if ask.shape is Shape.SEEN else np.ones(len(ticks)), present
            case Shape.LAYOUT:
                count, present = _counted(series, ticks, ask.seconds)
                return count**2, present  # as `PromQuery.text` says


def _metrics(ask: Ask) -> Iterator[str]:
    """The metrics whose samples are needed."""
    if isinstance(ask, Users):
        yield from (selector.metric for selector in ask.selectors)
    elif isinstance(ask, Sum):
        yield ask.selector.metric
        if ask.basis is not None:
            yield ask.basis.metric
        created = created_metric(ask.selector.metric) if ask.shape is Shape.CLOSE_STEP else None
        if created is not None:
            yield created


def _counter(series: SampleSeries, created: SampleSeries | None = None) -> Counter:
    made = None if created is None else (created.stamps, created.values)
    return Counter(series.labels, series.stamps, series.values, made)


def _without_le(labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset((label, value) for label, value in labels.items() if label != "le" and value)


def selected(series: Iterable[SampleSeries], selector: Selector) -> list[SampleSeries]:
    """As PromQL's matchers: regular expressions match the whole value, an absent label is an empty one."""
    tests = [_test(each) for each in selector.matchers]
    return [each for each in series if all(test(each.labels.get(label, "")) for label, test in tests)]


def _test(matcher: Matcher) -> tuple[str, Callable[[str], bool]]:
    value = matcher.value
    if matcher.operator == "=":
        return matcher.label, lambda text: text == value
    if matcher.operator == "!=":
        return matcher.label, lambda text: text != value
    pattern = re.compile(value)
    if matcher.operator == "=~":
        return matcher.label, lambda text: pattern.fullmatch(text) is not None
    return matcher.label, lambda text: pattern.fullmatch(text) is None


def _summed(parts: Iterable[tuple[Values, Present]], length: int) -> tuple[Values, Present]:
    total, present = np.zeros(length), np.zeros(length, dtype=np.bool_)
    for values, there in parts:
        total += np.where(there, values, 0.0)
        present |= there
    return total, present


def _most(parts: Iterable[tuple[Values, Present]], length: int) -> tuple[Values, Present]:
    most, present = np.zeros(length), np.zeros(length, dtype=np.bool_)
    for values, there in parts:
        most = np.where(there, np.maximum(most, values), most)
        present |= there
    return most, present


def _points(values: Values, present: Present) -> list[Point]:
    if present.all():
        return [*values.tolist()]
    return [value if there else None for value, there in zip(values.tolist(), present.tolist(), strict=True)]


def _histograms(edges: Mapping[float, tuple[Values, Present]], ticks: int) -> list[Point]:
    if not edges:
        return [None] * ticks
    bounds = tuple(sorted(edges))
    values = np.column_stack([edges[bound][0] for bound in bounds])
    present = np.column_stack([edges[bound][1] for bound in bounds])
    if np.isinf(bounds[-1]) and bool((present.all(axis=1) | ~present.any(axis=1)).all()):
        rows = zip(map(tuple, values.tolist()), present[:, 0].tolist(), strict=True)
        return [Buckets(bounds, row) if there else None for row, there in rows]
    return [
        buckets_of({bound: float(value) for bound, value, there in zip(bounds, *row, strict=True) if there})
        if row[1].any()
        else None
        for row in zip(values, present, strict=True)
    ]


def _layouts(edges: Mapping[float, tuple[Values, Present]], ticks: int) -> list[Point]:
    """The edges that not all histograms had all the time, with the share of what there is of them."""
    if np.inf not in edges:
        return [None] * ticks
    whole = edges[np.inf][0]
    bounds = sorted(edges)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.column_stack([np.where(edges[bound][1], edges[bound][0] / whole, np.nan) for bound in bounds])
    return [
        Buckets(tuple(some), tuple(row[row < WHOLE].tolist()))
        if (some := [bound for bound, share in zip(bounds, row, strict=True) if share < WHOLE])
        else None
        for row in shares
    ]
