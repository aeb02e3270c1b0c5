"""The ledger in memory: pages that report that the flag store is down, which the store cannot hold."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from killswitch.pages import outbox_entry
from killswitch.pages.ledger import KEEP_SETTLED, DeliveryOutcome, begun, marked
from killswitch.pages.outbox_entry import OutboxEntry
from killswitch.pages.page import Page


class MemoryLedger:
    """Pages that cannot be written into the flag store, because the store is down. Lost when the process ends."""

    def __init__(self, *, wall: Callable[[], float], settled: Callable[[OutboxEntry], bool]) -> None:
        self._wall = wall
        self._settled = settled
        self._lock = threading.Lock()
        self._entries: dict[str, OutboxEntry] = {}
        self._in_flight: set[tuple[str, str]] = set()

    def add(self, page: Page) -> bool:
        """False if this page is known already."""
        with self._lock:
            if page.id in self._entries:
                return False
            self._entries[page.id] = outbox_entry.new_entry(page, at=self._wall())
            if len(self._entries) % KEEP_SETTLED == 0:  # not at each of a thousand pages of one outage
                done = [entry.id for entry in self._entries.values() if self._settled(entry)]
                for page_id in done[:-KEEP_SETTLED]:
                    del self._entries[page_id]
            return True

    def entry(self, page_id: str) -> OutboxEntry | None:
        with self._lock:
            return self._entries.get(page_id)

    def held(self) -> Sequence[OutboxEntry]:
        with self._lock:
            return [entry for entry in self._entries.values() if not self._settled(entry)]

    def ready(self, entry: OutboxEntry, receiver: str) -> bool:
        with self._lock:
            return (entry.id, receiver) not in self._in_flight

    def begin(self, entries: Sequence[OutboxEntry], receiver: str) -> Sequence[OutboxEntry]:
        with self._lock:
            started = [begun(self._entries[e.id], receiver, by="", at=self._wall()) for e in entries]
            for entry in started:
                self._entries[entry.id] = entry
                self._in_flight.add((entry.id, receiver))
            return started

    def finish(self, entries: Sequence[OutboxEntry], receiver: str, outcome: DeliveryOutcome) -> None:
        with self._lock:
            for entry in entries:
                self._in_flight.discard((entry.id, receiver))
                now = self._entries[entry.id]
                self._entries[entry.id] = marked(now, receiver, now.delivery(receiver).attempts, "", outcome)

    def give_up(self, entry: OutboxEntry, receiver: str) -> None:
        with self._lock:
            self._entries[entry.id] = outbox_entry.give_up(self._entries[entry.id], receiver, at=self._wall())

    def is_history(self, entry: OutboxEntry) -> bool:  # noqa: ARG002  as the protocol has it
        return False  # what it holds is of this process, and so are its receivers

    def reference(self, page_id: str, receiver: str) -> str:
        entry = self.entry(page_id)
        return outbox_entry.reference_of(entry, receiver) if entry is not None else ""
