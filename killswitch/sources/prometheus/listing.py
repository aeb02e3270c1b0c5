"""What a Prometheus has, asked so that a server with a million series is not hurt: `ListsMetrics` over its HTTP API.

Names come from the index (`/api/v1/label/__name__/values`), which reads no samples. Samples are read of one metric at a
time, and the server itself keeps all but the largest rows of an answer to itself (`topk`).
"""

from __future__ import annotations

import statistics
from itertools import pairwise
from typing import Any, Final

from killswitch.deadline import Deadline
from killswitch.model import Matcher, Reason, Selector, Unreadable
from killswitch.sources.inventory import LOOKED_BACK, MOST_VALUES, Grown, Growth
from killswitch.sources.prometheus import answers, promql
from killswitch.sources.prometheus.answers import Unusable
from killswitch.sources.prometheus.client import PrometheusClient

_MEASURED: Final = 600.0  # seconds in which the distance of samples is measured


class PrometheusListing:
    """`ListsMetrics` of one server."""

    def __init__(self, client: PrometheusClient) -> None:
        self._client = client

    def metric_names(self, having: Matcher | None, at: float, deadline: Deadline) -> frozenset[str] | Unreadable:
        match = None if having is None else "{" + promql.matcher(having) + "}"
        return self._listed("__name__", match, at, deadline)

    def label_names(self, metric: str, at: float, deadline: Deadline) -> frozenset[str] | Unreadable:
        found = self._listed(None, promql.series(metric, ()), at, deadline)
        return found if isinstance(found, Unreadable) else found - {"__name__"}

    def label_values(self, label: str, at: float, deadline: Deadline) -> frozenset[str] | Unreadable:
        return self._listed(label, None, at, deadline)

    def _listed(
        self, label: str | None, match: str | None, at: float, deadline: Deadline
    ) -> frozenset[str] | Unreadable:
        return self._client.guarded(
            lambda: self._client.listed(label, match, (at - LOOKED_BACK, at), deadline), deadline
        )

    def series_count(self, selector: Selector, at: float, deadline: Deadline) -> int | Unreadable:
        def count() -> int:
            rows = self._client.rows_at(f"count({promql.selector(selector)})", at, deadline)
            return round(_value(rows[0])) if rows else 0

        return self._client.guarded(count, deadline)

    def growth(
        self, selector: Selector, by: tuple[str, ...], seconds: float, at: float, deadline: Deadline
    ) -> Growth | Unreadable:
        ranged = f"{promql.selector(selector)}[{promql.duration(seconds)}]"
        names = ",".join(map(promql.label_name, by))
        text = f"topk({MOST_VALUES + 1}, sum by ({names}) (increase({ranged})))"

        def grown() -> Growth:
            rows = self._client.rows_at(text, at, deadline)
            found = [Grown({name: _labels(row).get(name, "") for name in by}, _value(row)) for row in rows]
            found.sort(key=lambda row: (-row.growth, tuple(row.labels.items())))
            return Growth(tuple(found[:MOST_VALUES]), len(found) > MOST_VALUES)

        return self._client.guarded(grown, deadline)

    def typical_interval(self, selector: Selector, at: float, deadline: Deadline) -> float | Unreadable:
        """Two questions, each about one series at most: which has the most samples, and when they came."""
        ranged = f"[{promql.duration(_MEASURED)}]"

        def interval() -> float:
            rows = self._client.rows_at(f"topk(1, count_over_time({promql.selector(selector)}{ranged}))", at, deadline)
            labels = _labels(rows[0]) if rows else {}
            exact = tuple(Matcher(name, "=", value) for name, value in sorted(labels.items()) if name != "__name__")
            text = f"{promql.selector(Selector(selector.metric, exact))}{ranged}"
            samples = self._client.rows_at(text, at, deadline) if rows else []
            try:
                stamps = [float(sample[0]) for sample in samples[0]["values"]] if samples else []
            except (LookupError, TypeError, ValueError):
                raise Unusable(Reason.GARBAGE, f"the answer to {text} holds no samples") from None
            gaps = [later - earlier for earlier, later in pairwise(stamps)]
            if not gaps:
                raise Unusable(Reason.NO_DATA, f"no series of {selector.metric} has two samples in ten minutes")
            return statistics.median(gaps)

        return self._client.guarded(interval, deadline)


def _labels(row: Any) -> dict[str, str]:
    labels = row.get("metric") if isinstance(row, dict) else None
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise Unusable(Reason.GARBAGE, "a series of the answer has no labels")
    return labels


def _value(row: Any) -> float:
    try:
        return answers.number(row["value"][1])
    except (LookupError, TypeError):
        raise Unusable(Reason.GARBAGE, "a series of the answer has no value") from None
