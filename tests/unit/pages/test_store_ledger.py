"""The ledger in the store, call by call: what is read, understood, dropped, history, and given up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.flags.document import to_document as flag_document
from killswitch.model import PageSettings
from killswitch.pages import outbox_entry
from killswitch.pages.ledger import KEEP_SETTLED, NEWS
from killswitch.pages.outbox_entry import DeliveryState
from killswitch.pages.page import Page, PageKind
from killswitch.pages.retention import KEEP_SETTLED_AT_LEAST, KEEP_SETTLED_AT_MOST
from killswitch.roles.document import to_document as role_document
from killswitch.roles.role import Role, RoleChange
from killswitch.stores import Delete, Put, keys
from tests.doubles.memory_store import Call, Fault
from tests.doubles.pages import armed, trip_page
from tests.doubles.role_pages import role_pages
from tests.unit.pages.ledgers import RECEIVERS, TTL, A, B, World, only


@pytest.fixture
def world() -> World:
    return World()


def test_an_entry_that_stays_as_it_is_is_understood_once(world: World) -> None:
    world.write(A)
    world.ledger.scan()
    first = world.ledger.entry(A.id)
    world.ledger.scan()
    assert world.ledger._seen[A.id][0] is first


def test_what_is_not_understood_is_counted_and_said_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.server.commit("x", (), (Put(keys.outbox("bad"), b"["),))
    world.write(A)
    for _ in range(3):
        world.ledger.scan()
    assert world.ledger.unreadable == 1
    assert world.held() == [A.id]
    [said] = caplog.messages
    assert said.startswith("a page cannot be delivered: its outbox entry cannot be read: outbox entry bad: not JSON")
    world.server.commit("x", (), (Put(keys.outbox("worse"), b"{}"),))
    world.ledger.scan()
    assert world.ledger.unreadable == 2
    assert len(caplog.messages) == 2


def test_settled_entries_stay_two_minutes_the_newest_a_week(world: World) -> None:
    def done(number: int, age: float) -> str:
        page = trip_page(f"r{number:02}", 1)
        entry = outbox_entry.new_entry(page, at=world.clock.wall() - age)
        for receiver in RECEIVERS:
            entry = outbox_entry.taken(
                outbox_entry.begin(entry, receiver, by="b", at=0.0), receiver, reference="r", at=0.0
            )
        world.put(entry)
        return page.id

    def kept() -> set[str]:
        world.ledger.scan()
        return {item.key.removeprefix(keys.OUTBOX) for item in world.server.list(keys.OUTBOX).items}

    old = done(99, KEEP_SETTLED_AT_MOST + 1)
    week = done(98, KEEP_SETTLED_AT_MOST - 1)
    assert kept() == {week}
    newest = {done(number, KEEP_SETTLED_AT_LEAST - number) for number in range(KEEP_SETTLED - 1)}
    assert kept() == {week, *newest}
    one_more = done(60, KEEP_SETTLED_AT_LEAST - 1)
    assert kept() == {*newest, one_more}  # the fifty-first, and older than two minutes
    younger = {done(number, 1.0) for number in range(61, 65)}
    assert kept() == {*newest, one_more, *younger}  # more than fifty, but none is old enough
    world.clock.advance(2.0)
    assert len(kept()) < KEEP_SETTLED + 5
    assert old not in kept()


def test_an_entry_that_was_changed_meanwhile_is_not_dropped(world: World) -> None:
    for page in (A, B):
        entry = outbox_entry.new_entry(page, at=world.clock.wall() - KEEP_SETTLED_AT_MOST - 1)
        for receiver in RECEIVERS:
            entry = outbox_entry.taken(
                outbox_entry.begin(entry, receiver, by="b", at=0.0), receiver, reference="r", at=0.0
            )
        world.put(entry)
    again = world.stored(A)

    def changed(call: Call) -> None:
        if call.name == "commit":
            world.store.fault = lambda _: None
            world.put(replace(again, created_at=world.clock.wall()))

    world.store.fault = changed
    world.ledger.scan()
    assert [item.key for item in world.server.list(keys.OUTBOX).items] == [keys.outbox(A.id)]


def flag_of(page: Page, generation: int) -> Put:
    return Put(keys.flag(page.rollout), flag_document(replace(armed(page.rollout), generation=generation)))


@pytest.mark.parametrize(
    ("age", "generation", "history"),
    [(NEWS + 1, None, True), (NEWS + 1, 2, True), (NEWS + 1, 1, False), (NEWS, 2, False)],
)
def test_an_old_page_of_a_generation_that_ended_is_history(
    world: World, age: float, generation: int | None, history: bool
) -> None:
    world.write(A, age=age)
    if generation is not None:
        world.server.commit("x", (), (flag_of(A, generation),))
    world.ledger.scan()
    assert world.ledger.is_history(world.stored(A)) is history


def test_what_was_news_when_it_was_met_stays_news(world: World) -> None:
    world.write(A, age=NEWS)
    world.ledger.scan()
    world.clock.jump_wall(7200.0)
    world.ledger.scan()
    assert not world.ledger.is_history(world.stored(A))


@pytest.mark.parametrize(("taken", "history"), [(False, False), (True, True)])
def test_an_old_page_about_the_fleet_is_history_once_taken(world: World, taken: bool, history: bool) -> None:
    page = replace(A, kind=PageKind.BLIND, rollout="", id="blind.1")
    entry = outbox_entry.new_entry(page, at=world.clock.wall() - NEWS - 1)
    if taken:
        entry = outbox_entry.taken(outbox_entry.begin(entry, "slack", by="b", at=0.0), "slack", reference="r", at=0.0)
    world.put(entry)
    world.ledger.scan()
    world.calls()
    assert world.ledger.is_history(entry) is history
    assert world.calls() == []


def test_a_store_that_cannot_say_makes_nothing_history(world: World) -> None:
    world.write(A, age=NEWS + 1)
    world.ledger.scan()
    world.server.commit("x", (), (Put(keys.flag(A.rollout), b"["),))
    assert not world.ledger.is_history(world.stored(A))
    world.server.commit("x", (), (Delete(keys.flag(A.rollout)),))
    world.store.fault = only("get", Fault.FAIL_BEFORE)
    assert not world.ledger.is_history(world.stored(A))
    world.store.fault = lambda _: None
    assert world.ledger.is_history(world.stored(A))
    assert not world.ledger.is_history(outbox_entry.new_entry(B, at=0.0))  # never met
    world.clock.advance(TTL)
    assert not world.ledger.is_history(world.stored(A))  # without a lease nothing is given up


def test_a_page_that_is_given_up_is_sent_no_more(world: World) -> None:
    world.write(A)
    world.ledger.scan()
    world.ledger.give_up(world.stored(A), "slack")
    delivery = world.stored(A).delivery("slack")
    assert delivery.state is DeliveryState.EXPIRED
    assert delivery.at == pytest.approx(world.clock.wall(), abs=0.001)
    world.ledger.give_up(world.stored(A), "webhook")  # on what the first has left
    assert world.stored(A).settled(RECEIVERS)
    assert world.held() == []


def test_giving_up_compares_the_entry_and_the_claim(world: World) -> None:
    world.write(A, B)
    world.ledger.scan()
    world.put(replace(world.stored(A), created_at=5.0))
    world.server.commit("x", (), (Put(keys.claim(f"outbox/{B.id}"), b"b"),))
    before = [world.stored(A), world.stored(B)]
    for entry in before:
        world.ledger.give_up(entry, "slack")
    assert [world.stored(A), world.stored(B)] == before
    world.ledger.give_up(outbox_entry.new_entry(trip_page("c", 1), at=0.0), "slack")  # not held


def test_what_cannot_be_given_up_is_said(world: World, caplog: pytest.LogCaptureFixture) -> None:
    started = world.begun(A)
    world.ledger.give_up(started[0], "slack")
    world.store.fault = only("commit", Fault.FAIL_BEFORE)
    world.ledger.give_up(started[0], "webhook")
    assert caplog.messages == [
        "cannot give up page a.1: page a.1 to slack: give up while sending is not in the table",
        "cannot give up page a.1: commit: the store does not answer",
    ]
    assert world.stored(A) == started[0]


def test_a_page_that_is_not_known_has_no_reference(world: World) -> None:
    assert world.ledger.reference("nothing", "slack") == ""
    assert world.ledger.entry("nothing") is None


@pytest.mark.parametrize(("number", "history"), [(7, False), (8, True)])
def test_an_old_page_of_a_role_is_history_once_it_changed(world: World, number: int, history: bool) -> None:
    """The newest change of a role is still to be paged, however long no receiver could be reached."""
    page = role_pages(0.0, PageSettings())[0]
    world.write(page, age=NEWS + 1)
    role = Role("triage", "m2", None, "m1", number, RoleChange.PROMOTED, 0.0, "ann")
    world.server.commit("x", (), (Put(keys.role("triage"), role_document(role)),))
    world.ledger.scan()
    assert world.ledger.is_history(world.stored(page)) is history
