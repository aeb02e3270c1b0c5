"""The metrics of the daemon itself, for Prometheus: every name begins with ``killswitch_``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from killswitch.flags.flag import Flag
from killswitch.model import Finding
from killswitch.status.flag_metrics import FlagMetrics
from killswitch.status.rule_metrics import RuleMetrics

_TRIP_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 7.5, 10, 15, 30, 60)
_CYCLE_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)


class SelfMetrics:
    """One registry for each daemon. Labels are the names of rollouts and rules, which come from rule files only."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        self._rules = RuleMetrics()
        self.registry.register(self._rules)
        self._flags = FlagMetrics()
        self.registry.register(self._flags)
        self.build_info = self._gauge("killswitch_build_info", "Always 1.", "version")
        self.build_info.labels(version).set(1)
        self._add_rollouts()
        self._add_cycles_and_trips()
        self._add_surroundings()
        self._add_drills()

    def _add_rollouts(self) -> None:
        self.last_good_evaluation = self._gauge(
            "killswitch_last_good_evaluation_timestamp_seconds",
            "Newest tick at which this replica had a usable verdict for the rollout.",
            "rollout",
        )
        self.armed = self._gauge(
            "killswitch_rollout_armed", "1 armed, 0 tripped or without flag, NaN while flags cannot be read.", "rollout"
        )
        self.canary_percent = self._gauge(
            "killswitch_canary_percent", "The flag's percent, 0 to 100; NaN while flags cannot be read.", "rollout"
        )
        self.counter_falls = self._counter(
            "killswitch_counter_falls",
            "Readings that were not used, because a counter fell although its process did not restart.",
            "rollout",
            "rule",
        )
        self.rollouts_without_rules = self._gauge(
            "killswitch_rollouts_without_rules",
            "Armed flags that no rule file monitors; NaN while flags cannot be read.",
        )

    def _add_cycles_and_trips(self) -> None:
        self.cycle_seconds = self._histogram(
            "killswitch_cycle_seconds", "One cycle, from its start to its sentences.", _CYCLE_SECONDS
        )
        self.cycles = self._counter("killswitch_cycles", "Cycles finished.")
        self.missed_ticks = self._counter("killswitch_missed_ticks", "Ticks at which this replica began no cycle.")
        self.trips = self._counter(
            "killswitch_trips", "Trips that this replica decided, by outcome.", "rollout", "outcome"
        )
        self.trip_seconds = self._histogram(
            "killswitch_trip_seconds", "From the tick to the answered commit of the flip.", _TRIP_SECONDS
        )
        self.trip_failures = self._counter(
            "killswitch_trip_failures", "Attempts to trip that the flag store did not accept."
        )
        self.trips_under_way = self._gauge("killswitch_trips_under_way", "Trips decided and not yet committed.")

    def _add_surroundings(self) -> None:
        self.store_up = self._gauge("killswitch_store_up", "1 when the flag store answered last time.")
        self._flags_read_at = self._gauge(
            "killswitch_flags_read_timestamp_seconds", "When all flags were last read; 0 for never."
        )
        self.source_up = self._gauge("killswitch_source_up", "1 when the metric source answered last time.")
        self.rules_reload_ok = self._gauge("killswitch_rules_reload_ok", "1 when the newest rule files are in force.")
        self.rules_reloaded_at = self._gauge(
            "killswitch_rules_reload_timestamp_seconds", "When rules were last loaded."
        )
        self.alerts = self._counter(
            "killswitch_alerts", "What alerts of an Alertmanager have done, by outcome.", "outcome"
        )
        self.pages = self._counter("killswitch_pages", "Pages by receiver and outcome.", "receiver", "outcome")
        self.clock_jumps = self._counter("killswitch_clock_jumps", "Steps of the wall clock that were noticed.")
        self.slack_presses = self._counter(
            "killswitch_slack_presses",
            "Buttons, dialogs and slash commands from Slack, and what became of them.",
            "what",
            "outcome",
        )
        self.slack_socket_connected = self._gauge(
            "killswitch_slack_socket_connected",
            "1 while this replica is connected to Slack's socket; NaN where no slack_app_token is set.",
        )
        self.slack_socket_connected.set(math.nan)
        self.heartbeat_calls = self._counter("killswitch_heartbeat_calls", "Calls of the dead man's switch.", "outcome")

    def _add_drills(self) -> None:
        self.drill_last = self._gauge(
            "killswitch_drill_last_timestamp_seconds",
            "When a drill of it last passed; 0 for never.",
            "rollout",
        )
        self.drill_ok = self._gauge(
            "killswitch_drill_ok", "1 if the last drill passed and no scheduled one was missed since.", "rollout"
        )
        self.drill_seconds = self._gauge(
            "killswitch_drill_seconds", "How long each leg of the rollout's last drill took.", "rollout", "leg"
        )
        self.drill_worst = self._gauge(
            "killswitch_drill_worst_seconds", "The slowest rollback of the rollout's kept drills.", "rollout"
        )
        self.drill_due = self._gauge(
            "killswitch_drill_due_timestamp_seconds", "When the rollout's next scheduled drill is due.", "rollout"
        )

    def _gauge(self, name: str, said: str, *labels: str) -> Gauge:
        return Gauge(name, said, labels, registry=self.registry)

    def _counter(self, name: str, said: str, *labels: str) -> Counter:
        return Counter(name, said, labels, registry=self.registry)

    def _histogram(self, name: str, said: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, said, buckets=buckets, registry=self.registry)

    def findings(self, rollout: str, findings: Iterable[Finding]) -> None:
        """Take over the newest findings. A rule that is no longer judged has no series."""
        self._rules.set(rollout, findings)

    def flag(self, rollout: str, flag: Flag | None) -> None:
        """Take over a flag as last read; None where there is none."""
        self._flags.set(rollout, flag)

    def flags_read(self, at: float | None) -> None:
        """``at`` in Unix seconds, None for never."""
        self._flags_read_at.set(at or 0.0)

    def forget(self, rollout: str) -> None:
        """Drop the series of a rollout that no rule file names any more."""
        self._rules.forget(rollout)
        self._flags.set(rollout, None)
        for family in (self.last_good_evaluation, self.armed, self.canary_percent, self.counter_falls):
            family.remove_by_labels({"rollout": rollout})
