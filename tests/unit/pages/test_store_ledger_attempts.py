"""Attempts are in the store before they are made, and one that is lost is looked for."""

from __future__ import annotations

import pytest

from killswitch.pages import outbox_entry
from killswitch.pages.ledger import DeliveryOutcome, Result
from killswitch.pages.outbox_entry import Delivery, DeliveryState
from killswitch.pages.store_ledger import ORPHAN_GRACE
from killswitch.stores import Delete, Put, keys
from tests.doubles.memory_store import Fault
from tests.doubles.pages import trip_page
from tests.unit.pages.ledgers import TTL, A, B, World, only


@pytest.fixture
def world() -> World:
    return World()


def test_an_attempt_is_in_the_store_before_it_is_returned(world: World) -> None:
    [started] = world.begun(A)
    assert started == world.ledger.entry(A.id)
    delivery = world.stored(A).delivery("slack")
    assert (delivery.state, delivery.attempts, delivery.by) == (DeliveryState.SENDING, 1, "a")
    assert delivery.at == pytest.approx(world.clock.wall(), abs=0.001)
    assert not world.ledger.ready(started, "slack")
    assert world.ledger.ready(started, "webhook")


def test_what_is_not_held_is_not_begun(world: World) -> None:
    world.begun(A)
    assert world.ledger.begin([outbox_entry.new_entry(B, at=0.0)], "slack") == []
    world.clock.advance(TTL)
    world.calls()
    assert world.ledger.begin([world.stored(A)], "webhook") == []
    assert world.calls() == []


def test_what_may_not_begin_is_left_out_with_a_word(world: World, caplog: pytest.LogCaptureFixture) -> None:
    entry = outbox_entry.taken(
        outbox_entry.begin(outbox_entry.new_entry(A, at=world.clock.wall()), "slack", by="b", at=0.0),
        "slack",
        reference="",
        at=0.0,
    )
    world.put(entry)
    world.write(B)
    world.ledger.scan()
    started = world.ledger.begin([entry, world.stored(B)], "slack")
    assert [each.id for each in started] == [B.id]
    assert caplog.messages == ["page a.1 to slack: begin while delivered is not in the table"]


def test_an_attempt_whose_answer_was_lost_is_looked_for(world: World) -> None:
    world.write(A, B)
    world.ledger.scan()
    entries = [world.stored(A), world.stored(B)]
    world.store.fault = only("commit", Fault.LOSE_ANSWER, times=1)
    started = world.ledger.begin(entries, "slack")
    assert [entry.id for entry in started] == [A.id, B.id]
    world.calls()
    world.ledger.finish(started, "slack", DeliveryOutcome(Result.NOT_TAKEN, 0.0, error="refused"))
    assert world.calls() == ["commit"]  # on the revision that was found
    world.store.fault = only("commit", Fault.APPLY_LATER, times=1)
    assert world.ledger.begin(entries, "webhook") == []
    assert world.ledger.ready(entries[0], "webhook")
    again = world.ledger.begin(entries, "webhook")
    assert [entry.delivery("webhook").attempts for entry in again] == [1, 1]


def test_an_attempt_that_lost_sees_what_changed(world: World) -> None:
    """One entry was changed, one deleted, one cannot be understood: nothing is sent, and the next time one is."""
    third, fourth = trip_page("c", 1), trip_page("d", 1)
    world.write(A, B, third, fourth)
    world.ledger.scan()
    entries = [world.stored(page) for page in (third, B, A, fourth)]
    world.put(outbox_entry.begin(world.stored(A), "webhook", by="b", at=5.0))
    world.server.commit("x", (), (Delete(keys.outbox(B.id)), Put(keys.outbox(third.id), b"[")))
    assert world.ledger.begin(entries, "slack") == []
    assert sorted(world.held()) == [A.id, third.id, fourth.id]
    seen = world.ledger.entry(A.id)
    assert seen is not None
    assert seen.delivery("webhook").by == "b"
    assert [entry.id for entry in world.ledger.begin([seen], "slack")] == [A.id]
    assert world.ledger.begin([entries[1]], "slack") == []


def test_a_store_that_fails_begins_nothing_and_says_so(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.write(A, B)
    world.ledger.scan()
    world.store.fault = only("commit", Fault.FAIL_BEFORE)
    assert world.ledger.begin([world.stored(A), world.stored(B)], "slack") == []
    assert caplog.messages == ["cannot begin to deliver 2 pages to slack: commit: the store does not answer"]
    assert world.ledger.ready(world.stored(A), "slack")


def test_a_vanished_sender_has_a_grace(world: World) -> None:
    """From when this process first saw it; then it is written off, and begun again."""
    world.put(outbox_entry.begin(outbox_entry.new_entry(A, at=world.clock.wall()), "slack", by="gone", at=0.0))
    entry = world.stored(A)
    assert not world.ledger.ready(entry, "slack")  # never seen
    world.ledger.scan()
    world.clock.advance(ORPHAN_GRACE - 0.1)
    world.ledger.scan()
    assert not world.ledger.ready(entry, "slack")
    world.clock.advance(0.1)
    assert world.ledger.ready(entry, "slack")
    [again] = world.ledger.begin([entry], "slack")
    at = again.delivery("slack").at
    assert again.delivery("slack") == Delivery(DeliveryState.SENDING, attempts=2, orphaned=1, by="a", at=at)
    assert at == world.clock.wall()
