"""Which histograms are of gauge type: one question of all rules' names, every ten minutes."""

from __future__ import annotations

import time
from typing import Any, Final

from killswitch.deadline import Deadline
from killswitch.model import Unreadable
from killswitch.sources.prometheus import promql
from killswitch.sources.prometheus.client import PrometheusClient

_AGAIN: Final = 600.0  # seconds


class GaugeLookups:
    """Keeps what the server said last. If a question fails, that holds, and the question is asked again."""

    def __init__(self, client: PrometheusClient) -> None:
        self._client = client
        self._asked: frozenset[str] = frozenset()
        self._there: frozenset[str] = frozenset()
        self._again_at = 0.0

    def there(self, names: frozenset[str], tick: float, deadline: Deadline) -> frozenset[str]:
        """Those of the ``_gcount`` series' ``names`` that exist."""
        if not names or (names <= self._asked and time.monotonic() < self._again_at):
            return self._there

        def asked() -> list[Any]:
            text = f"count by (__name__) ({{{promql.one_of('__name__', names)}}})"
            return [row["metric"].get("__name__") for row in self._client.rows_at(text, tick, deadline)]

        found = self._client.guarded(asked, deadline)
        if not isinstance(found, Unreadable):
            self._there = (self._there - names) | names.intersection(found)
            self._asked, self._again_at = self._asked | names, time.monotonic() + _AGAIN
        return self._there
