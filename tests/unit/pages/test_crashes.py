"""The process ends, or the store misbehaves, at every single call: no page is lost, copies stay bounded."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from killswitch.flags import incident as incidents
from killswitch.pages import outbox_entry
from killswitch.pages.delivery import PageDelivery
from killswitch.pages.outbox_entry import DeliveryState
from killswitch.stores import Put, keys
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import Call, Crash, Fault, MemoryServer, MemoryStore
from tests.doubles.pages import incident, trip_page
from tests.doubles.receiver import Receiver, Way

FIRST_CALLS = 14  # of a process that delivers one page: scans, lease, claim, attempt, mark, and the scans after
PAGE = trip_page()
TAKEOVER = 16.0  # seconds


class AtOnce:
    def submit(self, job: Callable[[], None], /) -> None:
        job()


@dataclass(slots=True)
class Story:
    """One run: what was struck, and how it ended."""

    copies: int
    unmarked_repeats: int
    delivered_after: float
    crashes: int
    state: DeliveryState
    incident_pages: int


def tell(
    faults: dict[int, Fault], ways: tuple[Way, ...] = (), *, late_after: float | None = None, second: bool = False
) -> Story:
    """One page, delivered under these faults of the first process's calls and these ends of the first sends.

    Each process that crashes is followed by another; ``second`` lets one stand by from the beginning.
    """
    clock = VirtualClock()
    server = MemoryServer(clock)
    receiver = Receiver(clock)
    receiver.script.extend(ways)
    start = clock.monotonic()
    numbers = itertools.count()
    calls = itertools.count()
    crashes = 0

    def fault(_: Call) -> Fault | None:
        return faults.get(next(calls))

    def process(*, faulty: bool) -> PageDelivery:
        store = MemoryStore(server, f"process-{next(numbers)}")
        if faulty:
            store.fault = fault
        return PageDelivery(
            store, [receiver], owner=store.name, wall=clock.wall, monotonic=clock.monotonic,
            chance=random.Random(1), executor=AtOnce(),
        )  # fmt: skip

    server.commit(
        "controller",
        (),
        [
            Put(keys.outbox(PAGE.id), outbox_entry.to_document(outbox_entry.new_entry(PAGE, at=clock.wall()))),
            Put(keys.incident(PAGE.rollout, PAGE.generation), incidents.to_document(incident())),
        ],
    )
    alive = [process(faulty=True), *([process(faulty=False)] if second else [])]
    while clock.monotonic() - start < 60:
        if late_after is not None and clock.monotonic() - start >= late_after:
            server.apply_late()
        for number, running in enumerate(alive):
            try:
                running.run_once()
            except Crash:
                crashes += 1
                alive[number] = process(faulty=True)
        clock.advance(1)
    value = server.value(keys.outbox(PAGE.id))
    record = server.value(keys.incident(PAGE.rollout, PAGE.generation))
    assert value is not None
    assert record is not None
    return Story(
        copies=receiver.copies_of(PAGE.id),
        unmarked_repeats=sum(not copy.possible_repeat for copy in receiver.copies[1:]),
        delivered_after=receiver.copies[0].at - start if receiver.copies else float("inf"),
        crashes=crashes,
        state=outbox_entry.from_document(value, page=PAGE.id).delivery("receiver").state,
        incident_pages=len(incidents.from_document(record, rollout=PAGE.rollout).pages),
    )


def check(story: Story, *, lost_answers: int = 0) -> None:
    assert story.copies >= 1
    assert story.copies <= 1 + min(lost_answers, 1) + story.crashes
    assert story.unmarked_repeats == 0
    assert story.delivered_after <= TAKEOVER * max(story.crashes, 1)
    assert story.state is DeliveryState.DELIVERED
    assert story.incident_pages >= 1


@pytest.mark.parametrize("second", [False, True], ids=["alone", "with a second replica"])
@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
@pytest.mark.parametrize("number", range(FIRST_CALLS))
def test_a_crash_at_any_call_of_the_store_loses_no_page(number: int, fault: Fault, second: bool) -> None:
    story = tell({number: fault}, second=second)
    assert story.crashes == 1
    check(story)


@pytest.mark.parametrize("second", [False, True], ids=["alone", "with a second replica"])
@pytest.mark.parametrize("way", [Way.CRASH_BEFORE, Way.CRASH_AFTER])
def test_a_crash_in_the_middle_of_a_send_costs_at_most_one_copy(way: Way, second: bool) -> None:
    story = tell({}, (way,), second=second)
    assert story.crashes == 1
    assert story.copies == (2 if way is Way.CRASH_AFTER else 1)
    check(story)


@pytest.mark.parametrize("fault", [Fault.FAIL_BEFORE, Fault.LOSE_ANSWER])
@pytest.mark.parametrize("number", range(FIRST_CALLS))
def test_a_store_that_fails_at_any_call_costs_no_copy(number: int, fault: Fault) -> None:
    """A store that fails or loses its answer at any call costs no copy."""
    check(tell({number: fault}))


@pytest.mark.parametrize("late_after", [None, 0.0, 3.0, 12.0], ids=["never", "soon", "in 3 s", "in 12 s"])
@pytest.mark.parametrize("number", range(FIRST_CALLS))
def test_a_timed_out_transaction_is_reread_and_never_assumed(number: int, late_after: float | None) -> None:
    check(tell({number: Fault.APPLY_LATER}, late_after=late_after))
    check(tell({number: Fault.APPLY_LATER}, late_after=late_after, second=True))


@pytest.mark.parametrize("number", range(FIRST_CALLS))
def test_a_lost_answer_and_a_crash_cost_at_most_a_copy_each(number: int) -> None:
    """A lost answer of the receiver and a crash cost at most a copy each."""
    for fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.LOSE_ANSWER):
        story = tell({number: fault}, (Way.LOST_ANSWER,))
        check(story, lost_answers=1)


@pytest.mark.parametrize("pause", [0.0, 9.0, 11.0, 40.0])
@pytest.mark.parametrize("number", range(FIRST_CALLS))
def test_a_process_stopped_at_any_call_commits_nothing_stale(number: int, pause: float) -> None:
    """A process stopped at any call while another goes on commits nothing stale."""
    clock = VirtualClock()
    server = MemoryServer(clock)
    receiver = Receiver(clock)
    first, second = MemoryStore(server, "first"), MemoryStore(server, "second")
    stopped, going = (
        PageDelivery(
            store, [receiver], owner=store.name, wall=clock.wall, monotonic=clock.monotonic,
            chance=random.Random(1), executor=AtOnce(),
        )
        for store in (first, second)
    )  # fmt: skip
    under_way = False

    def stop(call: Call) -> Fault | None:
        nonlocal under_way
        if call.number == number:
            value = server.value(keys.outbox(PAGE.id))
            assert value is not None
            under_way = (
                outbox_entry.from_document(value, page=PAGE.id).delivery("receiver").state is DeliveryState.SENDING
            )
            going.run_once()
            clock.advance(pause)
            for _ in range(5):
                going.run_once()
                clock.advance(1 if pause else 0)
        return None

    first.fault = stop
    server.commit(
        "controller",
        (),
        [Put(keys.outbox(PAGE.id), outbox_entry.to_document(outbox_entry.new_entry(PAGE, at=clock.wall())))],
    )
    for _ in range(40):
        stopped.run_once()
        clock.advance(1)
        going.run_once()
    # Only an attempt that was committed and not yet marked when it stopped may have been repeated.
    assert 1 <= receiver.copies_of(PAGE.id) <= (2 if under_way and pause else 1)
    attempts = [change.value for change in server.history if change.key == keys.outbox(PAGE.id) and change.value]
    numbers = [outbox_entry.from_document(value, page=PAGE.id).delivery("receiver").attempts for value in attempts]
    assert numbers == sorted(numbers), "an attempt's number went back: a stale write was committed"


def test_a_store_away_for_longer_than_the_claims_costs_no_copy() -> None:
    """A store that is away for longer than the claims after a send costs no copy."""
    clock = VirtualClock()
    server = MemoryServer(clock)
    receiver = Receiver(clock)
    stores = [MemoryStore(server, name) for name in ("other", "sender")]
    other, sender = (
        PageDelivery(
            store, [receiver], owner=store.name, wall=clock.wall, monotonic=clock.monotonic,
            chance=random.Random(1), executor=AtOnce(),
        )
        for store in stores
    )  # fmt: skip
    back_at = clock.monotonic() + 30

    def away_once_sent(_: Call) -> Fault | None:
        return Fault.FAIL_BEFORE if receiver.copies and clock.monotonic() < back_at else None

    for store in stores:
        store.fault = away_once_sent
    server.commit(
        "controller",
        (),
        [Put(keys.outbox(PAGE.id), outbox_entry.to_document(outbox_entry.new_entry(PAGE, at=clock.wall())))],
    )
    sender.run_once()
    for _ in range(60):
        other.run_once()  # it looks first, finds an attempt without a mark, and leaves its sender time to come back
        sender.run_once()
        clock.advance(1)
    assert receiver.copies_of(PAGE.id) == 1


@pytest.mark.parametrize("seed", range(200))
def test_any_three_misfortunes_lose_no_page(seed: int) -> None:
    """Any three misfortunes together lose no page, and the copies stay bounded."""
    chance = random.Random(seed)
    faults = {chance.randrange(2 * FIRST_CALLS): chance.choice(list(Fault)) for _ in range(3)}
    ways = tuple(chance.choice([Way.TAKE, Way.UNAVAILABLE, Way.LOST_ANSWER, Way.CRASH_AFTER]) for _ in range(2))
    second = chance.random() < 0.5
    story = tell(faults, ways, late_after=chance.choice([None, 2.0, 12.0]), second=second)
    assert 1 <= story.copies <= 1 + min(ways.count(Way.LOST_ANSWER), 1) + story.crashes, (faults, ways, second)
    assert story.unmarked_repeats == 0
    assert story.state in (DeliveryState.DELIVERED, DeliveryState.UNCERTAIN)
