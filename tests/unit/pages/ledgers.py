"""Ledgers of one store in memory, and pages that are written, claimed and begun in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from killswitch.flags import incident as incidents
from killswitch.flags.incident import Paged
from killswitch.pages import outbox_entry
from killswitch.pages.ledger import DeliveryOutcome, Result
from killswitch.pages.outbox_entry import OutboxEntry
from killswitch.pages.page import Page
from killswitch.pages.store_ledger import StoreLedger
from killswitch.stores import Item, Put, keys
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import Call, Fault, MemoryServer, MemoryStore
from tests.doubles.pages import incident, trip_page

TTL = 9.0
RECEIVERS = ("slack", "webhook")
TAKEN = DeliveryOutcome(Result.TAKEN, 1_776_608_540.0, "ref/1")


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.server = MemoryServer(self.clock)
        self.store = MemoryStore(self.server, "a")
        self.ledger = self.another("a", self.store)

    def another(self, owner: str, store: MemoryStore | None = None) -> StoreLedger:
        return StoreLedger(
            store or MemoryStore(self.server, owner), owner=owner, wall=self.clock.wall,
            monotonic=self.clock.monotonic, settled=lambda entry: entry.settled(RECEIVERS), ttl=TTL,
        )  # fmt: skip

    def write(self, *pages: Page, age: float = 0.0) -> None:
        for page in pages:
            self.put(outbox_entry.new_entry(page, at=self.clock.wall() - age))

    def put(self, entry: OutboxEntry) -> None:
        self.server.commit("x", (), (Put(keys.outbox(entry.id), outbox_entry.to_document(entry)),))

    def record(self, page: Page) -> None:
        value = incidents.to_document(incident(page.rollout, page.generation))
        self.server.commit("x", (), (Put(keys.incident(page.rollout, page.generation), value),))

    def paged(self, page: Page) -> tuple[Paged, ...]:
        value = self.server.value(keys.incident(page.rollout, page.generation))
        assert value is not None
        return incidents.from_document(value, rollout=page.rollout).pages

    def stored(self, page: Page) -> OutboxEntry:
        value = self.server.value(keys.outbox(page.id))
        assert value is not None
        return outbox_entry.from_document(value, page=page.id)

    def claim(self, page: Page) -> Item | None:
        return self.server.get(keys.claim(f"outbox/{page.id}"))

    def held(self, ledger: StoreLedger | None = None) -> list[str]:
        return [entry.id for entry in (ledger or self.ledger).held()]

    def calls(self) -> list[str]:
        names = [call.name for call in self.store.calls]
        self.store.calls.clear()
        return names

    def begun(self, *pages: Page, receiver: str = "slack") -> Sequence[OutboxEntry]:
        """Written, claimed, and an attempt committed for each."""
        self.write(*pages)
        self.ledger.scan()
        return self.ledger.begin([self.stored(page) for page in pages], receiver)


A, B = trip_page("a", 1), trip_page("b", 1)


def only(name: str, fault: Fault, *, key: str = "", times: int = 99) -> Callable[[Call], Fault | None]:
    """The fault at calls of that name that write below ``key``."""
    left = [fault] * times

    def strike(call: Call) -> Fault | None:
        writes = call.subject if isinstance(call.subject, tuple) else ()
        if call.name == name and left and (not key or any(write.key.startswith(key) for write in writes)):
            return left.pop()
        return None

    return strike
