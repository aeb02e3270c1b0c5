"""Marks of what became of an attempt, in the entry and its incident, whatever call fails."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from killswitch.errors import BadTransaction
from killswitch.flags.incident import Paged
from killswitch.pages import outbox_entry
from killswitch.pages.ledger import DeliveryOutcome, Result
from killswitch.pages.outbox_entry import Delivery, DeliveryState
from killswitch.pages.store_ledger import ORPHAN_GRACE
from killswitch.stores import Delete, Put, keys
from tests.doubles.memory_store import Call, Fault
from tests.doubles.pages import trip_page
from tests.unit.pages.ledgers import RECEIVERS, TAKEN, A, B, World, only


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (TAKEN, DeliveryState.DELIVERED),
        (DeliveryOutcome(Result.NOT_TAKEN, 1_776_608_540.0, error="refused"), DeliveryState.PENDING),
        (DeliveryOutcome(Result.ANSWER_LOST, 1_776_608_540.0, error="refused"), DeliveryState.UNKNOWN),
    ],
)
def test_what_became_of_an_attempt_is_marked(world: World, outcome: DeliveryOutcome, state: DeliveryState) -> None:
    started = world.begun(A)
    world.ledger.finish(started, "slack", outcome)
    delivery = world.stored(A).delivery("slack")
    unknown = 1 if state is DeliveryState.UNKNOWN else 0
    assert delivery == Delivery(
        state, attempts=1, unknown=unknown, by="a", at=outcome.at, reference=outcome.reference, error=outcome.error
    )
    assert world.ledger.entry(A.id) == world.stored(A)
    assert world.ledger.ready(world.stored(A), "slack")
    assert world.ledger.reference(A.id, "slack") == outcome.reference


@pytest.mark.parametrize("result", [Result.NOT_TAKEN, Result.ANSWER_LOST])
@pytest.mark.parametrize(("by", "attempts"), [("b", 1), ("a", 2)])
def test_a_failure_is_not_marked_over_a_later_attempt(world: World, result: Result, by: str, attempts: int) -> None:
    started = world.begun(A)
    later = replace(started[0].delivery("slack"), by=by, attempts=attempts)
    world.put(replace(started[0], deliveries={"slack": later}))
    world.ledger.scan()
    before = world.stored(A)
    world.ledger.finish(started, "slack", DeliveryOutcome(result, 0.0, error="refused"))
    assert world.stored(A) == before


def test_that_a_page_was_taken_is_marked_whoever_has_gone_on(world: World) -> None:
    started = world.begun(A)
    world.put(replace(started[0], deliveries={"slack": replace(started[0].delivery("slack"), by="b", attempts=2)}))
    world.ledger.scan()
    world.ledger.finish(started, "slack", TAKEN)
    assert world.stored(A).delivery("slack").state is DeliveryState.DELIVERED
    delivered = world.stored(A)
    world.ledger.finish(started, "slack", replace(TAKEN, reference="later"))
    assert world.stored(A) == delivered  # the first to say so stands


def test_a_delivery_stands_in_its_incident_once(world: World) -> None:
    world.record(A)
    started = world.begun(A)
    world.ledger.finish(started, "slack", replace(TAKEN, possible_repeat=True))
    at = TAKEN.at
    assert world.paged(A) == (Paged("slack", "TRIPPED", at, "ref/1", possible_repeat=True),)
    world.ledger.finish(started, "slack", TAKEN)
    world.ledger.finish(world.ledger.begin([world.stored(A)], "webhook"), "webhook", TAKEN)
    assert [paged.receiver for paged in world.paged(A)] == ["slack", "webhook"]
    world.ledger.finish(started, "slack", replace(TAKEN, reference="ref/2"))
    assert [paged.reference for paged in world.paged(A)] == ["ref/1", "ref/1", "ref/2"]


@pytest.mark.parametrize("result", [Result.NOT_TAKEN, Result.ANSWER_LOST])
def test_only_what_was_taken_stands_in_an_incident(world: World, result: Result) -> None:
    world.record(A)
    world.ledger.finish(world.begun(A), "slack", DeliveryOutcome(result, 0.0, error="refused"))
    assert world.paged(A) == ()


def test_a_page_that_is_of_no_incident_is_written_into_none(world: World) -> None:
    page = replace(A, payload={})
    world.record(A)
    world.ledger.finish(world.begun(page), "slack", TAKEN)
    assert world.stored(page).delivery("slack").state is DeliveryState.DELIVERED
    assert world.paged(A) == ()


def test_an_unreadable_incident_is_said_and_the_mark_made(world: World, caplog: pytest.LogCaptureFixture) -> None:
    started = world.begun(A)
    world.server.commit("x", (), (Put(keys.incident("a", 1), b"["),))
    world.ledger.finish(started, "slack", TAKEN)
    assert world.stored(A).delivery("slack").state is DeliveryState.DELIVERED
    [said] = caplog.messages
    assert said.startswith("the incident of page a.1 cannot be read: incident")


def test_marks_that_the_store_did_not_take_wait(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Marks that the store did not take wait and nothing is sent meanwhile."""
    started = world.begun(A, B)
    world.store.fault = only("commit", Fault.FAIL_BEFORE)
    for entry in started:
        world.ledger.finish([entry], "slack", TAKEN)
    assert caplog.messages == [
        "1 deliveries are not marked yet: commit: the store does not answer",
        "2 deliveries are not marked yet: commit: the store does not answer",
    ]
    assert [world.ledger.ready(entry, "slack") for entry in started] == [False, False]
    world.store.fault = lambda _: None
    world.ledger.scan()
    for page in (A, B):
        assert world.stored(page).delivery("slack").state is DeliveryState.DELIVERED
        assert world.ledger.ready(world.stored(page), "slack")


