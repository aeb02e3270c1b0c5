"""A desk for alerts over a store whose calls may fail, two replicas of it, and a person who arms and re-arms."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from killswitch.alert_settings import LABEL, AlertAction, AlertSettings
from killswitch.alerts.acting import AlertActing
from killswitch.alerts.desk import AlertDesk
from killswitch.flags.document import from_document
from killswitch.flags.flag import Flag
from killswitch.flags.incident import Incident
from killswitch.flags.incident import from_document as incident_from_document
from killswitch.model import Cohort, Finding, Matcher, Mode, Rollout
from killswitch.pages.events import re_armed
from killswitch.stores import Store, keys
from killswitch.trips.flag_history import changes_in, history_of
from killswitch.trips.switch import Switch
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import Call, Fault, MemoryServer, MemoryStore
from tests.doubles.pages import HEALTHY, SETTINGS

TRIP = AlertSettings(AlertAction.TRIP, {LABEL: ("copilot",)})
HOLD = AlertSettings(AlertAction.HOLD, {LABEL: ("copilot",)})
ORIGIN = "Alertmanager webhook"


def rollout(name: str = "copilot", alerts: AlertSettings | None = TRIP, mode: Mode = Mode.ENFORCE) -> Rollout:
    cohorts = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}
    return Rollout(
        name, "model-old", "model-new", cohorts, (), page=SETTINGS, alerts=alerts, mode=mode, file=f"{name}.yaml"
    )


@dataclass
class AlertWorld:
    clock: VirtualClock = field(default_factory=VirtualClock)
    rollouts: dict[str, Rollout] = field(default_factory=lambda: {"copilot": rollout()})
    flipped: list[tuple[str, int, int]] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = MemoryServer(self.clock)
        self.person = Switch(MemoryStore(self.server, "person"), wall=self.clock.wall, by="ann", origin="command line")

    def desk(self, name: str = "a", fault: Callable[[Call], Fault | None] = lambda _: None) -> AlertDesk:
        """A replica's desk."""
        store = MemoryStore(self.server, name)
        store.fault = fault
        return self.desk_over(store, name)

    def desk_over(self, store: Store, name: str = "a") -> AlertDesk:
        acting = AlertActing(
            store,
            Switch(store, wall=self.clock.wall, by=name, origin=ORIGIN),
            controller_id=name,
            origin=ORIGIN,
            findings=self.findings,
            flipped=lambda *flip: self.flipped.append(flip),
            wall=self.clock.wall,
        )
        return AlertDesk(
            acting,
            rollouts=lambda: self.rollouts,
            counted=self.outcomes.append,
            monotonic=self.clock.monotonic,
        )

    @staticmethod
    def findings(_: Flag) -> tuple[Finding, ...]:
        return (HEALTHY,)

    # --- a person

    def arm(self, name: str = "copilot") -> None:
        self.person.arm(name, control="model-old", canary="model-new", percent=5.0, stage="ramp_5", salt="s")

    def rearm(self, name: str = "copilot") -> None:
        def page(flag: Flag) -> Any:
            return re_armed(flag, reason="fixed", by="ann", settings=SETTINGS)

        self.person.rearm(name, reason="fixed", percent=1.0, stage="ramp_1", page=page)

    # --- what the store says

    def flag(self, name: str = "copilot") -> Flag:
        value = self.server.value(keys.flag(name))
        assert value is not None
        return from_document(value, rollout=name)

    def incident(self, generation: int = 1, name: str = "copilot") -> Incident:
        value = self.server.value(keys.incident(name, generation))
        assert value is not None
        return incident_from_document(value, rollout=name)

    def hold(self, name: str = "copilot") -> dict[str, Any] | None:
        value = self.server.value(keys.hold(name))
        return None if value is None else json.loads(value)

    def pages(self) -> list[dict[str, Any]]:
        return [json.loads(item.value)["page"] for item in self.server.list(keys.OUTBOX).items]

    def history(self, name: str = "copilot") -> list[tuple[str, str]]:
        """What was done and by whom, as the flag's history has it."""
        found = changes_in(history_of(MemoryStore(self.server, "reader"), name))
        return [(change.deed.value, change.by) for change in found]

    def flips(self) -> int:
        return sum(change.key.startswith(keys.INCIDENTS) for change in self.server.history)

    def holds(self) -> int:
        """How often a hold was written."""
        return sum(change.key.startswith(keys.HOLDS) and change.value is not None for change in self.server.history)
