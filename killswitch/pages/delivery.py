"""Delivery of pages: from the outbox to every receiver, at least once, by any live replica.

No flip waits for this. The flip's transaction has already written the outbox entry. This part runs on its own threads:
it reads the outbox, claims entries under a lease, and hands each page to each receiver. How many copies of a page may
arrive is said in `killswitch.pages.outbox_entry`.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError
from killswitch.pages import digest
from killswitch.pages.lane import DeliveryPolicy, Lane
from killswitch.pages.memory_ledger import MemoryLedger
from killswitch.pages.message_keeper import MessageKeeper
from killswitch.pages.message_pace import MessagePace
from killswitch.pages.outbox_entry import Delivery, DeliveryState, OutboxEntry
from killswitch.pages.page import Page
from killswitch.pages.picture import Pictures
from killswitch.pages.receivers import Keeping, Pager
from killswitch.pages.routing import receivers_of, wanted_nowhere
from killswitch.pages.store_ledger import StoreLedger
from killswitch.stores import Store

__all__ = ["Delivered", "DeliveryPolicy", "PageDelivery", "PagerStatus"]

_log = logging.getLogger(__name__)


class Executor(Protocol):
    """Runs a job soon on another thread, as `concurrent.futures.Executor` does."""

    def submit(self, job: Callable[[], None], /) -> Any: ...


@dataclass(frozen=True, slots=True)
class PagerStatus:
    """What metrics and status pages show about delivery.

    ``events`` counts by receiver and name ("taken", "not taken", "answer lost", "given up", "bug"). ``unsettled`` pages
    wait in the outbox, ``unreadable`` entries could not be parsed, ``store_failures`` reads of the outbox failed.
    """

    unsettled: int
    unreadable: int
    store_failures: int
    events: Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Delivered:
    """How far one page has come with each receiver, and whether nothing is left to do (``settled``)."""

    settled: bool
    deliveries: Mapping[str, Delivery]

    @property
    def reached(self) -> tuple[str, ...]:
        """The receivers that took it."""
        taken = (name for name, delivery in self.deliveries.items() if delivery.state is DeliveryState.DELIVERED)
        return tuple(sorted(taken))


class PageDelivery:
    """Delivers the outbox's pages. `run_once` is called every second by a scheduler; `wake` after a flip.

    Each of ``pagers`` gets every page that is addressed to it. ``fallback`` gets only pages that one of them has not
    taken within `DeliveryPolicy.fallback_after`. All methods may be called from any thread. ``owner`` names this
    replica; a part that no other process has is added to it. ``executor`` runs the lanes and what keeps delivered
    messages up to date; the default has a thread for each. ``pictures`` gives the picture of an incident.
    """

    def __init__(
        self,
        store: Store,
        pagers: Sequence[Pager],
        *,
        owner: str,
        fallback: Pager | None = None,
        policy: DeliveryPolicy | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
        executor: Executor | None = None,
        pictures: Pictures | None = None,
    ) -> None:
        names = [pager.name for pager in (*pagers, *([fallback] if fallback else []))]
        if len(set(names)) != len(names):
            raise ValueError(f"two receivers have one name: {', '.join(names)}")
        self._policy = policy or DeliveryPolicy()
        self._wall = wall
        self._monotonic = monotonic
        self._first_seen: dict[str, float] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._store_failures = 0
        self._lock = threading.Lock()
        self._scanning = threading.Lock()
        self._woken = threading.Event()
        self._closed = False
        self._store = store
        self._owner = f"{owner}#{uuid.uuid4().hex[:12]}"
        self._store_ledger = StoreLedger(
            store,
            owner=self._owner,
            wall=wall,
            monotonic=monotonic,
            settled=self._settled,
            ttl=self._policy.claim_ttl,
        )
        self._memory_ledger = MemoryLedger(wall=wall, settled=self._settled)
        chance = chance or random.Random()  # noqa: S311  it spreads retries, it guards nothing
        self._pictures = pictures
        self._keepers: list[MessageKeeper] = []
        self._primaries = [self._primary(pager, chance) for pager in pagers]
        self._fallback = self._last_resort(fallback, chance) if fallback else None
        self._lanes = [*self._primaries, *([self._fallback] if self._fallback else [])]
        threads = len(self._lanes) + len(self._keepers) + 1
        self._own_executor = None if executor else ThreadPoolExecutor(threads, "pager")
        self._executor: Executor = executor or self._own_executor  # type: ignore[assignment]  # one of the two is set

    # --- the rhythm -----------------------------------------------------------------------------

    def run_once(self) -> None:
        """Read the outbox and start every idle lane. Never raises; returns before the lanes are done."""
        if self._closed or not self._scanning.acquire(blocking=False):
            return
        try:
            self._woken.clear()
            self._store_ledger.scan()
        except KillswitchError as error:
            self._store_failures += 1
            _log.warning("the outbox cannot be read or claimed, trying again: %s", error)
        except Exception:  # noqa: BLE001  the scheduler must go on, whatever bug this is
            self._store_failures += 1
            _log.exception("reading the outbox failed because of a bug")
        finally:
            self._scanning.release()
        self._note_ages()
        for lane in self._lanes:
            self._submit(lane.run)
        for keeper in self._keepers:
            self._submit(keeper.run)

    def wake(self) -> None:
        """Read the outbox now, on another thread; returns at once."""
        if not self._woken.is_set():
            self._woken.set()
            self._submit(self.run_once)

    def send_directly(self, page: Page) -> None:
        """Deliver a page that cannot be written into the flag store, because the store is down; returns at once.

        The page is retried and falls back like any other, but is lost if this process ends. A page id is sent once,
        however often it is handed in.
        """
        if self._memory_ledger.add(page):
            self._note_ages()
            for lane in self._lanes:
                self._submit(lane.run)

    def deliver_now(
        self, page_ids: Sequence[str], deadline: Deadline, *, sleep: Callable[[float], None] = time.sleep
    ) -> Mapping[str, Delivered]:
        """Deliver until these pages are settled or the deadline ends, for a command that runs without a daemon.

        A page that is not settled by then stays in the outbox for the next controller.
        """
        while True:
            self.run_once()
            known = {page_id: self.delivered(page_id) for page_id in page_ids}
            if deadline.expired or all(d is not None and d.settled for d in known.values()):
                return {page_id: d or Delivered(False, {}) for page_id, d in known.items()}
            sleep(min(0.05, deadline.remaining()))

    def delivered(self, page_id: str) -> Delivered | None:
        """How far a page has come, as far as this process knows; None for a page it has never seen."""
        entry = self._memory_ledger.entry(page_id) or self._store_ledger.entry(page_id)
        return None if entry is None else Delivered(self._settled(entry), dict(entry.deliveries))

    def receivers_of(self, page: Page) -> tuple[str, ...]:
        """The receivers that get this page, without the fallback, which gets only what they have not taken."""
        return tuple(self._wanting(page))

    def status(self) -> PagerStatus:
        with self._lock:
            events = dict(self._counts)
        ledger = self._store_ledger
        return PagerStatus(ledger.unsettled, ledger.unreadable, self._store_failures, events)

    def close(self) -> None:
        """Stop sending and release the claims. A send under way ends by its own deadline."""
        self._closed = True
        if self._own_executor is not None:
            self._own_executor.shutdown(wait=True, cancel_futures=True)
        self._store_ledger.close()

    def _submit(self, job: Callable[[], None]) -> Future[None] | None:
        try:
            future: Future[None] | None = self._executor.submit(job)
        except RuntimeError:  # the executor is shut down, and so is this delivery
            return None
        return future

    # --- who gets what --------------------------------------------------------------------------

    def _primary(self, pager: Pager, chance: random.Random) -> Lane:
        return self._lane(pager, self._always, partial(self._routed_to, pager.name), self._unchanged, chance)

    def _last_resort(self, fallback: Pager, chance: random.Random) -> Lane:
        return self._lane(fallback, self._needs_fallback, self._wanted_somewhere, self._for_fallback, chance)

    def _lane(
        self,
        pager: Pager,
        due: Callable[[OutboxEntry], bool],
        routed: Callable[[Page], bool],
        adapt: Callable[[OutboxEntry], Page],
        chance: random.Random,
    ) -> Lane:
        pace = MessagePace(self._policy.message_gap)
        lane = Lane(
            pager,
            (self._memory_ledger, self._store_ledger),
            policy=self._policy,
            due=due,
            routed=routed,
            adapt=adapt,
            age=self._age,
            monotonic=self._monotonic,
            wall=self._wall,
            chance=chance,
            count=self._count,
            pace=pace,
        )
        if isinstance(pager, Keeping):
            self._keepers.append(self._keeper(pager.name, pager, pace, lambda page: lane.address(page) is not None))
        return lane

    def _keeper(
        self, name: str, pager: Keeping, pace: MessagePace, comes_here: Callable[[Page], bool]
    ) -> MessageKeeper:
        return MessageKeeper(
            name,
            pager,
            self._store,
            entries=self._store_ledger.read_entries,
            comes_here=comes_here,
            owner=self._owner,
            pace=pace,
            send_timeout=self._policy.send_timeout,
            monotonic=self._monotonic,
            wall=self._wall,
            count=self._count,
            pictures=self._pictures,
        )

    def _wanting(self, page: Page) -> list[str]:
        return [lane.name for lane in self._primaries if lane.address(page) is not None]

    def goes_to(self, page: Page, receiver: str) -> bool:
        """Whether one of the receivers other than the fallback, called ``receiver``, gets this page."""
        return receiver in self._wanting(page)

    def _routed_to(self, receiver: str, page: Page) -> bool:
        if not page.addresses.receivers:
            return True
        return receiver in receivers_of(page, [lane.name for lane in self._primaries if lane.reach(page) is not None])

    def _settled(self, entry: OutboxEntry) -> bool:
        fallback = self._fallback
        usable = fallback is not None and fallback.address(entry.page) is not None
        return entry.settled(self._wanting(entry.page), fallback.name if fallback is not None and usable else None)

    @staticmethod
    def _always(_: OutboxEntry) -> bool:
        return True

    @staticmethod
    def _wanted_somewhere(page: Page) -> bool:
        return not wanted_nowhere(page)

    @staticmethod
    def _unchanged(entry: OutboxEntry) -> Page:
        return entry.page

    def _missed(self, entry: OutboxEntry) -> list[str]:
        wanting = self._wanting(entry.page)
        return [name for name in wanting if entry.delivery(name).state is not DeliveryState.DELIVERED]

    def _needs_fallback(self, entry: OutboxEntry) -> bool:
        missed = self._missed(entry)
        if not missed and self._wanting(entry.page):
            return False
        hopeless = all(entry.delivery(name).final for name in missed)
        return hopeless or self._age(entry) >= self._policy.fallback_after

    def _for_fallback(self, entry: OutboxEntry) -> Page:
        missed = self._missed(entry)
        if not missed:
            return entry.page
        return digest.for_fallback(entry.page, " and ".join(missed), entry.delivery(missed[0]).error)

    def _note_ages(self) -> None:
        """Note when this process first saw each page, on the monotonic clock: a wall clock may jump.

        How long the page waited before that is taken from the wall clock, but only up to ten seconds less than
        ``fallback_after``: two clocks that disagree must not send a new page to the fallback at once.
        """
        now, wall = self._monotonic(), self._wall()
        held = [*self._memory_ledger.held(), *self._store_ledger.held()]
        most = max(0.0, self._policy.fallback_after - 10.0)
        with self._lock:
            self._first_seen = {
                entry.id: self._first_seen.get(entry.id, now - min(max(wall - entry.created_at, 0.0), most))
                for entry in held
            }

    def _age(self, entry: OutboxEntry) -> float:
        now = self._monotonic()
        with self._lock:
            return now - self._first_seen.get(entry.id, now)

    def _count(self, receiver: str, event: str) -> None:
        with self._lock:
            self._counts[receiver, event] += 1
