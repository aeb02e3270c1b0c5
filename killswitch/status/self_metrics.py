"""What the controller says of itself, for Prometheus: every name begins with ``killswitch_``."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from killswitch.model import Finding
from killswitch.status.rule_metrics import RuleMetrics


class SelfMetrics:
    """One registry a daemon; labels are rollout and rule names, which come from rule files only."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        self._rules = RuleMetrics()
        self.registry.register(self._rules)
        self.build_info = Gauge("killswitch_build_info", "Always 1.", ["version"], registry=self.registry)
        self.build_info.labels(version).set(1)
        self.last_good_evaluation = Gauge(
            "killswitch_last_good_evaluation_timestamp_seconds",
            "Newest tick at which this replica had a usable verdict for the rollout.",
            ["rollout"],
            registry=self.registry,
        )
        self.armed = Gauge(
            "killswitch_rollout_armed",
            "1 armed, 0 tripped or without flag, NaN while flags cannot be read.",
            ["rollout"],
            registry=self.registry,
        )
        self.canary_percent = Gauge(
            "killswitch_canary_percent",
            "The flag's percent, 0 to 100; NaN while flags cannot be read.",
            ["rollout"],
            registry=self.registry,
        )
        self.trips = Counter(
            "killswitch_trips",
            "Trips this replica decided, by what became of them.",
            ["rollout", "outcome"],
            registry=self.registry,
        )
        self.trip_seconds = Histogram(
            "killswitch_trip_seconds",
            "From the tick to the answered commit of the flip.",
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 7.5, 10, 15, 30, 60),
            registry=self.registry,
        )
        self.trip_failures = Counter(
            "killswitch_trip_failures", "Attempts to trip that the flag store did not take.", registry=self.registry
        )
        self.trips_under_way = Gauge(
            "killswitch_trips_under_way", "Trips decided and not yet committed.", registry=self.registry
        )
        self.cycle_seconds = Histogram(
            "killswitch_cycle_seconds",
            "One cycle, from its start to its sentences.",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
            registry=self.registry,
        )
        self.cycles = Counter("killswitch_cycles", "Cycles finished.", registry=self.registry)
        self.missed_ticks = Counter(
            "killswitch_missed_ticks",
            "Ticks of the grid that no cycle of this replica began on.",
            registry=self.registry,
        )
        self.counter_falls = Counter(
            "killswitch_counter_falls",
            "Readings that were not used, since a counter fell while its process went on.",
            ["rollout", "rule"],
            registry=self.registry,
        )
        self.store_up = Gauge(
            "killswitch_store_up", "1 when the flag store answered last time.", registry=self.registry
        )
        self._flags_read_at = Gauge(
            "killswitch_flags_read_timestamp_seconds",
            "When all flags were last read; 0 for never.",
            registry=self.registry,
        )
        self.source_up = Gauge(
            "killswitch_source_up", "1 when the metric source answered last time.", registry=self.registry
        )
        self.rules_reload_ok = Gauge(
            "killswitch_rules_reload_ok", "1 when the newest rule files are in force.", registry=self.registry
        )
        self.rules_reloaded_at = Gauge(
            "killswitch_rules_reload_timestamp_seconds", "When rules were last taken over.", registry=self.registry
        )
        self.rollouts_without_rules = Gauge(
            "killswitch_rollouts_without_rules",
            "Armed flags that no rule file watches; NaN while flags cannot be read.",
            registry=self.registry,
        )
        self.pages = Counter(
            "killswitch_pages", "Pages by receiver and outcome.", ["receiver", "outcome"], registry=self.registry
        )
        self.clock_jumps = Counter(
            "killswitch_clock_jumps", "Steps of the wall clock that were noticed.", registry=self.registry
        )
        self.heartbeat_calls = Counter(
            "killswitch_heartbeat_calls", "Calls of the dead man's switch.", ["outcome"], registry=self.registry
        )

    def findings(self, rollout: str, findings: Iterable[Finding]) -> None:
        """What the rollout's rules say now; a rule that is not judged any more has no series."""
        self._rules.set(rollout, findings)

    def flags_read(self, at: float | None) -> None:
        """``at`` in Unix seconds, None for never."""
        self._flags_read_at.set(at or 0.0)

    def forget(self, rollout: str) -> None:
        """Drop the series of a rollout that no rule file names any more."""
        self._rules.forget(rollout)
        for family in (self.last_good_evaluation, self.armed, self.canary_percent, self.counter_falls):
            family.remove_by_labels({"rollout": rollout})
