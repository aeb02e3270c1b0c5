"""What this replica remembers of both cohorts, for its pages; and what it keeps of them around each trip."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from killswitch.controller.trend_filling import TrendFilling
from killswitch.controller.trip_trends import TripTrends
from killswitch.model import Rollout
from killswitch.sources import Source
from killswitch.status.reports import CycleReport
from killswitch.stores import Store
from killswitch.trends.memory import TrendMemory
from killswitch.trends.trend import Span, Trend

log = logging.getLogger(__name__)


class TrendView:
    """Thread-safe. ``source`` is this view's own: no cycle waits for what is read for a chart."""

    def __init__(
        self,
        store: Store,
        source: Source,
        *,
        controller_id: str,
        rollouts: Callable[[], Mapping[str, Rollout]],
        monotonic: Callable[[], float],
    ) -> None:
        self._source = source
        self._memory = TrendMemory()
        self._filling = TrendFilling(self._memory, source, rollouts=rollouts, monotonic=monotonic)
        self._trips = TripTrends(
            store, self._memory, source, controller_id=controller_id, rollouts=rollouts, monotonic=monotonic
        )
        self._tick: float | None = None

    def cycle_finished(self, report: CycleReport) -> None:
        """Remember the findings of a cycle. Never raises: a chart must not make a replica look hung."""
        try:
            self._memory.forget(report.reports)
            self._memory.take(report.tick, {name: one.findings for name, one in report.reports.items()})
            flags = [one.flag for one in report.reports.values() if one.flag is not None]
            self._trips.notice(flags, report.tick)
            self._tick = report.tick
        except Exception:
            log.exception("remembering both cohorts: unexpected error")

    def look(self) -> None:
        """Keep what is remembered of new trips, and read what charts lack; to be called every second or so."""
        self._trips.look()
        self._filling.look()

    def close(self) -> None:
        self._source.close()

    def trend(self, rollout: str, span: Span) -> tuple[Trend, bool] | None:
        """The rollout's trend up to the newest tick, and whether gaps of it are being filled; None before a cycle."""
        if self._tick is None:
            return None
        filling = self._filling.want(rollout, span, self._tick)
        return self._memory.trend(rollout, span, self._tick), filling
