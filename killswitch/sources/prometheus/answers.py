"""What Prometheus' HTTP API answered, checked: numbers out of good answers, a reason out of all others.

Nothing in an answer is trusted: not its types, its labels, its times or its numbers. Pure.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from killswitch.model import Buckets, Reason, Unreadable
from killswitch.net.bounded_http import excerpt
from killswitch.sources.asks import Ask, Shape
from killswitch.sources.columns import WHOLE, Column, Point, buckets_of
from killswitch.sources.prometheus import quiet
from killswitch.sources.prometheus.native_answers import NotNative, buckets_in, histograms_of
from killswitch.sources.prometheus.queries import Query
from killswitch.sources.prometheus.user_queries import UserQuery
from killswitch.sources.user_counts import too_many

_log = logging.getLogger(__name__)
_logged: set[str] = set()
_MOST_LOGGED: Final = 100
_OF_GAUGE_TYPE: Final = "native histogram metric is not a counter"

Row = Mapping[str, Any]


class Unusable(Exception):
    """An answer that holds no number for anyone who asked; ``unreadable`` says why.

    ``partial``: the rows of an answer that lacks some stores, for questions (the time) that need no store.
    """

    def __init__(self, reason: Reason, detail: str, *, partial: Sequence[Any] = ()) -> None:
        self.unreadable = Unreadable(reason, detail)
        self.partial = partial
        super().__init__(detail)


Showable = Callable[[bytes], bytes]
"""The part of an answer that may be logged."""


def document(body: bytes, showable: Showable = bytes) -> dict[str, Any]:
    """The API's envelope, checked; a scalar is given as a vector of one series without labels.

    Raises Unusable: GARBAGE for anything that is not such an answer, PARTIAL_ANSWER for one that is not whole.
    """
    try:
        found: dict[str, Any] = json.loads(body)
    except (ValueError, RecursionError):
        raise Unusable(Reason.GARBAGE, f"the answer is not JSON but {excerpt(body, 80)!r}") from None
    data = found.get("data") if isinstance(found, dict) else None
    if not isinstance(data, dict) or found.get("status") != "success":
        raise Unusable(Reason.GARBAGE, f"the answer is not one of a Prometheus server: {excerpt(body, 80)!r}")
    result = data.get("result")
    _heed(found.get("warnings"), found.get("infos"), showable)
    _whole({**data, **found}, result if isinstance(result, list) else ())
    if data.get("resultType") == "scalar":
        data["result"] = [{"metric": {}, "value": result}]
    elif data.get("resultType") not in ("vector", "matrix") or not isinstance(result, list):
        raise Unusable(Reason.GARBAGE, f"the answer holds no vector but {excerpt(str(data.get('resultType')), 40)!r}")
    return found


def rows(body: bytes, showable: Showable = bytes) -> Sequence[Any]:
    """The series of an answer. Raises Unusable, as `document` does."""
    found: Sequence[Any] = document(body, showable)["data"]["result"]
    return found


def listed(body: bytes, showable: Showable = bytes) -> frozenset[str]:
    """The texts of an answer that lists names or values. Raises Unusable, as `document` does."""
    try:
        found: dict[str, Any] = json.loads(body)
    except (ValueError, RecursionError):
        raise Unusable(Reason.GARBAGE, f"the answer is not JSON but {excerpt(body, 80)!r}") from None
    if not isinstance(found, dict) or found.get("status") != "success":
        raise Unusable(Reason.GARBAGE, f"the answer is not one of a Prometheus server: {excerpt(body, 80)!r}")
    _heed(found.get("warnings"), found.get("infos"), showable)
    _whole(found, ())
    data = found.get("data")
    if data is None:  # VictoriaMetrics' and Go's nil slice: nothing is there
        return frozenset()
    if not isinstance(data, list) or not all(isinstance(text, str) for text in data):
        raise Unusable(Reason.GARBAGE, "the answer is no list of names")
    return frozenset(data)


def _heed(warnings: Any, infos: Any, showable: Showable) -> None:
    for each in (warnings, infos):
        if each is not None and not (isinstance(each, list) and all(isinstance(text, str) for text in each)):
            raise Unusable(Reason.GARBAGE, "the answer's warnings are no list of sentences")
    partial: list[str] = []
    for text in warnings or ():
        # 2.48 to 2.53 sent as warnings what newer servers send as infos
        if text.startswith("PromQL info:"):
            _log_once(text, showable)
        else:
            partial.append(text)
    for text in infos or ():
        _log_once(text, showable)
    if any(_OF_GAUGE_TYPE in text for text in partial):
        raise Unusable(
            Reason.GARBAGE,
            "the server says that this is a native histogram of gauge type: it shows what is there now, and counts no "
            "requests. Name a histogram of durations",
        )
    if partial:
        raise Unusable(
            Reason.PARTIAL_ANSWER, f"the server warns that its answer may be partial: {excerpt('; '.join(partial))}"
        )


def _whole(fields: Mapping[str, Any], result: Sequence[Any]) -> None:
    """Raises Unusable where a field of the envelope says that the answer is not whole.

    VictoriaMetrics' vmselect says ``"isPartial": true`` with status 200 while one of its stores is down; others have
    other spellings, so any field with "partial" in its name counts, unless it plainly says no.
    """
    for name, value in fields.items():
        if "partial" in name.lower() and value not in _NOT_PARTIAL:
            raise Unusable(
                Reason.PARTIAL_ANSWER,
                f"the server says that its answer is partial ({excerpt(f'{name}: {value}', 60)}): a store behind it is"
                " down or too slow; look there",
                partial=result,
            )


_NOT_PARTIAL: Final[tuple[Any, ...]] = (False, None, "false", "", "no", [], {})


def whole_by_its_headers(headers: Mapping[str, str]) -> None:
    """Raises Unusable where a header says that the answer is not whole, as M3's ``M3-Results-Limited`` does."""
    for name, value in headers.items():
        lowered = name.lower()
        said = "partial" in lowered and value.strip().lower() not in {"", "0", "false", "no"}
        if said or (lowered.endswith("-results-limited") and value.strip()):
            raise Unusable(
                Reason.PARTIAL_ANSWER,
                f"the server says that its answer is not whole ({excerpt(f'{name}: {value}', 80)})",
            )


