"""A registry on the honest store in memory, with a clock that only tests move."""

from __future__ import annotations

from collections.abc import Callable

from killswitch.model import PageSettings
from killswitch.pages.outbox_entry import from_document as entry_from_document
from killswitch.pages.page import Page
from killswitch.registry import gate_runs
from killswitch.registry.registry import Registry
from killswitch.registry.role_transaction import ChangedRole
from killswitch.roles.document import from_document
from killswitch.roles.gate_record import GateRecord
from killswitch.roles.role import Role
from killswitch.stores import Delete, Put, keys
from tests.doubles.clock import VirtualClock
from tests.doubles.gate_records import AT, NEW, OLD
from tests.doubles.memory_store import Call, Fault, MemoryServer, MemoryStore
from tests.doubles.role_histories import checked_entries

ROLE = "triage"
PAGE = PageSettings(slack="#triage", mention="@ann")


class Registries:
    """The store of one test, and registries of several people on it."""

    def __init__(self) -> None:
        self.server = MemoryServer(VirtualClock())
        self.now = AT - 7200.0

    def registry(self, by: str = "ann@laptop", fault: Callable[[Call], Fault | None] = lambda _: None) -> Registry:
        store = MemoryStore(self.server, by)
        store.fault = fault
        return Registry(store, wall=self._wall, by=by)

    def ready(self, verdict_run: GateRecord | None = None) -> Registry:
        """A role with prod and candidate, and a run of its gate."""
        registry = self.registry()
        registry.create(ROLE, OLD, reason="it serves today")
        registry.set_candidate(ROLE, NEW, reason="it is newer")
        if verdict_run is not None:
            gate_runs.keep(MemoryStore(self.server), verdict_run)
        self.now = AT
        return registry

    def promoted(self, run: GateRecord) -> Registry:
        registry = self.ready(run)
        registry.promote(ROLE, reason="it passed", config=None, settings=PAGE)
        self.now += 60.0
        return registry

    def rolled_back(self, run: GateRecord) -> Registry:
        registry = self.promoted(run)
        self.back(registry)
        self.now += 60.0
        return registry

    def back(self, registry: Registry, **more: object) -> ChangedRole:
        return registry.rollback(ROLE, reason="users complain", settings=PAGE, **more)  # type: ignore[arg-type]  # forwarded

    def role(self) -> Role:
        item = self.server.get(keys.role(ROLE))
        assert item is not None
        return from_document(item.value, name=ROLE)

    def pages(self) -> list[Page]:
        items = self.server.list(keys.OUTBOX).items
        return [entry_from_document(item.value, page=item.key.removeprefix(keys.OUTBOX)).page for item in items]

    def put(self, key: str, value: bytes) -> None:
        """As someone would who writes the store by hand."""
        MemoryStore(self.server, "by hand").commit((), (Put(key, value),))

    def delete(self, key: str) -> None:
        MemoryStore(self.server, "by hand").commit((), (Delete(key),))

    def check_history(self) -> None:
        """Numbers without gaps from 1, each entry follows from the one before, the last is the role as it is."""
        check_history(self.server, ROLE)

    def _wall(self) -> float:
        self.now += 0.25
        return self.now


def check_history(server: MemoryServer, name: str) -> None:
    items = server.list(keys.role_changes(name)).items
    entries = checked_entries(items, server.get(keys.role(name)), name)
    for item, entry in zip(items, entries, strict=True):
        written = {change.key for change in server.history if change.revision == item.mod_revision}
        assert {keys.role(name), item.key} <= written, entry


def once(call: str, fault: Fault, number: int = 0) -> Callable[[Call], Fault | None]:
    """Strikes the ``number``-th call of this name, counted from 0."""
    seen = -1

    def strike(made: Call) -> Fault | None:
        nonlocal seen
        seen += made.name == call
        return fault if made.name == call and seen == number else None

    return strike
