"""What a router obeys, as metrics: percent, state, generation, revision, events.

==========================================  =======  ==================================================
metric                                      type     labels and meaning
==========================================  =======  ==================================================
killswitch_router_canary_percent            gauge    rollout; what is obeyed now (0: everyone to control)
killswitch_router_standing                  gauge    rollout, standing; 1 for the router's state
killswitch_router_generation                gauge    rollout; of the flag that is obeyed
killswitch_router_revision                  gauge    rollout; the store's, of the flag that is obeyed
killswitch_router_events_total              counter  rollout, what; reads, failures, bad documents, …
killswitch_router_exposures_total           counter  rollout, outcome; rows of the log of exposures, written or dropped
==========================================  =======  ==================================================

In prometheus-client's multiprocess mode a gauge is the largest of all living workers', so one worker
that still obeys an armed flag shows.
"""

from __future__ import annotations

import weakref
from typing import ClassVar

from prometheus_client import CollectorRegistry, Counter, Gauge

from killswitch.router.failsafe import RouterState
from killswitch.router.observers import Happening
from killswitch.router.snapshot import ObeyedFlag


class _Gauges:
    """The instruments of one registry, shared by all its routers."""

    of_registry: ClassVar[weakref.WeakKeyDictionary[CollectorRegistry, _Gauges]] = weakref.WeakKeyDictionary()

    @classmethod
    def of(cls, registry: CollectorRegistry) -> _Gauges:
        """The instruments of ``registry``, made at the first call."""
        known = cls.of_registry.get(registry)
        if known is None:
            known = cls.of_registry[registry] = cls(registry)
        return known

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(
                f"killswitch_router_{name}", text, ("rollout", *labels), registry=registry, multiprocess_mode="livemax"
            )

        self.percent = gauge("canary_percent", "Percent of users whom this router sends to the canary")
        self.standing = gauge("standing", "1 for this router's state", "standing")
        self.generation = gauge("generation", "Generation of the flag that this router obeys")
        self.revision = gauge("revision", "Revision of the store at the flag that this router obeys")
        self.events = Counter(
            "killswitch_router_events", "What happened to this router", ("rollout", "what"), registry=registry
        )
        self.exposures = Counter(
            "killswitch_router_exposures", "Rows of the log of exposures", ("rollout", "outcome"), registry=registry
        )


def exposure_counter(registry: CollectorRegistry) -> Counter:
    """The counter of `killswitch.router.exposures`."""
    return _Gauges.of(registry).exposures


class StandingMetrics:
    """A `killswitch.router.observers.Observer` that exports as metrics; all its series exist from the start."""

    def __init__(self, rollout: str, registry: CollectorRegistry) -> None:
        gauges = _Gauges.of(registry)
        self._percent = gauges.percent.labels(rollout)
        self._generation = gauges.generation.labels(rollout)
        self._revision = gauges.revision.labels(rollout)
        self._standing = {standing: gauges.standing.labels(rollout, standing.value) for standing in RouterState}
        self._events = {what: gauges.events.labels(rollout, what.value) for what in Happening}

    def settled(self, snapshot: ObeyedFlag) -> None:
        self._percent.set(snapshot.canary_percent)
        self._generation.set(snapshot.generation)
        self._revision.set(snapshot.revision)
        for standing, gauge in self._standing.items():
            gauge.set(standing is snapshot.standing)

    def happened(self, what: Happening) -> None:
        self._events[what].inc()