def _log_once(text: str, showable: Showable) -> None:
    text = excerpt(showable(text.encode(errors="replace")).decode())
    if text not in _logged and len(_logged) < _MOST_LOGGED:
        _logged.add(text)
        _log.info("the metric store remarks: %s", text)


# --- points ------------------------------------------------------------------------------------


def number(text: Any) -> float:
    """A sample's value; always a string in this API. Raises Unusable."""
    # Python's own idea of a number is wider than any server's: 5_0, blanks around it, digits of other scripts
    if type(text) is str and len(text) <= 64 and text.isascii() and "_" not in text and text == text.strip():
        try:
            return float(text)
        except ValueError:
            pass
    raise Unusable(Reason.GARBAGE, f"a sample's value is {excerpt(repr(text), 40)}, not a number")


def _at(time: Any, ticks: Sequence[float], step: float) -> int:
    if time == ticks[0]:
        return 0
    if isinstance(time, (int, float)) and not isinstance(time, bool) and math.isfinite(time):
        at = round((time - ticks[0]) / step)
        if 0 <= at < len(ticks) and abs(time - ticks[at]) < 0.002:
            return at
    raise Unusable(Reason.GARBAGE, f"a sample's time is {excerpt(repr(time), 40)}, which was not asked for")


def _samples(row: Row, ticks: Sequence[float], step: float) -> list[tuple[int, float]]:
    """Position of the tick, and value, of each sample of a series."""
    samples = row.get("values") if "values" in row else [row.get("value")]
    if not isinstance(samples, list):
        raise Unusable(Reason.GARBAGE, "a series of the answer holds no samples (is it a native histogram?)")
    found = []
    for sample in samples:
        if type(sample) is not list or len(sample) != 2:
            raise Unusable(Reason.GARBAGE, "a sample of the answer is no pair of time and value")
        found.append((_at(sample[0], ticks, step), number(sample[1])))
    return found


def _labels(row: Any) -> Mapping[str, str]:
    labels = row.get("metric") if isinstance(row, dict) else None
    if not isinstance(labels, dict):
        raise Unusable(Reason.GARBAGE, "a series of the answer has no labels")
    for value in labels.values():
        if type(value) is not str:
            raise Unusable(Reason.GARBAGE, "a label of the answer is not text")
    return labels


def grouped(query: Query | UserQuery, rows: Sequence[Any], ticks: Sequence[float], step: float) -> dict[Ask, Column]:
    """Each ask's points out of the series of a grouped answer. Raises Unusable.

    The loop runs tens of thousands of times a cycle.
    """
    if isinstance(query, Query) and query.native and query.shape not in {Shape.FALLS, Shape.CLOSE_FALLS}:
        return _native_columns(query, rows, ticks, step)
    names = query.labels
    allowed = {*names, "le"} if query.by_le else set(names)
    tables: dict[tuple[str, ...], dict[str, list[tuple[int, float]]]] = {values: {} for values in query.cells}
    for row in rows:
        labels = _labels(row)
        if not labels.keys() <= allowed:
            raise Unusable(Reason.GARBAGE, "the answer is grouped by labels that were not asked for")
        table = tables.get(tuple([labels.get(name, "") for name in names]))
        if table is None:
            continue  # label values of two asks, combined
        edge = labels.get("le", "") if query.by_le else ""
        if edge in table:
            raise Unusable(Reason.GARBAGE, "the answer holds the same series twice")
        table[edge] = _samples(row, ticks, step)
    column = _columns_of(query)
    bounded = too_many if isinstance(query, UserQuery) else lambda column: column
    return {ask: bounded(column(tables[values], len(ticks))) for values, ask in query.cells.items()}


