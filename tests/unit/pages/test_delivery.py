"""Delivery on virtual time: rhythm, failures, repeats, and stores that fail."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from killswitch.deadline import Deadline
from killswitch.flags import incident as incidents
from killswitch.pages.delivery import DeliveryPolicy
from killswitch.pages.outbox_entry import DeliveryState
from killswitch.pages.page import Page, PageKind
from killswitch.stores import Committed, Compare, Delete, Lost, Put, keys
from tests.doubles.memory_store import Call, Fault, MemoryServer, MemoryStore
from tests.doubles.pages import trip_page
from tests.doubles.receiver import AddressedReceiver, AskableReceiver, Receiver, Way
from tests.unit.pages.deliveries import World


@pytest.fixture
def world() -> World:
    return World()


def test_a_page_goes_to_every_receiver_once(world: World) -> None:
    """A page goes to every receiver once, and its incident says who was paged."""
    slack, hook, page = Receiver(world.clock, "slack"), Receiver(world.clock, "webhook"), trip_page()
    delivery = world.process([slack, hook])
    world.write(page)
    world.run(delivery, seconds=30)
    assert [copy.page for copy in slack.copies] == [page]
    assert [copy.page for copy in hook.copies] == [page]
    assert world.entry(page).delivery("slack").reference == "slack/1"
    value = world.server.value(keys.incident(page.rollout, page.generation))
    assert value is not None
    record = incidents.from_document(value, rollout=page.rollout)
    assert [(paged.receiver, paged.reference) for paged in record.pages] == [
        ("slack", "slack/1"),
        ("webhook", "webhook/1"),
    ]
    assert delivery.status().unsettled == 0


def test_the_attempt_is_committed_before_it_is_made(world: World) -> None:
    page = trip_page()
    seen: list[tuple[DeliveryState, int]] = []

    class Looking(Receiver):
        def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:
            delivery = world.entry(page).delivery(self.name)
            seen.append((delivery.state, delivery.attempts))
            return super().send(page, possible_repeat=possible_repeat, deadline=deadline)

    receiver = Looking(world.clock)
    receiver.script.extend([Way.UNAVAILABLE, Way.TAKE])
    world.write(page)
    world.run(world.process([receiver]), seconds=20)
    assert seen == [(DeliveryState.SENDING, 1), (DeliveryState.SENDING, 2)]


def test_three_replicas_send_one_copy(world: World) -> None:
    receiver, page = Receiver(world.clock), trip_page()
    replicas = [world.process([receiver], name=name) for name in "abc"]
    world.write(page)
    world.run(*replicas, seconds=60)
    assert receiver.copies_of(page.id) == 1


def test_a_lost_answer_is_repeated_once_and_the_copy_says_so(world: World) -> None:
    receiver, page = Receiver(world.clock), trip_page()
    receiver.way = lambda: Way.LOST_ANSWER
    world.write(page)
    world.run(world.process([receiver]), seconds=600)
    assert [copy.possible_repeat for copy in receiver.copies] == [False, True]
    assert world.entry(page).delivery("receiver").state is DeliveryState.UNCERTAIN


def test_no_copy_is_risked_before_the_receiver_answers_again(world: World) -> None:
    receiver, page = AskableReceiver(world.clock), trip_page()
    receiver.way = lambda: Way.TAKE if receiver.up else Way.SWALLOWED
    receiver.up = False
    delivery = world.process([receiver])
    world.write(page)
    world.run(delivery, seconds=600)
    assert len(receiver.attempts) == 1
    receiver.up = True
    recovered = world.clock.monotonic()
    world.run(delivery, seconds=90)
    assert receiver.copies_of(page.id) == 1
    assert receiver.copies[0].at - recovered <= 31
    assert receiver.copies[0].possible_repeat


@pytest.mark.parametrize("way", [Way.UNAVAILABLE, Way.DENIED, Way.REFUSED])
def test_a_failing_receiver_is_tried_with_growing_pauses(world: World, way: Way) -> None:
    """A failing receiver is tried with growing pauses, and gets its page soon after it recovers."""
    receiver, page = Receiver(world.clock), trip_page()
    receiver.way = lambda: way
    delivery = world.process([receiver])
    world.write(page)
    world.run(delivery, seconds=900)
    gaps = [b - a for a, b in zip(receiver.attempts, receiver.attempts[1:], strict=False)]
    assert max(gaps[:2]) <= 3
    assert 14 <= max(gaps) <= 31
    receiver.way = lambda: Way.TAKE
    recovered = world.clock.monotonic()
    world.run(delivery, seconds=90)
    assert receiver.copies_of(page.id) == 1
    assert receiver.copies[0].at - recovered <= 31
    assert not receiver.copies[0].possible_repeat


@pytest.mark.parametrize(("wish", "pause"), [(20.0, 20), (86400.0, 60), (0.0, 1)])
def test_the_receivers_own_wish_to_wait_is_granted_within_reason(world: World, wish: float, pause: float) -> None:
    receiver, page = Receiver(world.clock), trip_page()
    receiver.script.append(Way.UNAVAILABLE)
    receiver.retry_after = wish
    world.write(page)
    world.run(world.process([receiver]), seconds=120)
    assert receiver.attempts[1] - receiver.attempts[0] == pause


def test_a_failing_receiver_delays_no_other(world: World) -> None:
    slack, hook, page = Receiver(world.clock, "slack"), Receiver(world.clock, "webhook"), trip_page()
    slack.way = lambda: Way.UNAVAILABLE
    start = world.clock.monotonic()
    world.write(page)
    world.run(world.process([slack, hook]), seconds=10)
    assert hook.copies[0].at == start


def test_a_bug_in_a_pager_counts_as_possibly_sent(world: World) -> None:
    receiver, page = Receiver(world.clock), trip_page()
    receiver.script.append(Way.BUG)
    delivery = world.process([receiver])
    world.write(page)
    world.run(delivery, seconds=30)
    assert [copy.possible_repeat for copy in receiver.copies] == [True]


def test_a_page_for_no_address_is_not_for_that_receiver(world: World) -> None:
    slack, hook = AddressedReceiver(world.clock, "slack"), Receiver(world.clock, "webhook")
    page = replace(trip_page(), slack=None)
    delivery = world.process([slack, hook])
    world.write(page)
    world.run(delivery, seconds=10)
    assert slack.copies == []
    assert len(hook.copies) == 1
    assert delivery.status().unsettled == 0


def test_a_page_that_continues_another_goes_into_its_thread(world: World) -> None:
    receiver, first = AddressedReceiver(world.clock), trip_page()
    later = replace(first, id="support-copilot.8.re-armed", kind=PageKind.RE_ARMED, generation=8, follows=first.id)
    delivery = world.process([receiver])
    world.write(first)
    world.run(delivery, seconds=600)
    world.write(later)
    world.run(delivery, seconds=10)
    assert receiver.followed == [(later.id, "receiver/1")]


def test_settled_entries_are_dropped_but_the_newest_stay(world: World) -> None:
    """Settled entries are dropped in time and the newest stay for their references."""
    receiver = Receiver(world.clock)
    delivery = world.process([receiver])
    for number in range(80):
        world.write(trip_page(f"rollout-{number}"))
        world.run(delivery, seconds=15)
    world.run(delivery, seconds=200, step=5)
    assert len(world.server.list(keys.OUTBOX).items) == 50
    world.run(delivery, seconds=8 * 86400, step=3600)
    assert world.server.list(keys.OUTBOX).items == ()
    assert world.server.list(keys.CLAIMS).items == ()


def test_a_restored_store_that_repeats_a_revision_hides_no_page(
    world: World,
) -> None:
    """A backup from before the trip is restored between two looks, and the next trip is numbered as the last was."""
    slack, page = Receiver(world.clock, "slack"), trip_page()
    delivery = world.process([slack])
    world.write(page)
    world.run(delivery, seconds=5)
    (sent,) = world.server.list(keys.OUTBOX).items
    restored = MemoryServer(world.clock)
    while restored.revision < sent.mod_revision - 1:
        restored.commit("somebody", (), (Put("/other", b"{}"),))
    vars(world.server).update(vars(restored))
    world.write(page)
    assert world.server.list(keys.OUTBOX).items[0].mod_revision == sent.mod_revision
    world.run(delivery, seconds=30)
    assert [copy.page for copy in slack.copies] == [page, page]


def test_an_unreadable_entry_stops_nothing_and_is_counted(world: World) -> None:
    receiver, page = Receiver(world.clock), trip_page()
    delivery = world.process([receiver])
    world.server.commit("x", (), [Put(keys.outbox("a.1"), b"\xff{"), Put(keys.outbox("b.1"), b'{"format": 99}')])
    world.write(page)
    world.run(delivery, seconds=10)
    assert len(receiver.copies) == 1
    assert delivery.status().unreadable == 2


def test_an_unreadable_incident_does_not_hold_up_the_mark(world: World) -> None:
    receiver, page = Receiver(world.clock), trip_page()
    world.write(page)
    world.server.commit("x", (), [Put(keys.incident(page.rollout, page.generation), b"garbage")])
    world.run(world.process([receiver]), seconds=60)
    assert len(receiver.copies) == 1
    assert world.entry(page).delivery("receiver").state is DeliveryState.DELIVERED


def test_a_direct_page_needs_no_store_and_is_sent_once(
    world: World,
) -> None:
    """A direct page needs no store, is retried, falls back, and is sent once however often it is handed in."""
    store = MemoryStore(world.server)
    store.fault = lambda _: Fault.FAIL_BEFORE
    slack, phone = Receiver(world.clock, "slack"), Receiver(world.clock, "phone")
    slack.way = lambda: Way.UNAVAILABLE
    delivery = world.process([slack], fallback=phone, store=store)
    page = replace(trip_page(), id="_fleet.cannot-act.1", kind=PageKind.CANNOT_ACT)
    for _ in range(150):
        delivery.send_directly(page)
        delivery.run_once()
        world.clock.advance(1)
    assert phone.copies_of(page.id) == 1
    slack.way = lambda: Way.TAKE
    world.run(delivery, seconds=60)
    delivery.send_directly(page)
    world.run(delivery, seconds=60)
    assert slack.copies_of(page.id) == 1
    assert delivery.status().store_failures > 0


def test_a_command_without_a_daemon_delivers_its_page(world: World) -> None:
    """A command without a daemon delivers its page, and says who took it."""
    slack, hook, page = Receiver(world.clock, "slack"), Receiver(world.clock, "webhook"), trip_page()
    hook.way = lambda: Way.UNAVAILABLE
    delivery = world.process([slack, hook])
    world.write(page)
    deadline = Deadline(10, world.clock.monotonic)
    told = delivery.deliver_now([page.id], deadline, sleep=world.clock.advance)[page.id]
    assert told.reached == ("slack",)
    assert not told.settled
    assert deadline.expired
    delivery.close()
    hook.way = lambda: Way.TAKE
    daemon = world.process([slack, hook], name="daemon")
    world.run(daemon, seconds=2)
    assert (slack.copies_of(page.id), hook.copies_of(page.id)) == (1, 1)


def test_a_store_that_fails_half_of_its_calls_loses_nothing(world: World) -> None:
    """A store that fails half of its calls loses and doubles nothing."""
    store = MemoryStore(world.server)
    receiver, page = Receiver(world.clock), trip_page()
    chance = random.Random(3)
    store.fault = lambda _: Fault.FAIL_BEFORE if chance.random() < 0.5 else None
    world.write(page)
    world.run(world.process([receiver], store=store), seconds=300)
    assert receiver.copies_of(page.id) == 1


def test_two_receivers_of_one_name_are_refused(world: World) -> None:
    with pytest.raises(ValueError, match="one name"):
        world.process([Receiver(world.clock), Receiver(world.clock)])


def test_a_process_asleep_past_its_lease_begins_no_attempt(world: World) -> None:
    receiver, page = Receiver(world.clock), trip_page()
    store = MemoryStore(world.server, "sleeper")

    def asleep(call: Call) -> Fault | None:
        # The machine stops just before the attempt's commit, for longer than the claim lives.
        if call.name == "commit" and any(write.key.startswith(keys.OUTBOX) for write in call.subject):  # type: ignore[attr-defined]
            store.fault = lambda _: None
            world.clock.advance(30)
            world.run(other, seconds=5)
        return None

    other = world.process([receiver], name="other")
    store.fault = asleep
    sleeper = world.process([receiver], store=store, name="sleeper")
    world.write(page)
    world.run(sleeper, seconds=60)
    assert receiver.copies_of(page.id) == 1


def test_an_attempt_compares_its_claim(world: World) -> None:
    """The claim went to another while our lease lives on: ours must not be sent, though the entry is as it was."""
    receiver, page = Receiver(world.clock), trip_page()
    delivery = world.process([receiver])
    world.write(page)
    delivery._store_ledger.scan()
    assert [entry.id for entry in delivery._store_ledger.held()] == [page.id]
    world.server.commit("operator", (), (Put(keys.claim(f"outbox/{page.id}"), b"another"),))
    for lane in delivery._lanes:
        lane.run()
    assert receiver.attempts == []
    assert world.entry(page).delivery(receiver.name).attempts == 0


def test_nothing_is_sent_once_the_claims_lease_has_ended(world: World) -> None:
    """The answer to the attempt's commit took longer than the claim lives: another replica may be sending by now."""
    receiver, page = Receiver(world.clock), trip_page()

    class Slow(MemoryStore):
        def commit(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Committed | Lost:
            outcome = super().commit(compares, writes)
            if any(write.key.startswith(keys.OUTBOX) for write in writes):
                world.clock.advance(DeliveryPolicy().claim_ttl + 1.0)
            return outcome

    delivery = world.process([receiver], store=Slow(world.server, "slow"))
    world.write(page)
    delivery.run_once()
    assert world.entry(page).delivery(receiver.name).attempts == 1  # committed, and not made
    assert receiver.attempts == []
