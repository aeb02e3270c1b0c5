"""The ledgers, call by call: what is claimed, begun, marked, given up and dropped, and what each failure leaves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from killswitch.errors import BadTransaction
from killswitch.flags import incident as incidents
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.incident import Paged
from killswitch.pages import outbox
from killswitch.pages.ledger import KEEP_SETTLED, NEWS, DeliveryOutcome, Result
from killswitch.pages.outbox import Delivery, DeliveryState, OutboxEntry
from killswitch.pages.page import Page, PageKind
from killswitch.pages.store_ledger import KEEP_SETTLED_AT_LEAST, KEEP_SETTLED_AT_MOST, ORPHAN_GRACE, StoreLedger
from killswitch.stores import Delete, Item, Put, keys
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import Call, Fault, MemoryServer, MemoryStore
from tests.doubles.pages import armed, incident, trip_page

TTL = 9.0
RECEIVERS = ("slack", "webhook")
TAKEN = DeliveryOutcome(Result.TAKEN, 1_776_608_540.0, "ref/1")


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.server = MemoryServer(self.clock)
        self.store = MemoryStore(self.server, "a")
        self.ledger = self.another("a", self.store)

    def another(self, owner: str, store: MemoryStore | None = None) -> StoreLedger:
        return StoreLedger(
            store or MemoryStore(self.server, owner), owner=owner, wall=self.clock.wall,
            monotonic=self.clock.monotonic, settled=lambda entry: entry.settled(RECEIVERS), ttl=TTL,
        )  # fmt: skip

    def write(self, *pages: Page, age: float = 0.0) -> None:
        for page in pages:
            self.put(outbox.new_entry(page, at=self.clock.wall() - age))

    def put(self, entry: OutboxEntry) -> None:
        self.server.commit("x", (), (Put(keys.outbox(entry.id), outbox.to_document(entry)),))

    def record(self, page: Page) -> None:
        value = incidents.to_document(incident(page.rollout, page.generation))
        self.server.commit("x", (), (Put(keys.incident(page.rollout, page.generation), value),))

    def paged(self, page: Page) -> tuple[Paged, ...]:
        value = self.server.value(keys.incident(page.rollout, page.generation))
        assert value is not None
        return incidents.from_document(value, rollout=page.rollout).pages

    def stored(self, page: Page) -> OutboxEntry:
        value = self.server.value(keys.outbox(page.id))
        assert value is not None
        return outbox.from_document(value, page=page.id)

    def claim(self, page: Page) -> Item | None:
        return self.server.get(keys.claim(f"outbox/{page.id}"))

    def held(self, ledger: StoreLedger | None = None) -> list[str]:
        return [entry.id for entry in (ledger or self.ledger).held()]

    def calls(self) -> list[str]:
        names = [call.name for call in self.store.calls]
        self.store.calls.clear()
        return names

    def begun(self, *pages: Page, receiver: str = "slack") -> Sequence[OutboxEntry]:
        """Written, claimed, and an attempt committed for each."""
        self.write(*pages)
        self.ledger.scan()
        return self.ledger.begin([self.stored(page) for page in pages], receiver)


@pytest.fixture
def world() -> World:
    return World()


A, B = trip_page("a", 1), trip_page("b", 1)


def only(name: str, fault: Fault, *, key: str = "", times: int = 99) -> Callable[[Call], Fault | None]:
    """The fault at calls of that name that write below ``key``."""
    left = [fault] * times

    def strike(call: Call) -> Fault | None:
        writes = call.subject if isinstance(call.subject, tuple) else ()
        if call.name == name and left and (not key or any(write.key.startswith(key) for write in writes)):
            return left.pop()
        return None

    return strike


# --- claims -------------------------------------------------------------------------------------


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
    changed = outbox.begin(world.stored(A), "slack", by="b", at=world.clock.wall())
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
        entry = outbox.taken(outbox.begin(entry, receiver, by="b", at=0.0), receiver, reference="r", at=0.0)
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
    """A lease that ended is replaced and everything claimed again."""
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
    """More entries than one transaction takes are claimed in several."""
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


# --- what is read -------------------------------------------------------------------------------


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
    """Settled entries stay for two minutes and the newest for a week."""

    def done(number: int, age: float) -> str:
        page = trip_page(f"r{number:02}", 1)
        entry = outbox.new_entry(page, at=world.clock.wall() - age)
        for receiver in RECEIVERS:
            entry = outbox.taken(outbox.begin(entry, receiver, by="b", at=0.0), receiver, reference="r", at=0.0)
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
    """An entry that was changed meanwhile is not dropped with the others."""
    for page in (A, B):
        entry = outbox.new_entry(page, at=world.clock.wall() - KEEP_SETTLED_AT_MOST - 1)
        for receiver in RECEIVERS:
            entry = outbox.taken(outbox.begin(entry, receiver, by="b", at=0.0), receiver, reference="r", at=0.0)
        world.put(entry)
    again = world.stored(A)

    def changed(call: Call) -> None:
        if call.name == "commit":
            world.store.fault = lambda _: None
            world.put(replace(again, created_at=world.clock.wall()))

    world.store.fault = changed
    world.ledger.scan()
    assert [item.key for item in world.server.list(keys.OUTBOX).items] == [keys.outbox(A.id)]


# --- history ------------------------------------------------------------------------------------


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
    """An old page about the fleet is history once anybody took it."""
    page = replace(A, kind=PageKind.BLIND, rollout="", id="blind.1")
    entry = outbox.new_entry(page, at=world.clock.wall() - NEWS - 1)
    if taken:
        entry = outbox.taken(outbox.begin(entry, "slack", by="b", at=0.0), "slack", reference="r", at=0.0)
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
    assert not world.ledger.is_history(outbox.new_entry(B, at=0.0))  # never met
    world.clock.advance(TTL)
    assert not world.ledger.is_history(world.stored(A))  # without a lease nothing is given up


# --- attempts -----------------------------------------------------------------------------------


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
    assert world.ledger.begin([outbox.new_entry(B, at=0.0)], "slack") == []
    world.clock.advance(TTL)
    world.calls()
    assert world.ledger.begin([world.stored(A)], "webhook") == []
    assert world.calls() == []


def test_what_may_not_begin_is_left_out_with_a_word(world: World, caplog: pytest.LogCaptureFixture) -> None:
    entry = outbox.taken(
        outbox.begin(outbox.new_entry(A, at=world.clock.wall()), "slack", by="b", at=0.0), "slack", reference="", at=0.0
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
    world.put(outbox.begin(world.stored(A), "webhook", by="b", at=5.0))
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
    world.put(outbox.begin(outbox.new_entry(A, at=world.clock.wall()), "slack", by="gone", at=0.0))
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


# --- marks --------------------------------------------------------------------------------------


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
    """An incident that is not understood is said and the mark made."""
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
        ("killswitch.pages.delivery", logging.ERROR, "1 deliveries cannot be marked: too many writes")
    ]


def test_a_mark_that_loses_is_made_on_the_newer_entry(world: World) -> None:
    """A mark that loses to another change is made on what stands."""
    started = world.begun(A)
    world.put(outbox.begin(world.stored(A), "webhook", by="b", at=5.0))
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
    """Marks that are too large together go one after the other."""
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
    """A mark of an entry that is gone or spoiled holds up no other."""
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
    """A mark that waits behind one of an entry that is gone is made."""
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
    """A send that takes longer than the grace is not begun again."""
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


# --- giving up ----------------------------------------------------------------------------------


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
    world.ledger.give_up(outbox.new_entry(trip_page("c", 1), at=0.0), "slack")  # not held


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
