"""From asks to questions about rows, and from their cells to columns. Pure."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Final

from killswitch.model import Buckets, Matcher, Reason, Selector, Unreadable
from killswitch.sources.asks import LOOKBACK, Ask, Free, Shape, Sum, Users
from killswitch.sources.columns import Column, Point
from killswitch.sources.rows.questions import LATEST_MS, Cells, RowCell, RowQuestion
from killswitch.sources.rows.request_table import EDGES_MS, RequestTable
from killswitch.sources.rows.virtual_counters import CountedColumn, VirtualCounter, counter_of

COUNTING: Final = frozenset({Shape.STEP, Shape.INCREASE, Shape.GROWN, Shape.CLOSE_STEP, Shape.CLOSE_INCREASE})
_USERS: Final = Unreadable(
    Reason.NO_DATA, "rows count users' first requests already: remove `per`, and the rule is judged on these"
)
_FREE: Final = Unreadable(Reason.NO_DATA, "a table of requests answers no free PromQL query; use a standard signal")


class RowCounts:
    """One set of asks over ``ticks`` (Unix seconds): the questions they need, and their columns.

    ``interval`` in seconds is how often rows come in; ``late_after`` in seconds, see `RowQuestion`.
    """

    def __init__(
        self,
        asks: Iterable[Ask],
        ticks: Sequence[float],
        table: RequestTable,
        *,
        interval: float,
        late_after: float = 10.0,
        edges: tuple[float, ...] = EDGES_MS,
    ) -> None:
        self._asks = tuple(asks)
        self._ticks = [round(tick * 1000) for tick in ticks]
        self._table = table
        self._interval = interval
        self._counters = {ask: self._counter(ask) for ask in self._asks}
        of_rows = [
            ask for ask in self._asks if isinstance(ask, Sum) and isinstance(self._counters[ask], VirtualCounter)
        ]
        reaches = {LOOKBACK, *(ask.seconds for ask in of_rows), *(self._fresh(ask) for ask in of_rows)}
        starts = {tick - _ms(seconds) for tick in self._ticks for seconds in reaches}
        self._bounds = tuple(sorted(starts | set(self._ticks)))
        self._place = {bound: at for at, bound in enumerate(self._bounds)}
        late, latest = (round(late_after * 1000), LATEST_MS) if table.inserted else (0, 0)
        self._questions = {
            counter: RowQuestion(
                self._bounds,
                counter.judged,
                edges if counter.counted is CountedColumn.LATENCY else (),
                late_after=late,
                latest=latest,
            )
            for counter in self._counters.values()
            if isinstance(counter, VirtualCounter)
        }
        self._whole = RowQuestion(self._bounds, late_after=late, latest=latest)

    @property
    def questions(self) -> tuple[RowQuestion, ...]:
        """At most four: plain and judged, each with latencies and without."""
        if not self._questions:
            return ()
        return tuple(dict.fromkeys((self._whole, *self._questions.values())))

    def columns(self, cells: Cells) -> dict[Ask, Column]:
        """``cells`` answers `questions`. A question that failed is the reason of every ask that needs it."""
        grouped = {
            question: found if isinstance(found, Unreadable) else _Grouped(found) for question, found in cells.items()
        }
        return {ask: self._column(ask, grouped) for ask in self._asks}

    def _counter(self, ask: Ask) -> VirtualCounter | Unreadable:
        if isinstance(ask, Users):
            return _USERS
        return _FREE if isinstance(ask, Free) else counter_of(ask.selector, self._table)

    def _fresh(self, ask: Sum) -> float:
        """Within how many seconds the table must have rows for "no rows" to mean zero."""
        return max(2 * self._interval, ask.seconds) if ask.shape is Shape.STEP else 2 * self._interval

    def _column(self, ask: Ask, grouped: Mapping[RowQuestion, _Grouped | Unreadable]) -> Column:
        counter = self._counters[ask]
        if isinstance(counter, Unreadable) or not isinstance(ask, Sum):
            return counter if isinstance(counter, Unreadable) else _FREE
        question = self._questions[counter]
        whole, own = grouped[self._whole], grouped[question]
        for each in (whole, own):
            if isinstance(each, Unreadable):
                return each
        assert isinstance(whole, _Grouped)
        assert isinstance(own, _Grouped)
        slots = len(self._bounds) - 1
        exists = whole.number(_of_cohort(ask.selector), slots)
        table = whole.number((), slots)
        if ask.shape in {Shape.FALLS, Shape.CLOSE_FALLS, Shape.LAYOUT}:
            return [None] * len(self._ticks)  # rows never fall, and are all counted by the same edges
        points: list[Point] = []
        chosen = own.chosen(_without_edge(ask.selector))
        per_slot = _edges(chosen, slots, question.edges) if ask.by_le else [_numbers(chosen, slots, counter.counted)]
        sums = [[0, *accumulate(each)] for each in per_slot]
        for tick in self._ticks:
            end, start = self._place[tick], self._place[tick - _ms(ask.seconds)]
            there = exists[end] - exists[self._place[tick - _ms(LOOKBACK)]] > 0
            fresh = table[end] - table[self._place[tick - _ms(self._fresh(ask))]] > 0
            counts = [each[end] - each[start] for each in sums]
            points.append(self._point(ask, counts, question.edges, there=there or counts[-1] > 0, fresh=fresh))
        return points

    def _point(self, ask: Sum, counts: list[int], edges: tuple[float, ...], *, there: bool, fresh: bool) -> Point:
        if not there:
            return None
        if ask.shape not in COUNTING:  # is there anything, and lately?
            return float(max(1, counts[-1])) if fresh else 0.0
        if not fresh and counts[-1] == 0:
            return None
        if ask.by_le:
            return Buckets((*edges, math.inf), tuple(float(each) for each in counts))
        return float(counts[-1])


class _Grouped:
    """The cells of one answer, found by rollout and cohort."""

    def __init__(self, cells: Sequence[RowCell]) -> None:
        self._all = cells
        self._by: dict[tuple[str | None, str | None], list[RowCell]] = defaultdict(list)
        for cell in cells:
            for key in {(cell.rollout, cell.cohort), (None, cell.cohort), (cell.rollout, None)}:
                self._by[key].append(cell)
        self._numbers: dict[tuple[Matcher, ...], list[int]] = {}

    def chosen(self, matchers: tuple[Matcher, ...]) -> Sequence[RowCell]:
        equal = {each.label: each.value for each in matchers if each.operator == "="}
        rollout, cohort = equal.get("rollout"), equal.get("cohort")
        some = self._all if rollout is None and cohort is None else self._by.get((rollout, cohort), ())
        tests = [(each.label, _test(each)) for each in matchers]
        return [cell for cell in some if all(test(getattr(cell, label)) for label, test in tests)]

    def number(self, matchers: tuple[Matcher, ...], slots: int) -> list[int]:
        """Requests before each bound, cumulative."""
        if matchers not in self._numbers:
            of_slots = _numbers(self.chosen(matchers), slots, CountedColumn.REQUESTS)
            self._numbers[matchers] = [0, *accumulate(of_slots)]
        return self._numbers[matchers]


def _numbers(cells: Iterable[RowCell], slots: int, counted: CountedColumn) -> list[int]:
    found = [0] * slots
    for cell in cells:
        found[cell.slot] += (
            cell.refused
            if counted is CountedColumn.REFUSED
            else cell.thumbs_down
            if counted is CountedColumn.THUMBS_DOWN
            else cell.requests
        )
    return found


def _edges(cells: Iterable[RowCell], slots: int, edges: tuple[float, ...]) -> list[list[int]]:
    """Cumulative counts, an edge a row; the last is +Inf. A request without a latency is in none."""
    found = [[0] * slots for _ in range(len(edges) + 1)]
    for cell in cells:
        if cell.edge >= 0:
            found[cell.edge][cell.slot] += cell.requests
    for lower, upper in pairwise(found):
        for slot, number in enumerate(lower):
            upper[slot] += number
    return found


def _of_cohort(selector: Selector) -> tuple[Matcher, ...]:
    return tuple(each for each in selector.matchers if each.label in {"rollout", "cohort", "model"})


def _without_edge(selector: Selector) -> tuple[Matcher, ...]:
    return tuple(each for each in selector.matchers if each.label != "le")


@lru_cache(maxsize=4096)
def _test(matcher: Matcher) -> Callable[[str], bool]:
    value = matcher.value
    if matcher.operator in {"=", "!="}:
        return (lambda text: text == value) if matcher.operator == "=" else (lambda text: text != value)
    whole = re.compile(value).fullmatch
    return (lambda text: bool(whole(text))) if matcher.operator == "=~" else (lambda text: not whole(text))


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
