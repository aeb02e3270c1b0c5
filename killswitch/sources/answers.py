"""What Prometheus' HTTP API answered, checked: numbers out of good answers, a reason out of all others.

Nothing in an answer is trusted: not its types, its labels, its times or its numbers. Pure.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from killswitch.bounded_http import excerpt
from killswitch.model import Buckets, Reason, Unreadable
from killswitch.sources.plan import Ask, Query, Sum
from killswitch.sources.readings import Column, Point, buckets_of

_log = logging.getLogger(__name__)
_logged: set[str] = set()
_MOST_LOGGED: Final = 100

Row = Mapping[str, Any]


class Unusable(Exception):  # noqa: N818  it carries an Unreadable and is called after it
    """An answer that holds no number for anyone who asked; ``unreadable`` says why."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.unreadable = Unreadable(reason, detail)
        super().__init__(detail)


def document(body: bytes) -> dict[str, Any]:
    """The API's envelope, checked; a scalar is given as a vector of one series without labels.

    Raises Unusable: GARBAGE for anything that is not such an answer, PARTIAL_ANSWER for one with warnings.
    """
    try:
        found: dict[str, Any] = json.loads(body)
    except (ValueError, RecursionError):
        raise Unusable(Reason.GARBAGE, f"the answer is not JSON but {excerpt(body, 80)!r}") from None
    data = found.get("data") if isinstance(found, dict) else None
    if not isinstance(data, dict) or found.get("status") != "success":
        raise Unusable(Reason.GARBAGE, f"the answer is not one of a Prometheus server: {excerpt(body, 80)!r}")
    _heed(found.get("warnings"), found.get("infos"))
    result = data.get("result")
    if data.get("resultType") == "scalar":
        data["result"] = [{"metric": {}, "value": result}]
    elif data.get("resultType") not in {"vector", "matrix"} or not isinstance(result, list):
        raise Unusable(Reason.GARBAGE, f"the answer holds no vector but {excerpt(str(data.get('resultType')), 40)!r}")
    return found


def _heed(warnings: Any, infos: Any) -> None:
    for each in (warnings, infos):
        if each is not None and not (isinstance(each, list) and all(isinstance(text, str) for text in each)):
            raise Unusable(Reason.GARBAGE, "the answer's warnings are no list of sentences")
    partial: list[str] = []
    for text in warnings or ():
        # what newer servers send as infos, 2.48 to 2.53 sent as warnings
        (_log_once if text.startswith("PromQL info:") else partial.append)(text)
    for text in infos or ():
        _log_once(text)
    if partial:
        raise Unusable(
            Reason.PARTIAL_ANSWER, f"the server warns that its answer may be partial: {excerpt('; '.join(partial))}"
        )


def _log_once(text: str) -> None:
    text = excerpt(text)
    if text not in _logged and len(_logged) < _MOST_LOGGED:
        _logged.add(text)
        _log.info("the metric store remarks: %s", text)


# --- points ------------------------------------------------------------------------------------


def number(text: Any) -> float:
    """A sample's value; always a string in this API. Raises Unusable."""
    if isinstance(text, str) and len(text) <= 64 and "_" not in text:
        try:
            return float(text)
        except ValueError:
            pass
    raise Unusable(Reason.GARBAGE, f"a sample's value is {excerpt(repr(text), 40)}, not a number")


def _at(time: Any, ticks: Sequence[float], step: float) -> int:
    if isinstance(time, (int, float)) and not isinstance(time, bool) and math.isfinite(time):
        at = round((time - ticks[0]) / step)
        if 0 <= at < len(ticks) and abs(time - ticks[at]) < 0.002:
            return at
    raise Unusable(Reason.GARBAGE, f"a sample's time is {excerpt(repr(time), 40)}, which was not asked for")


def _samples(row: Any, ticks: Sequence[float], step: float) -> Iterator[tuple[int, float]]:
    """Position of the tick, and value, of each sample of a series."""
    samples = None
    if isinstance(row, dict):
        samples = row.get("values") if "values" in row else [row.get("value")]
    if not isinstance(samples, list):
        raise Unusable(Reason.GARBAGE, "a series of the answer holds no samples (native histograms are not read)")
    for sample in samples:
        if not isinstance(sample, list) or len(sample) != 2:
            raise Unusable(Reason.GARBAGE, "a sample of the answer is no pair of time and value")
        yield _at(sample[0], ticks, step), number(sample[1])


def _labels(row: Any, allowed: frozenset[str]) -> Mapping[str, str]:
    labels = row.get("metric") if isinstance(row, dict) else None
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise Unusable(Reason.GARBAGE, "a series of the answer has no labels")
    if not labels.keys() <= allowed:
        raise Unusable(Reason.GARBAGE, "the answer is grouped by labels that were not asked for")
    return labels


def grouped(query: Query, rows: Sequence[Any], ticks: Sequence[float], step: float) -> dict[Ask, Column]:
    """Each ask's points out of the series of a grouped answer. Raises Unusable."""
    allowed = frozenset({*query.labels, "le"} if query.by_le else query.labels)
    sums: dict[Sum, list[Point]] = {}
    buckets: dict[Sum, list[dict[float, float]]] = {}
    told: set[tuple[tuple[str, ...], str | None]] = set()
    for row in rows:
        labels = _labels(row, allowed)
        values = tuple([labels.get(label, "") for label in query.labels])
        edge = labels.get("le", "") if query.by_le else None
        if (values, edge) in told:
            raise Unusable(Reason.GARBAGE, "the answer holds the same series twice")
        told.add((values, edge))
        ask = query.cells.get(values)
        if ask is None:
            continue  # label values of two asks, combined
        if edge is None:
            column = sums.setdefault(ask, [None] * len(ticks))
            for at, value in _samples(row, ticks, step):
                column[at] = value
        else:
            bound = number(edge)
            table = buckets.get(ask) or buckets.setdefault(ask, [{} for _ in ticks])
            for at, value in _samples(row, ticks, step):
                # 1 and 1.0 are one bucket
                table[at][bound] = table[at].get(bound, 0.0) + value
    empty: list[Point] = [None] * len(ticks)
    if query.by_le:
        return {ask: _histograms(buckets[ask]) if ask in buckets else empty for ask in query.cells.values()}
    return {ask: sums.get(ask, empty) for ask in query.cells.values()}


def _histograms(table: Sequence[Mapping[float, float]]) -> list[Point]:
    points: list[Point] = [buckets_of(counts) if counts else None for counts in table]
    if any(isinstance(point, Buckets) and any(map(math.isnan, point.bounds)) for point in points):
        raise Unusable(Reason.GARBAGE, "a bucket's upper edge is not a number")
    return points


def single(rows: Sequence[Any], ticks: Sequence[float], step: float) -> list[Point]:
    """The points of a free query: one series at each tick, or SEVERAL_SERIES there. Raises Unusable."""
    points: list[Point] = [None] * len(ticks)
    for row in rows:
        for at, value in _samples(row, ticks, step):
            points[at] = value if points[at] is None else _SEVERAL
    return points


_SEVERAL: Final = Unreadable(
    Reason.SEVERAL_SERIES, "the query gives several series where one is expected; put sum(…) or max(…) around it"
)
