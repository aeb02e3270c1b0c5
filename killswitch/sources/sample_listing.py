"""What samples in memory have, as `ListsMetrics` asks: names, labels, and growth by the values of labels. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from killswitch.deadline import Deadline
from killswitch.model import Matcher, Reason, Selector, Unreadable
from killswitch.sources.asks import LOOKBACK
from killswitch.sources.inventory import LOOKED_BACK, MOST_VALUES, Grown, Growth
from killswitch.sources.samples import SampleSeries, selected


class SampleListing:
    """`ListsMetrics` over series by metric. Nothing to wait for, so that deadlines are not looked at."""

    def __init__(self, by_metric: Mapping[str, Sequence[SampleSeries]]) -> None:
        self._by_metric = by_metric

    def metric_names(self, having: Matcher | None, at: float, deadline: Deadline) -> frozenset[str]:  # noqa: ARG002
        matchers = () if having is None else (having,)
        return frozenset(
            name for name in self._by_metric if any(self._alive(Selector(name, matchers), at, LOOKED_BACK))
        )

    def label_names(self, metric: str, at: float, deadline: Deadline) -> frozenset[str]:  # noqa: ARG002
        return frozenset(label for series in self._alive(Selector(metric), at, LOOKED_BACK) for label in series.labels)

    def label_values(self, label: str, at: float, deadline: Deadline) -> frozenset[str]:  # noqa: ARG002
        every = (series for name in self._by_metric for series in self._alive(Selector(name), at, LOOKED_BACK))
        return frozenset(series.labels[label] for series in every if label in series.labels)

    def series_count(self, selector: Selector, at: float, deadline: Deadline) -> int:  # noqa: ARG002
        return sum(1 for _ in self._alive(selector, at, LOOKBACK))

    def growth(
        self,
        selector: Selector,
        by: tuple[str, ...],
        seconds: float,
        at: float,
        deadline: Deadline,  # noqa: ARG002
    ) -> Growth:
        found: dict[tuple[str, ...], float] = {}
        for series in self._alive(selector, at, seconds):
            values = series.values[_between(series, at - seconds, at)]
            steps = np.diff(values)
            key = tuple(series.labels.get(name, "") for name in by)
            # a counter that falls has begun again from zero
            found[key] = found.get(key, 0.0) + float(np.where(steps >= 0, steps, values[1:]).sum())
        rows = [Grown(dict(zip(by, key, strict=True)), growth) for key, growth in found.items()]
        rows.sort(key=lambda row: (-row.growth, tuple(row.labels.items())))
        return Growth(tuple(rows[:MOST_VALUES]), len(rows) > MOST_VALUES)

    def typical_interval(self, selector: Selector, at: float, deadline: Deadline) -> float | Unreadable:  # noqa: ARG002
        stamps = [
            series.stamps[_between(series, at - LOOKED_BACK, at)] for series in self._alive(selector, at, LOOKED_BACK)
        ]
        most = max(stamps, key=len, default=np.empty(0))
        if len(most) < 2:
            return Unreadable(Reason.NO_DATA, f"no series of {selector.metric} has two samples in an hour")
        return float(np.median(np.diff(most))) / 1000

    def _alive(self, selector: Selector, at: float, seconds: float) -> Iterator[SampleSeries]:
        for series in selected(self._by_metric.get(selector.metric, ()), selector):
            if _between(series, at - seconds, at).any():
                yield series


def _between(series: SampleSeries, since: float, until: float) -> np.ndarray:
    return (series.stamps > round(since * 1000)) & (series.stamps <= round(until * 1000))
