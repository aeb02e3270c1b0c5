"""Pages about the flag store being down, kept in memory: each is known once, and what is settled goes."""

from __future__ import annotations

from killswitch.pages import outbox_entry
from killswitch.pages.ledger import KEEP_SETTLED, DeliveryOutcome, Result
from killswitch.pages.memory_ledger import MemoryLedger
from killswitch.pages.outbox_entry import Delivery, DeliveryState, OutboxEntry
from killswitch.pages.page import Page
from tests.doubles.clock import VirtualClock
from tests.doubles.pages import trip_page

A = trip_page("a")
TAKEN = DeliveryOutcome(Result.TAKEN, 1_776_608_540.0, "ref/1")


class Memory:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.ledger = MemoryLedger(wall=self.clock.wall, settled=lambda entry: entry.settled(("slack",)))

    def entry(self, page: Page) -> OutboxEntry:
        found = self.ledger.entry(page.id)
        assert found is not None
        return found


def test_a_page_in_memory_is_known_once() -> None:
    memory = Memory()
    assert memory.ledger.add(A)
    assert not memory.ledger.add(A)
    assert [entry.id for entry in memory.ledger.held()] == [A.id]
    assert memory.entry(A) == outbox_entry.new_entry(A, at=memory.clock.wall())
    assert not memory.ledger.is_history(memory.entry(A))


def test_an_attempt_in_memory_is_under_way_until_it_is_marked() -> None:
    memory = Memory()
    memory.ledger.add(A)
    [started] = memory.ledger.begin([memory.entry(A)], "slack")
    now = memory.clock.wall()
    assert started == memory.entry(A)
    assert started.delivery("slack") == Delivery(DeliveryState.SENDING, attempts=1, at=now)
    assert not memory.ledger.ready(started, "slack")
    assert memory.ledger.ready(started, "webhook")
    memory.ledger.finish([started], "slack", DeliveryOutcome(Result.NOT_TAKEN, 5.0, error="refused"))
    assert memory.ledger.ready(started, "slack")
    assert memory.entry(A).delivery("slack") == Delivery(DeliveryState.PENDING, attempts=1, at=5.0, error="refused")
    memory.ledger.finish(memory.ledger.begin([started], "slack"), "slack", TAKEN)
    assert memory.entry(A).delivery("slack").attempts == 2
    assert memory.ledger.reference(A.id, "slack") == "ref/1"
    assert memory.ledger.reference("nothing", "slack") == ""
    assert memory.ledger.held() == []


def test_a_page_in_memory_can_be_given_up() -> None:
    memory = Memory()
    memory.ledger.add(A)
    memory.ledger.give_up(memory.entry(A), "slack")
    assert memory.entry(A).delivery("slack") == Delivery(DeliveryState.EXPIRED, at=memory.clock.wall())


def test_memory_keeps_unsettled_pages_and_the_newest_others() -> None:
    """Memory keeps what is unsettled and the newest of the rest."""
    memory = Memory()
    pages = [trip_page(f"r{number:03}", 1) for number in range(3 * KEEP_SETTLED)]
    for page in pages[:60]:
        memory.ledger.add(page)
        if page is not pages[5]:
            memory.ledger.give_up(memory.entry(page), "slack")
    for page in pages[60:-1]:
        memory.ledger.add(page)
    known = [page for page in pages if memory.ledger.entry(page.id) is not None]
    assert known == [pages[5], *pages[10:-1]]
    memory.ledger.add(pages[-1])
    assert memory.ledger.entry(pages[10].id) is not None


def test_memory_is_looked_through_at_every_fiftieth_page() -> None:
    """Not at each of a thousand pages of one outage."""
    asked: list[int] = []
    number = 0

    def settled(_entry: OutboxEntry) -> bool:
        asked.append(number)
        return False

    ledger = MemoryLedger(wall=VirtualClock().wall, settled=settled)
    for number in range(1, 2 * KEEP_SETTLED + 2):  # the closure reads it
        ledger.add(trip_page(f"r{number:03}", 1))
    assert asked == [KEEP_SETTLED] * KEEP_SETTLED + [2 * KEEP_SETTLED] * 2 * KEEP_SETTLED
