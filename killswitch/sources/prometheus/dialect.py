"""How one server reads PromQL: learned by two questions that need no store, and again every ten minutes.

A server may be upgraded. While a question has no answer, what was learned before holds, and both are asked again.
"""

from __future__ import annotations

import time
from typing import Final

from killswitch.deadline import Deadline
from killswitch.model import Reason, Unreadable
from killswitch.sources.prometheus import quiet
from killswitch.sources.prometheus.client import PrometheusClient
from killswitch.sources.prometheus.queries import Ranges

_LEARN_AGAIN: Final = 600.0  # seconds
_SAYS_NO: Final = frozenset({Reason.SOURCE_REFUSED, Reason.GARBAGE})
"""Answers of a server that was asked something it does not understand."""


class Dialect:
    """``ranges``: how the server reads ranges. ``takes_pairs``: whether it answers `Shape.GROWN` correctly."""

    def __init__(self, client: PrometheusClient, scrape_interval: float) -> None:
        self._client = client
        self._interval = scrape_interval
        self._learn_at = 0.0
        self.ranges = Ranges(scrape_interval)
        self.takes_pairs = False

    def learn(self, tick: float, deadline: Deadline) -> None:
        """Ask the server, if it has not been asked lately.

        A subquery over one second holds two points where both ends of a range count, else one.
        """
        if time.monotonic() < self._learn_at:
            return
        at = float(int(tick))
        points = self._client.instant("count_over_time(vector(1)[1s:1s])", at, deadline)
        if points not in {1.0, 2.0}:
            return
        self.ranges = Ranges(self._interval, left_open=points == 1.0)
        pairs = self._client.instant(quiet.PROBE, at, deadline)
        if isinstance(pairs, Unreadable) and pairs.reason not in _SAYS_NO:
            return
        self.takes_pairs = pairs == 2.0
        self._learn_at = time.monotonic() + _LEARN_AGAIN
