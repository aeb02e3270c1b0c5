"""Processes that deliver pages from one store, on virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from killswitch.flags import incident as incidents
from killswitch.pages import outbox_entry
from killswitch.pages.delivery import DeliveryPolicy, PageDelivery
from killswitch.pages.outbox_entry import OutboxEntry
from killswitch.pages.page import Page, PageKind
from killswitch.pages.receivers import Pager
from killswitch.stores import Put, keys
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import MemoryServer, MemoryStore
from tests.doubles.pages import incident


class AtOnce:
    """An executor for virtual time: the job is done when `submit` returns."""

    def submit(self, job: Callable[[], None], /) -> None:
        job()


class World:
    """A store, its clock, and processes that deliver from it."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.server = MemoryServer(self.clock)

    def process(
        self,
        pagers: Sequence[Pager],
        *,
        fallback: Pager | None = None,
        policy: DeliveryPolicy | None = None,
        store: MemoryStore | None = None,
        name: str = "replica",
    ) -> PageDelivery:
        return PageDelivery(
            store or MemoryStore(self.server, name),
            pagers,
            owner=name,
            fallback=fallback,
            policy=policy,
            wall=self.clock.wall,
            monotonic=self.clock.monotonic,
            chance=random.Random(7),
            executor=AtOnce(),
        )

    def write(self, *pages: Page) -> None:
        """What a trip's transaction writes, with its incident."""
        for page in pages:
            entry = outbox_entry.new_entry(page, at=self.clock.wall())
            writes = [Put(keys.outbox(page.id), outbox_entry.to_document(entry))]
            if page.kind is PageKind.TRIPPED:
                record = incidents.to_document(incident(page.rollout, page.generation))
                writes.append(Put(keys.incident(page.rollout, page.generation), record))
            self.server.commit("controller", (), writes)

    def entry(self, page: Page) -> OutboxEntry:
        value = self.server.value(keys.outbox(page.id))
        assert value is not None
        return outbox_entry.from_document(value, page=page.id)

    def run(self, *processes: PageDelivery, seconds: float, step: float = 1.0) -> None:
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            for process in processes:
                process.run_once()
            self.clock.advance(step)
