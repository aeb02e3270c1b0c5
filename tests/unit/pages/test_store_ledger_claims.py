"""Claims of outbox entries: who holds which, under a lease, and until when."""

from __future__ import annotations

import logging

import pytest

from killswitch.pages import outbox_entry
from killswitch.pages.outbox_entry import DeliveryState
from killswitch.stores import Delete, Put, keys
from tests.doubles.memory_store import Call, Fault
from tests.doubles.pages import trip_page
from tests.unit.pages.ledgers import RECEIVERS, TAKEN, TTL, A, B, World, only


@pytest.fixture
def world() -> World:
    return World()


def test_an_empty_outbox_costs_one_list_and_no_lease(world: World) -> None:
    assert (world.ledger.unsettled, world.ledger.unreadable) == (0, 0)
    world.ledger.scan()
    assert world.calls() == ["list"]
    assert (world.ledger.unsettled, world.ledger.unreadable) == (0, 0)


def test_entries_are_claimed_oldest_first_under_a_lease(world: World) -> None:
    world.write(A)
    world.write(B, age=60.0)
    world.ledger.scan()
    assert world.held() == [B.id, A.id]
    assert world.ledger.unsettled == 2
    found = world.claim(A)
    assert found is not None
    assert found.value == b"a"
    assert world.calls() == ["list", "grant", "list", "commit"]
    world.clock.advance(TTL)
    assert world.claim(A) is None


def test_what_another_holds_is_left_to_it_until_its_claim_ends(world: World) -> None:
    world.write(A)
    other = world.another("b")
    other.scan()
    world.ledger.scan()
    assert (world.held(other), world.held()) == ([A.id], [])
    world.clock.advance(TTL)
    assert world.held(other) == []  # by its own clock, without asking
    world.ledger.scan()
    assert world.held() == [A.id]


def test_a_claim_of_our_own_that_we_do_not_know_is_written_again(world: World) -> None:
    """The answer to the claim was lost."""
    world.write(A, B)
    world.store.fault = only("commit", Fault.LOSE_ANSWER)
    with pytest.raises(Exception, match="the answer was lost"):
        world.ledger.scan()
    assert world.held() == []
    world.store.fault = lambda _: None
    world.ledger.scan()
    assert sorted(world.held()) == [A.id, B.id]


def test_two_that_claim_at_once_do_not_both_hold(world: World) -> None:
    world.write(A)
    other = world.another("b")

    def first(call: Call) -> None:
        if call.name == "commit":
            world.store.fault = lambda _: None
            other.scan()

    world.store.fault = first
    world.ledger.scan()
    assert (world.held(other), world.held()) == ([A.id], [])


def test_a_claim_that_was_lost_is_not_held_after_the_next_look(world: World) -> None:
    world.write(A, B)
    world.ledger.scan()
    world.server.commit("x", (), (Put(keys.claim(f"outbox/{A.id}"), b"b"), Delete(keys.claim(f"outbox/{B.id}"))))
    world.server.commit("x", (), (Put(keys.claim(f"outbox/{B.id}"), b"b"),))
    world.ledger.scan()
    assert world.held() == []


def test_an_entry_that_is_gone_is_not_held(world: World) -> None:
    world.write(A)
    world.ledger.scan()
    world.server.commit("x", (), (Delete(keys.outbox(A.id)),))
    world.ledger.scan()
    assert world.held() == []
    assert world.ledger.entry(A.id) is None


def test_an_entry_that_another_has_changed_is_held_as_it_is_now(world: World) -> None:
    world.write(A)
    world.ledger.scan()
    changed = outbox_entry.begin(world.stored(A), "slack", by="b", at=world.clock.wall())
    world.put(changed)
    world.ledger.scan()
    assert world.ledger.held() == [world.stored(A)]
    assert [entry.delivery("webhook").attempts for entry in world.ledger.begin([changed], "webhook")] == [1]


def test_a_settled_entry_is_released(world: World) -> None:
    """What is settled is released and another process may look."""
    world.write(A, B)
    world.ledger.scan()
    entry = world.stored(A)
    for receiver in RECEIVERS:
        entry = outbox_entry.taken(outbox_entry.begin(entry, receiver, by="b", at=0.0), receiver, reference="r", at=0.0)
    world.put(entry)
    world.ledger.scan()
    assert world.claim(A) is None
    assert world.held() == [B.id]
    assert world.ledger.unsettled == 1
    assert world.ledger.reference(A.id, "slack") == "r"


def test_a_lease_is_kept_alive_from_a_third_of_its_life_on(world: World) -> None:
    world.write(A)
    world.ledger.scan()
    world.calls()
    world.clock.advance(TTL / 3 - 0.1)
    world.ledger.scan()
    assert "keep_alive" not in world.calls()
    world.clock.advance(0.1)
    world.ledger.scan()
    assert "keep_alive" in world.calls()
    world.clock.advance(TTL - 0.1)
    assert world.held() == [A.id]


@pytest.mark.parametrize("ended", ["by our clock", "by the store alone"])
def test_after_a_lease_ended_everything_is_claimed_again(world: World, ended: str) -> None:
    world.write(A)
    world.ledger.scan()
    first = world.claim(A)
    if ended == "by our clock":
        world.clock.advance(TTL)
        assert world.held() == []
    else:
        world.clock.advance(TTL / 2)
        world.server.revoke(2)
    world.ledger.scan()
    second = world.claim(A)
    assert first is not None
    assert second is not None
    assert second.mod_revision > first.mod_revision
    assert world.held() == [A.id]


def test_many_entries_are_claimed_in_several_transactions(world: World) -> None:
    pages = [trip_page(f"r{number:02}", 1) for number in range(85)]
    world.write(*pages)
    world.ledger.scan()
    assert len(world.held()) == 85
    assert world.calls().count("commit") == 3
    started = world.ledger.begin([world.stored(page) for page in pages], "slack")
    assert [entry.id for entry in started] == [page.id for page in pages]
    assert world.calls().count("commit") == 3
    world.ledger.finish(started, "slack", TAKEN)
    assert world.calls().count("commit") == 3
    assert all(world.stored(page).delivery("slack").state is DeliveryState.DELIVERED for page in pages)


def test_closing_gives_the_claims_back(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.write(A)
    world.ledger.scan()
    world.ledger.close()
    assert world.held() == []
    assert world.claim(A) is None
    world.ledger.close()  # nothing to give back
    world.ledger.scan()
    world.store.fault = only("revoke", Fault.FAIL_BEFORE)
    caplog.set_level(logging.INFO)
    world.ledger.close()
    assert caplog.messages == [
        "the claims could not be released and end with their lease: revoke: the store does not answer"
    ]