def _native_columns(query: Query, rows: Sequence[Any], ticks: Sequence[float], step: float) -> dict[Ask, Column]:
    """As `grouped`, of native histograms: -inf where a row says that some need a closer look. Raises Unusable."""
    columns: dict[tuple[str, ...], list[Point]] = {values: [None] * len(ticks) for values in query.cells}
    for row in rows:
        labels = _labels(row)
        column = columns.get(tuple([labels.get(name, "") for name in query.labels]))
        if column is None:
            continue  # label values of two asks, combined
        if "le" in labels:
            for at, _ in _samples(row, ticks, step):
                column[at] = -math.inf
            continue
        try:
            samples = [(time, buckets_in(histogram)) for time, histogram in histograms_of(row)]
        except NotNative as error:
            raise Unusable(Reason.GARBAGE, str(error)) from None
        for time, buckets in samples:
            at = _at(time, ticks, step)
            column[at] = buckets if column[at] is None else column[at]
    return {ask: columns[values] for values, ask in query.cells.items()}


def _columns_of(query: Query | UserQuery) -> Callable[[Mapping[str, Sequence[tuple[int, float]]], int], list[Point]]:
    if query.shape is Shape.LAYOUT:
        return _layouts
    if query.shape is Shape.GROWN:
        return _grown_histograms if query.by_le else _grown_sums
    return _histograms if query.by_le else _sums


def _sums(table: Mapping[str, Sequence[tuple[int, float]]], ticks: int) -> list[Point]:
    points: list[Point] = [None] * ticks
    for at, value in table.get("", ()):
        points[at] = value
    return points


def _histograms(table: Mapping[str, Sequence[tuple[int, float]]], ticks: int) -> list[Point]:
    return [buckets_of(each) if each else None for each in _by_edge(table, ticks)]


def _grown_sums(table: Mapping[str, Sequence[tuple[int, float]]], ticks: int) -> list[Point]:
    return [quiet.grown(point) if isinstance(point, float) else None for point in _sums(table, ticks)]


def _grown_histograms(table: Mapping[str, Sequence[tuple[int, float]]], ticks: int) -> list[Point]:
    """The row without an edge says how many series there are."""
    expected = _sums(table, ticks)
    points: list[Point] = [None] * ticks
    for at, sums in enumerate(_by_edge({edge: samples for edge, samples in table.items() if edge}, ticks)):
        known = expected[at]
        counted = quiet.grown_by_edge(sums, known) if isinstance(known, float) else None
        points[at] = buckets_of(counted) if counted else None
    return points


def _layouts(table: Mapping[str, Sequence[tuple[int, float]]], ticks: int) -> list[Point]:
    """The edges that not all histograms had all the time, with the share of what there is of them."""
    shares = [{edge: share for edge, share in each.items() if share < WHOLE} for each in _by_edge(table, ticks)]
    return [
        Buckets(tuple(sorted(each)), tuple(each[edge] for edge in sorted(each))) if each else None for each in shares
    ]


def _by_edge(table: Mapping[str, Sequence[tuple[int, float]]], ticks: int) -> list[dict[float, float]]:
    counts: list[dict[float, float]] = [{} for _ in range(ticks)]
    for edge, samples in table.items():
        bound = _edge(edge)
        for at, value in samples:
            # 1 and 1.0 are one bucket
            counts[at][bound] = counts[at].get(bound, 0.0) + value
    return counts


@lru_cache(maxsize=4096)
def _edge(text: str) -> float:
    bound = number(text)
    if math.isnan(bound):
        raise Unusable(Reason.GARBAGE, "a bucket's upper edge is not a number")
    return bound


def single(rows: Sequence[Any], ticks: Sequence[float], step: float) -> list[Point]:
    """The points of a free query: one series at each tick, or SEVERAL_SERIES there. Raises Unusable."""
    points: list[Point] = [None] * len(ticks)
    for row in rows:
        _labels(row)
        for at, value in _samples(row, ticks, step):
            points[at] = value if points[at] is None else _SEVERAL
    return points


_SEVERAL: Final = Unreadable(
    Reason.SEVERAL_SERIES, "the query gives several series where one is expected; put sum(…) or max(…) around it"
)