def test_a_transaction_that_the_store_refuses_is_an_error(world: World, caplog: pytest.LogCaptureFixture) -> None:
    started = world.begun(A)

    def refused(call: Call) -> None:
        if call.name == "commit":
            raise BadTransaction("too many writes")

    world.store.fault = refused
    world.ledger.finish(started, "slack", TAKEN)
    assert caplog.record_tuples == [
        ("killswitch.pages.store_ledger", logging.ERROR, "1 deliveries cannot be marked: too many writes")
    ]


def test_a_mark_that_loses_is_made_on_the_newer_entry(world: World) -> None:
    started = world.begun(A)
    world.put(outbox_entry.begin(world.stored(A), "webhook", by="b", at=5.0))
    world.calls()
    world.ledger.finish(started, "slack", TAKEN)
    entry = world.stored(A)
    assert entry.delivery("slack").state is DeliveryState.DELIVERED
    assert entry.delivery("webhook").by == "b"
    assert world.calls() == ["get", "commit", "get", "get", "commit"]  # the entry is read for the second try only
    assert [each.delivery("webhook").attempts for each in world.ledger.held()] == [1]


def test_a_mark_that_always_loses_is_left_for_the_next_look(world: World, caplog: pytest.LogCaptureFixture) -> None:
    started = world.begun(A)

    def changes(call: Call) -> None:
        if call.name == "commit":
            world.put(replace(world.stored(A), created_at=world.stored(A).created_at + 1))

    world.store.fault = changes
    world.calls()
    world.ledger.finish(started, "slack", TAKEN)
    assert world.calls().count("commit") == 5
    assert caplog.messages == [
        "1 deliveries are not marked yet: another process keeps changing the same outbox entries; trying again shortly"
    ]
    assert not world.ledger.ready(started[0], "slack")


def test_marks_of_one_entry_go_one_after_the_other(world: World) -> None:
    first = world.begun(A)
    second = world.ledger.begin([world.stored(A)], "webhook")
    world.store.fault = only("commit", Fault.FAIL_BEFORE)
    world.ledger.finish(first, "slack", TAKEN)
    world.ledger.finish(second, "webhook", TAKEN)
    world.store.fault = lambda _: None
    world.calls()
    world.ledger.scan()
    assert world.calls().count("commit") == 2
    assert {world.stored(A).delivery(name).state for name in RECEIVERS} == {DeliveryState.DELIVERED}


