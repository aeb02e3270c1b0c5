"""Histograms of gauge type: what is now in each bucket, such as the age of what waits in a queue.

They fall when something leaves, and nothing in them is a request. OpenMetrics marks them by the names of two more
series, ``_gcount`` and ``_gsum``, where a histogram has ``_count`` and ``_sum``. Every format and store keeps those, so
a rule on such buckets is refused as soon as one is there. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from killswitch.model import QuantileSignal, Readings, Reason, Unreadable, Want


def gauge_count(want: Want) -> str | None:
    """The series that only a histogram of gauge type has, for a rule on buckets."""
    signal = want.signal
    return f"{signal.buckets.metric.removesuffix('_bucket')}_gcount" if isinstance(signal, QuantileSignal) else None


def gauge_counts(wants: Iterable[Want]) -> frozenset[str]:
    return frozenset(name for want in wants if (name := gauge_count(want)) is not None)


def without_gauges(
    wants: Sequence[Want], readings: Mapping[float, Readings], there: AbstractSet[str]
) -> Mapping[float, Readings]:
    """The readings, but none of the histograms of which a series among ``there`` says that they are gauges."""
    refused = {want.key: name for want in wants if (name := gauge_count(want)) in there and name is not None}
    if not refused:
        return readings
    problems = {key: _problem(name) for key, name in refused.items()}
    return {
        tick: {
            key: replace(reading, canary=problems[key], control=problems[key]) if key in problems else reading
            for key, reading in at_tick.items()
        }
        for tick, at_tick in readings.items()
    }


def _problem(name: str) -> Unreadable:
    return Unreadable(
        Reason.GARBAGE,
        f"{name} says that this is a histogram of gauge type: it shows what is there now, and counts no requests. Name "
        "a histogram of durations",
    )
