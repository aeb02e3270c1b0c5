"""When each flag was tripped, and when its stage began, made from the newest flags when Prometheus scrapes.

A dashboard marks these moments exactly: the value is the time, so nothing depends on when it was scraped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from killswitch.flags.flag import Flag, drilled

MAX_FLAGS: Final = 5_000
_TRIP: Final = ("killswitch_trip_timestamp_seconds", "When the flag was tripped; no series while it is not.")
_STAGE: Final = ("killswitch_stage_timestamp_seconds", "When the stage that the flag is in began.")


class FlagMetrics(Collector):
    """Collects the newest flags: a cycle sets them, a scrape reads them."""

    def __init__(self) -> None:
        self._flags: dict[str, Flag] = {}

    def set(self, rollout: str, flag: Flag | None) -> None:
        if flag is None:
            self._flags.pop(rollout, None)
        elif rollout in self._flags or len(self._flags) < MAX_FLAGS:
            self._flags[rollout] = flag

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily(*_TRIP, labels=("rollout",))
        yield GaugeMetricFamily(*_STAGE, labels=("rollout", "stage"))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        trips, stages = self.describe()
        for rollout, flag in sorted(self._flags.copy().items()):
            if flag.trip is not None and not drilled(flag):
                trips.add_metric((rollout,), flag.trip.at)
            if flag.armed and flag.stages:
                stages.add_metric((rollout, flag.stage), flag.stages[-1].at)
        yield trips
        yield stages