def test_pages_of_one_incident_go_one_after_the_other(world: World) -> None:
    other = replace(A, id="a.1.again")
    world.record(A)
    started = world.begun(A, other)
    world.calls()
    world.ledger.finish(started, "slack", TAKEN)
    assert world.calls().count("commit") == 2
    assert len(world.paged(A)) == 1  # of one receiver, kind and reference
    assert {world.stored(page).delivery("slack").state for page in (A, other)} == {DeliveryState.DELIVERED}


def test_marks_too_large_together_go_one_after_the_other(world: World) -> None:
    pages = [replace(trip_page(f"r{number}", 1), payload={"more": "x" * 150_000}) for number in range(7)]
    started = world.begun(*pages)
    assert len(started) == 7
    world.calls()
    world.ledger.finish(started, "slack", TAKEN)
    assert world.calls().count("commit") == 3  # three fit
    assert all(world.stored(page).delivery("slack").state is DeliveryState.DELIVERED for page in pages)


@pytest.mark.parametrize("value", [None, b"["])
def test_a_mark_of_a_lost_entry_holds_up_no_other(
    world: World, value: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    started = world.begun(A, B)
    gone = Delete(keys.outbox(A.id)) if value is None else Put(keys.outbox(A.id), value)
    world.server.commit("x", (), (gone,))
    world.ledger.scan()
    world.ledger.finish(started, "slack", TAKEN)
    assert world.stored(B).delivery("slack").state is DeliveryState.DELIVERED
    assert world.ledger._marks == []
    said = [each for each in caplog.messages if each.startswith("a delivery cannot be marked: outbox entry a.1: ")]
    assert len(said) == (0 if value is None else 1)
    assert world.server.value(keys.outbox(A.id)) == value


def test_marks_of_entries_that_are_gone_cost_one_look_each(world: World) -> None:
    last = trip_page("c", 1)
    started = sorted(world.begun(A, B, last), key=lambda entry: entry.id)
    world.server.commit("x", (), (Delete(keys.outbox(B.id)),))
    world.ledger.scan()
    world.calls()
    world.ledger.finish(started, "slack", TAKEN)
    assert world.calls() == ["get", "get", "get", "commit"]  # two incidents, and between them what is gone
    world.ledger.finish(started[1:2], "slack", TAKEN)
    assert world.calls() == ["get"]


def test_a_mark_behind_one_of_a_lost_entry_is_made(world: World) -> None:
    gone, first = sorted(world.begun(A, B), key=lambda entry: entry.id)
    [second] = world.ledger.begin([first], "webhook")
    world.server.commit("x", (), (Delete(keys.outbox(A.id)),))
    world.ledger.scan()
    world.store.fault = lambda _: Fault.FAIL_BEFORE
    for entry, receiver in ((gone, "slack"), (first, "slack"), (second, "webhook")):
        world.ledger.finish([entry], receiver, TAKEN)
    world.store.fault = lambda _: None
    world.ledger.scan()
    assert {world.stored(B).delivery(name).state for name in RECEIVERS} == {DeliveryState.DELIVERED}


def test_a_send_longer_than_the_grace_is_not_begun_again(world: World) -> None:
    [started] = world.begun(A)
    for _ in range(4):
        world.ledger.scan()
        world.clock.advance(ORPHAN_GRACE)
        assert not world.ledger.ready(started, "slack")


def test_an_entry_that_stays_as_it_is_keeps_its_revision(world: World) -> None:
    """Its mark came too late, and went together with another."""
    started = sorted(world.begun(A, B), key=lambda entry: entry.id)
    later = replace(started[0].delivery("slack"), by="b", attempts=2)
    world.put(replace(started[0], deliveries={"slack": later}))
    world.ledger.scan()
    world.ledger.finish(started, "slack", DeliveryOutcome(Result.NOT_TAKEN, 0.0, error="refused"))
    both = [world.stored(A), world.stored(B)]
    assert [entry.delivery("slack").state for entry in both] == [DeliveryState.SENDING, DeliveryState.PENDING]
    assert len(world.ledger.begin(both, "webhook")) == 2
