"""What a mirror does, as metrics.

==========================================  =======  ==================================================
metric                                      type     labels and meaning
==========================================  =======  ==================================================
killswitch_route_canary_percent             gauge    rollout, route; what the route gives the canary
killswitch_route_as_wanted                  gauge    rollout, route; 1 while the route is as the flag says
killswitch_route_passes_total               counter  rollout, route, result: as wanted, not, unknown
==========================================  =======  ==================================================
"""

from __future__ import annotations

import math

from prometheus_client import CollectorRegistry, Counter, Gauge

from killswitch.gateway.mirroring import MirrorState


class MirrorMetrics:
    """The instruments of one mirror; all its series exist from the start."""

    def __init__(self, registry: CollectorRegistry, rollout: str, route: str) -> None:
        labels = ("rollout", "route")
        percent = Gauge(
            "killswitch_route_canary_percent", "Percent that the route gives the canary", labels, registry=registry
        )
        wanted = Gauge("killswitch_route_as_wanted", "1 while the route is as the flag says", labels, registry=registry)
        passes = Counter("killswitch_route_passes", "Looks at the route", (*labels, "result"), registry=registry)
        self._percent = percent.labels(rollout, route)
        self._wanted = wanted.labels(rollout, route)
        self._passes = {result: passes.labels(rollout, route, result) for result in ("as_wanted", "not", "unknown")}
        self._percent.set(math.nan)

    def update(self, state: MirrorState) -> None:
        self._percent.set(math.nan if state.percent is None else state.percent)
        self._wanted.set(state.reached)
        result = "unknown" if state.percent is None else "as_wanted" if state.reached else "not"
        self._passes[result].inc()
