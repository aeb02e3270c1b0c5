"""Several controllers over one in-memory store and one virtual clock.

::

    fleet = Fleet(Traffic(rate=canary_from(onset, error_rate=0.2)), rollout())
    a, b = fleet.replica("a"), fleet.replica("b")
    fleet.arm("copilot", 5.0)
    fleet.run(60)
    assert fleet.flips("copilot") == 1
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from killswitch.controller.controller import Controller, Timing
from killswitch.flags import flag as flags
from killswitch.flags.document import from_document as flag_from_document
from killswitch.flags.flag import Flag
from killswitch.fleet.session import Session
from killswitch.model import PageSettings, Rollout
from killswitch.pages import events
from killswitch.pages.outbox_entry import from_document as outbox_entry
from killswitch.pages.page import Page, PageKind
from killswitch.rules.loading import Rules
from killswitch.spend.prices import PriceList
from killswitch.status.reports import CycleReport
from killswitch.status.self_metrics import SelfMetrics
from killswitch.stores import keys
from killswitch.trips.switch import Switch
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import Call, Fault, MemoryServer, MemoryStore
from tests.doubles.scripted_source import Script, ScriptedSource

INTERVAL = 30.0
START = 1_776_600_000.0  # on the grid of 30 s
Faults = Callable[[Call], Fault | None]


def no_fault(_call: Call) -> None:
    """A store without faults."""


@dataclass(slots=True)
class Replica:
    """One controller as a process of its own: its own client of the store, its own view of the source."""

    name: str
    controller: Controller
    store: MemoryStore
    source: ScriptedSource
    metrics: SelfMetrics
    rules: Rules
    told: list[Page] = field(default_factory=list)
    asleep: bool = False

    def cycle(self) -> CycleReport | None:
        """One cycle if it is due, and the trips it began, to their end."""
        if self.asleep or self.controller.seconds_until_due() > 0:
            return None
        report = self.controller.run_cycle()
        self.controller._acting.trips.wait(10)
        return report

    def pulse(self) -> None:
        """What the daemon's other jobs do meanwhile."""
        if not self.asleep:
            self.controller.renew()
            self.controller.retry()
            self.controller._acting.trips.wait(10)

    def fail_store(self, fault: Faults) -> None:
        self.store.fault = fault

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


class Fleet:
    """``script`` feeds every replica's source; ``rollouts`` are the rule files in force."""

    def __init__(self, script: Script, *rollouts: Rollout, timing: Timing | None = None) -> None:
        self.clock = VirtualClock(wall=START + 6.0)
        self.server = MemoryServer(self.clock)
        self.script = script
        self.rollouts = {one.name: one for one in rollouts}
        self.timing = timing or Timing()
        self.replicas: list[Replica] = []
        self.prices: dict[str, PriceList] = {}
        self.person = Switch(MemoryStore(self.server, "person"), wall=self.clock.wall, by="ann", origin="test")

    def replica(self, name: str, *, rules: Rules | None = None) -> Replica:
        """Start one more."""
        store = MemoryStore(self.server, name)
        source = ScriptedSource(self.clock, self.script)
        metrics = SelfMetrics("test")
        told: list[Page] = []
        rules = rules or Rules(self.rollouts, "digest-1")
        session = Session(store, name, monotonic=self.clock.monotonic, ttl=self.timing.session_ttl)
        replica: Replica
        controller = Controller(
            controller_id=name,
            version="test",
            source=source,
            store=store,
            switch=Switch(store, wall=self.clock.wall, by=name, origin="test"),
            session=session,
            rules=lambda: replica.rules,
            send=told.append,
            flipped=lambda *_: None,
            timing=self.timing,
            metrics=metrics,
            monotonic=self.clock.monotonic,
            wall=self.clock.wall,
            prices=lambda: self.prices,
        )
        replica = Replica(name, controller, store, source, metrics, rules, told)
        self.replicas.append(replica)
        return replica

    def kill(self, replica: Replica) -> None:
        """No goodbye: its leases end by the clock."""
        self.replicas.remove(replica)

    def arm(self, rollout: str = "copilot", percent: float = 5.0, *, stage: str | None = None) -> Flag:
        rules = self.rollouts[rollout]
        return self.person.arm(
            rollout,
            control=rules.control,
            canary=rules.canary,
            percent=percent,
            stage=stage or flags.resolve_stage(None, percent)[0],
            salt="",
        )

    def rearm(self, rollout: str = "copilot", percent: float = 5.0) -> Flag:
        def page(flag: Flag) -> Page:
            return events.re_armed(flag, reason="fixed", by="ann", settings=PageSettings())

        return self.person.rearm(rollout, reason="fixed", percent=percent, stage="again", page=page)

    def run(self, ticks: int, *, until: Callable[[], bool] = lambda: False) -> int:
        """So many intervals of everybody, pulses every five seconds; how many it took."""
        for done in range(ticks):
            for _ in range(6):
                self.clock.advance(INTERVAL / 6)
                for replica in list(self.replicas):
                    replica.pulse()
                    replica.cycle()
            if until():
                return done + 1
        return ticks

    # --- what came of it ------------------------------------------------------------------------

    def flag(self, rollout: str = "copilot") -> Flag | None:
        value = self.server.value(keys.flag(rollout))
        return None if value is None else flag_from_document(value, rollout=rollout)

    def tripped(self, rollout: str = "copilot") -> bool:
        flag = self.flag(rollout)
        return flag is not None and not flag.armed

    def flips(self, rollout: str = "copilot") -> list[Flag]:
        """Every tripped flag that was ever written, in order."""
        written = [change for change in self.server.history if change.key == keys.flag(rollout) and change.value]
        found = [flag_from_document(change.value or b"", rollout=rollout) for change in written]
        return [flag for flag in found if not flag.armed]

    def incidents(self, rollout: str = "copilot") -> list[dict[str, Any]]:
        written = [c for c in self.server.history if c.key.startswith(keys.incidents(rollout)) and c.value]
        return [json.loads(change.value or b"{}") for change in written]

    def pages(self, *kinds: PageKind) -> list[Page]:
        """Pages that were put into the outbox, in order; of these kinds where some are named."""
        written = [c for c in self.server.history if c.key.startswith(keys.OUTBOX) and c.value]
        found = [
            outbox_entry(change.value or b"", page=change.key.removeprefix(keys.OUTBOX)).page for change in written
        ]
        return [page for page in found if not kinds or page.kind in kinds]

    def told(self, *kinds: PageKind) -> list[Page]:
        """Pages that replicas delivered directly."""
        return [page for one in self.replicas for page in one.told if not kinds or page.kind in kinds]

    def sentences(self, rollout: str = "copilot") -> list[str]:
        latest = [one.controller.latest for one in self.replicas]
        return [report.reports[rollout].sentence for report in latest if report is not None]
