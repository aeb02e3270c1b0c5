"""What a service follows of roles, as metrics.

==========================================  =======  ===================================================
metric                                      type     labels and meaning
==========================================  =======  ===================================================
llm_roles_stale                             gauge    1 while the newest pins are not known
llm_role_info                               gauge    role, slot, model; 1 for the pin that is served
llm_model_mismatch_total                    counter  role, pinned, answered; answers of another model
killswitch_roles_events_total               counter  what; reads, failures, damaged documents, …
==========================================  =======  ===================================================

``llm_role_info`` has the roles that the service has asked for, 200 series of a process at most. ``answered`` has 20
models for each role, then ``other``. In prometheus-client's multiprocess mode a gauge is the largest of all living
workers', so one worker with old pins shows.
"""

from __future__ import annotations

import os
import weakref
from typing import ClassVar

from prometheus_client import CollectorRegistry, Counter, Gauge

from killswitch.router.observers import Happening
from killswitch.router.pinned.memory import PinnedModels

_MOST_SERIES = 200


class RoleInstruments:
    """The instruments of one registry, shared by all its `Roles`."""

    _of_registry: ClassVar[weakref.WeakKeyDictionary[CollectorRegistry, RoleInstruments]] = weakref.WeakKeyDictionary()

    @classmethod
    def of(cls, registry: CollectorRegistry) -> RoleInstruments:
        """The instruments of ``registry``, made at the first call."""
        known = cls._of_registry.get(registry)
        if known is None:
            known = cls._of_registry[registry] = cls(registry)
        return known

    def __init__(self, registry: CollectorRegistry) -> None:
        self.stale = Gauge(
            "llm_roles_stale", "1 while the newest pins of roles are not known", registry=registry,
            multiprocess_mode="livemax",
        )  # fmt: skip
        self.info = Gauge(
            "llm_role_info", "1 for the model that a slot of a role has", ("role", "slot", "model"), registry=registry,
            multiprocess_mode="livemax",
        )  # fmt: skip
        self.mismatches = Counter(
            "llm_model_mismatch", "Answers of another model than the pinned one", ("role", "pinned", "answered"),
            registry=registry,
        )  # fmt: skip
        self.events = Counter("killswitch_roles_events", "What happened while roles were followed", ("what",),
                              registry=registry)  # fmt: skip


class RoleMetrics:
    """A `killswitch.router.observers.ObserverOf` `PinnedModels` that exports as metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._instruments = RoleInstruments.of(registry)
        self._events = {what: self._instruments.events.labels(what.value) for what in Happening}
        self._instruments.stale.set(1.0)
        self._shown: frozenset[tuple[str, str, str]] = frozenset()
        self._made: set[tuple[str, str, str]] = set()

    def settled(self, snapshot: PinnedModels) -> None:
        info = self._instruments.info
        self._instruments.stale.set(snapshot.stale)
        served = sorted(
            (role, slot.value, model) for slot, models in snapshot.pins.items() for role, model in models.items()
        )
        # a multiprocess file never loses a series: those ever made are bounded there
        in_files = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        made = self._made if in_files else set()
        shown = frozenset([one for one in served if one in made or len(made) < _MOST_SERIES][:_MOST_SERIES])
        for gone in self._shown - shown:
            info.labels(*gone).set(0)
            if not in_files:
                info.remove(*gone)
        for one in shown - self._shown:
            info.labels(*one).set(1)
        self._shown = shown
        self._made |= shown

    def happened(self, what: Happening) -> None:
        self._events[what].inc()
