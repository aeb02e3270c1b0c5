"""Histograms that Prometheus keeps in native form only, read where a rule's classic buckets are not there.

Which form a server keeps is a setting of each scrape job, and may change at any time. So nothing is remembered of it:
each cohort whose ``_bucket`` series cannot be read at a tick is asked for natively, under the histogram's own name.
Where both forms are kept, the classic one is read.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from killswitch.model import Buckets, Measurement, QuantileSignal, Reading, Readings, Reason, Selector, Unreadable, Want
from killswitch.sources.asks import is_native
from killswitch.sources.prometheus.native_answers import comparable, edges_of, schema_of

_NOT_THERE: Final = frozenset({Reason.NO_DATA, Reason.STALE, Reason.GAP})
"""Why classic buckets cannot be read, when there are none any more or not yet."""

_MOST_EDGES: Final = 250  # of one metric of a rollout


class NativeHistograms:
    """Keeps the custom edges that each rollout shows: an answer leaves out the empty buckets. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._custom: dict[tuple[str, str], frozenset[float]] = {}

    def wants(self, wants: Sequence[Want], readings: Mapping[float, Readings]) -> list[Want]:
        """The wants whose classic buckets could not be read at some tick, as wants of native histograms."""
        found = []
        for want in wants:
            signal = want.signal
            if not isinstance(signal, QuantileSignal) or is_native(signal.buckets):
                continue
            if any(_lacks(side) for each in readings.values() for side in _sides(each[want.key])):
                name = signal.buckets.metric.removesuffix("_bucket")
                native = replace(signal, buckets=Selector(name, signal.buckets.matchers))
                found.append(replace(want, signal=native))
        return found

    def merged(
        self, wants: Sequence[Want], classic: Mapping[float, Readings], native: Mapping[float, Readings]
    ) -> Mapping[float, Readings]:
        """The readings, with what native histograms answer where classic buckets are not there."""
        for want in wants:
            for readings in native.values():
                self._learn(want, readings[want.key])
        return {
            tick: {**readings, **{want.key: self._reading(want, readings, native[tick]) for want in wants}}
            for tick, readings in classic.items()
        }

    def _learn(self, want: Want, reading: Reading) -> None:
        signal = want.signal
        assert isinstance(signal, QuantileSignal)
        key = (want.rollout, signal.buckets.metric)
        for side in _sides(reading):
            if not isinstance(side, Buckets) or schema_of(side, signal.unit_seconds) is not None:
                continue
            with self._lock:
                every = self._custom.get(key, frozenset()) | edges_of(side)
                if len(every) <= _MOST_EDGES:
                    self._custom[key] = every

    def _reading(self, want: Want, classic: Readings, native: Readings) -> Reading:
        signal, first, second = want.signal, classic[want.key], native[want.key]
        assert isinstance(signal, QuantileSignal)
        pairs = list(zip(_sides(first), _sides(second), strict=True))
        natively = [_lacks(one) and _says_more(other) for one, other in pairs]
        if not any(natively):
            return first
        sides = [other if chosen else one for (one, other), chosen in zip(pairs, natively, strict=True)]
        histograms = [side for side in sides if isinstance(side, Buckets)]
        custom = self._custom.get((want.rollout, signal.buckets.metric), frozenset())
        of_classic = {edge for one, chosen in zip(sides, natively, strict=True) if not chosen for edge in _edges(one)}
        alike = iter(comparable(histograms, custom, of_classic, signal.unit_seconds))
        canary, control = (next(alike) if isinstance(side, Buckets) else side for side in sides)
        return replace(second, canary=canary, control=control)


def _sides(reading: Reading) -> tuple[Measurement, Measurement]:
    return reading.canary, reading.control


def _edges(side: Measurement) -> frozenset[float]:
    return edges_of(side) if isinstance(side, Buckets) else frozenset()


def _lacks(side: Measurement) -> bool:
    return isinstance(side, Unreadable) and side.reason in _NOT_THERE


def _says_more(side: Measurement) -> bool:
    """A server that refuses the question knows no native histograms, and says nothing about these."""
    return not (isinstance(side, Unreadable) and side.reason in {Reason.NO_DATA, Reason.SOURCE_REFUSED})
