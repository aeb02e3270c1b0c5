"""Switches over one store in memory, whose calls may fail, and the requests that they are given."""

from __future__ import annotations

from collections.abc import Callable

from killswitch.flags.flag import Flag
from killswitch.flags.transitions import Actor
from killswitch.model import PageSettings
from killswitch.pages import events
from killswitch.pages.page import Page
from killswitch.stores import keys
from killswitch.trips.request import TripRequest
from killswitch.trips.switch import Switch
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import Call, Fault, MemoryServer, MemoryStore
from tests.doubles.pages import incident_draft


class World:
    """A server, and as many people and controllers as a test wants."""

    def __init__(self) -> None:
        # a real clock has no whole milliseconds
        self.clock = VirtualClock(wall=1_776_608_531.123_456_7)
        self.server = MemoryServer(self.clock)
        self.person = self.switch("ann")

    def switch(self, name: str, fault: Callable[[Call], Fault | None] = lambda _: None) -> Switch:
        store = MemoryStore(self.server, name)
        store.fault = fault
        return Switch(store, wall=self.clock.wall, by=name, origin="test")

    def arm(self, **changes: object) -> Flag:
        values: dict[str, object] = {"control": "old", "canary": "new", "percent": 5.0, "stage": "ramp_5", "salt": ""}
        return self.person.arm("copilot", **{**values, **changes})  # type: ignore[arg-type]  # the test's keywords

    def flips(self) -> int:
        flags = [c.value or b"" for c in self.server.history if c.key == keys.flag("copilot")]
        return sum(b'"state": "tripped"' in value for value in flags)

    def incidents(self) -> int:
        return sum(change.key.startswith(keys.incidents("copilot")) for change in self.server.history)


def automatic(
    at: float = 1_776_608_520.0, generation: int | None = 1, by: str = "a", rollout: str = "copilot"
) -> TripRequest:
    draft = incident_draft(rollout, by=by, reason="refusals")
    return TripRequest(draft, generation=generation, actor=Actor.CONTROLLER, at=at, page=PageSettings())


def page(flag: Flag) -> Page:
    return events.re_armed(flag, reason="fixed", by="ann", settings=PageSettings())


def once(name: str, fault: Fault) -> Callable[[Call], Fault | None]:
    """The fault at the first call of that name."""
    struck: list[Call] = []

    def faults(call: Call) -> Fault | None:
        if call.name != name or struck:
            return None
        struck.append(call)
        return fault

    return faults
