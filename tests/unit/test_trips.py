"""Trips under way: retried, replaced by newer evidence, dropped when too old; and the session that guards them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from killswitch.errors import NameTaken, OutcomeUnknown, Unavailable
from killswitch.session import Session
from killswitch.stores import Compare, keys
from killswitch.switch import Switch, TripOutcome, TripRequest, TripResult
from killswitch.trips import FLIPS_FIRST, Settled, Trips
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import Call, Fault, MemoryServer, MemoryStore
from tests.unit.test_switch import World, automatic

MAX_AGE, TTL = 60.0, 15.0


class Under:
    """Trips over a switch that a test controls."""

    def __init__(self, trip: Callable[[TripRequest], TripResult] | None = None) -> None:
        self.world = World()
        self.world.arm()
        self.store = MemoryStore(self.world.server, "a")
        switch = Switch(self.store, wall=self.world.clock.wall, by="a")
        if trip is not None:
            switch.trip = trip  # type: ignore[method-assign,assignment]  # the outcome is the test's
        self.settled: list[Settled] = []
        self.failures: list[str] = []
        self.session = Session(self.store, "a", monotonic=self.world.clock.monotonic, ttl=TTL)
        self.trips = Trips(
            switch,
            guard=self.session.guard,
            doubt=self.session.doubt,
            monotonic=self.world.clock.monotonic,
            max_age=MAX_AGE,
            session_ttl=TTL,
            on_settled=self.settled.append,
            on_failure=lambda _rollout, error: self.failures.append(repr(error)),
        )

    def submit(self, request: TripRequest | None = None, age: float = 5.0) -> None:
        self.trips.submit(request or automatic(), self.world.clock.monotonic() - age)
        self.trips.wait(10)

    def retry(self, after: float = 1.0) -> None:
        self.world.clock.advance(after)
        self.trips.retry()
        self.trips.wait(10)


def test_a_trip_is_retried_until_the_store_takes_it() -> None:
    under = Under()
    under.store.fault = lambda _: Fault.FAIL_BEFORE
    under.submit()
    under.retry()
    assert under.trips.under_way == {"copilot": "refusals"}
    assert len(under.failures) == 2
    under.store.fault = lambda _: None
    under.retry()
    assert [one.result.outcome for one in under.settled] == [TripOutcome.TRIPPED]
    assert under.trips.under_way == {}


def test_evidence_that_could_outlive_a_sleep_is_not_sent() -> None:
    """Sendable for max_age - session_ttl: who falls asleep after that check wakes up without a session."""
    under = Under()
    under.submit(age=MAX_AGE - TTL + 0.1)
    assert [one.result.outcome for one in under.settled] == [TripOutcome.EXPIRED]
    assert under.world.flips() == 0
    under.submit(age=MAX_AGE - TTL - 0.1)
    assert under.world.flips() == 1


def test_a_trip_that_the_store_never_took_expires() -> None:
    under = Under()
    under.store.fault = lambda _: Fault.FAIL_BEFORE
    under.submit()
    under.retry(after=MAX_AGE)
    assert [one.result.outcome for one in under.settled] == [TripOutcome.EXPIRED]
    assert under.trips.under_way == {}


def overtaken(first: TripResult) -> tuple[Under, list[TripRequest]]:
    """An attempt on generation 1 that ends as ``first`` when a trip of generation 2 has come already; and what was
    asked so far. Generation 2 is tripped when it is tried.
    """
    entered, go_on = threading.Event(), threading.Event()
    answers = [first, TripResult(TripOutcome.TRIPPED, "copilot.2", 9)]
    asked: list[TripRequest] = []

    def trip(request: TripRequest) -> TripResult:
        asked.append(request)
        entered.set()
        go_on.wait(10)
        return answers.pop(0)

    under = Under(trip)
    under.trips.submit(automatic(generation=1), under.world.clock.monotonic())
    assert entered.wait(10)
    under.trips.submit(automatic(generation=2), under.world.clock.monotonic())
    go_on.set()
    under.trips.wait(10)
    return under, asked


@pytest.mark.parametrize("outcome", [TripOutcome.EXPIRED, TripOutcome.SUPERSEDED])
def test_the_end_of_an_old_attempt_does_not_drop_newer_evidence(outcome: TripOutcome) -> None:
    """About the next generation, perhaps: dropping it would cost a whole interval."""
    under, asked = overtaken(TripResult(outcome))
    assert "copilot" in under.trips.under_way
    under.retry()
    assert [request.generation for request in asked] == [1, 2]
    assert under.settled[-1].result.outcome is TripOutcome.TRIPPED


@pytest.mark.parametrize("outcome", [TripOutcome.TRIPPED, TripOutcome.ALREADY_TRIPPED])
def test_the_end_of_one_generation_does_not_drop_the_trip_of_the_next(outcome: TripOutcome) -> None:
    """The answer about the old one came so late that it was armed again, and breached again."""
    under, _ = overtaken(TripResult(outcome, "copilot.1", 7))
    under.retry()
    assert [one.result.incident for one in under.settled] == ["copilot.1", "copilot.2"]
    assert under.trips.under_way == {}


def test_a_bug_in_what_follows_a_trip_is_logged_and_not_swallowed(caplog: pytest.LogCaptureFixture) -> None:
    under = Under()
    under.trips._on_settled = lambda _: (_ for _ in ()).throw(RuntimeError("a bug"))
    under.submit()
    assert "what follows the trip of copilot failed" in caplog.text
    assert under.trips.under_way == {}


def test_an_unforeseen_failure_of_an_attempt_is_retried() -> None:
    answers: Iterator[Exception | TripResult] = iter(
        [ValueError("a bug"), TripResult(TripOutcome.TRIPPED, "copilot.1", 4)]
    )

    def trip(_request: TripRequest) -> TripResult:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    under = Under(trip)
    under.submit()
    assert under.failures == ["ValueError('a bug')"]
    under.retry()
    assert under.settled[-1].result.outcome is TripOutcome.TRIPPED


def test_a_guard_that_cannot_hold_any_more_sends_nothing() -> None:
    under = Under()
    under.submit(replace(automatic(), guards=lambda: None))
    assert [one.result.outcome for one in under.settled] == [TripOutcome.SUPERSEDED]
    assert under.world.flips() == 0


def test_a_sleep_before_the_session_was_opened_is_no_way_round_the_age_of_evidence() -> None:
    under = Under()
    awake = under.store.fault

    def sleep_at_the_grant(call: Call) -> Fault | None:
        if call.name == "grant":
            under.world.clock.advance(3600.0)
        return awake(call)

    under.store.fault = sleep_at_the_grant
    under.submit()
    assert [one.result.outcome for one in under.settled] == [TripOutcome.EXPIRED]
    assert under.world.flips() == 0


def test_another_replicas_flip_casts_no_doubt_on_our_session() -> None:
    """A doubt would make the guards of all other trips under way fail: a thousand breaches at once would crawl."""
    under = Under()
    guard = under.session.guard()

    def other_first(call: Call) -> Fault | None:
        if call.name == "commit" and under.world.flips() == 0:
            under.world.switch("b").trip(automatic(by="b"))
        return None

    under.store.fault = other_first
    under.submit()
    assert [one.result.outcome for one in under.settled] == [TripOutcome.ALREADY_TRIPPED]
    assert under.session.guard() == guard


def test_closing_abandons_what_was_not_sent() -> None:
    under = Under()
    under.store.fault = lambda _: Fault.FAIL_BEFORE
    under.submit()
    under.trips.close()
    assert under.trips.under_way == {}
    assert under.world.flips() == 0


# --- the session --------------------------------------------------------------------------------


class Asleep:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.server = MemoryServer(self.clock)
        self.store = MemoryStore(self.server, "a")
        self.session = Session(self.store, "a", monotonic=self.clock.monotonic, ttl=TTL)

    def holds(self, guard: Compare) -> bool:
        item = self.server.get(guard.key)
        return item is not None and item.mod_revision == guard.mod_revision


def test_a_guard_holds_while_the_session_is_kept_alive_and_not_after() -> None:
    world = Asleep()
    guard = world.session.guard()
    for _ in range(10):
        world.clock.advance(TTL / 3)
        world.session.renew()
        assert world.holds(guard)
    assert world.session.guard() == guard
    world.clock.advance(TTL + 1)
    assert not world.holds(guard)
    assert world.session.guard() != guard


def test_a_session_that_ended_in_our_sleep_is_opened_anew_and_the_old_guard_never_holds_again() -> None:
    world = Asleep()
    guard = world.session.guard()
    world.clock.advance(TTL + 1)
    world.session.renew()
    fresh = world.session.guard()
    assert world.holds(fresh)
    assert not world.holds(guard)


def test_after_doubt_the_next_guard_is_a_new_one() -> None:
    world = Asleep()
    guard = world.session.guard()
    world.session.doubt()
    assert world.session.guard().mod_revision > guard.mod_revision
    assert not world.holds(guard)


@pytest.mark.parametrize("call", ["grant", "commit"])
@pytest.mark.parametrize("fault", [Fault.FAIL_BEFORE, Fault.LOSE_ANSWER])
def test_a_session_that_could_not_be_opened_is_no_session(call: str, fault: Fault) -> None:
    world = Asleep()
    world.store.fault = lambda one: fault if one.name == call else None
    with pytest.raises((Unavailable, OutcomeUnknown)):
        world.session.guard()
    world.store.fault = lambda _: None
    assert world.holds(world.session.guard())


def test_closing_gives_the_lease_back_and_a_dead_store_does_not_hold_up_the_end() -> None:
    world = Asleep()
    world.session.guard()
    world.session.close()
    assert world.server.value(keys.claim("sessions/a")) is None
    other = Asleep()
    other.session.guard()
    other.store.fault = lambda _: Fault.FAIL_BEFORE
    other.session.close()


def test_a_cycle_that_outlives_the_order_to_stop_opens_no_session_and_sends_no_trip() -> None:
    world = Asleep()
    world.session.close()
    with pytest.raises(Unavailable):
        world.session.guard()
    assert world.server.value(keys.claim("sessions/a")) is None
    under = Under()
    under.trips.close()
    under.submit()
    assert under.trips.under_way == {}
    assert under.world.flips() == 0


def test_a_living_session_of_one_name_is_never_written_over() -> None:
    world = Asleep()
    guard = world.session.guard()
    other = Session(MemoryStore(world.server, "b"), "a", monotonic=world.clock.monotonic, ttl=TTL)
    for _ in range(8):
        with pytest.raises(NameTaken, match="KILLSWITCH_CONTROLLER_ID"):
            other.guard()
        world.clock.advance(TTL / 3)
        world.session.renew()
    assert world.holds(guard)
    assert other.refused  # it lives on for longer than a dead one's would
    assert not other.taken  # whoever never had it is not to page for it


def test_the_session_of_one_who_died_is_waited_out() -> None:
    world = Asleep()
    dead = world.session.guard()
    heir = Session(MemoryStore(world.server, "b"), "a", monotonic=world.clock.monotonic, ttl=TTL)
    with pytest.raises(NameTaken):
        heir.guard()
    world.clock.advance(TTL - 1)
    with pytest.raises(NameTaken):
        heir.guard()
    world.clock.advance(2)
    assert world.holds(heir.guard())
    assert not heir.refused
    assert not world.holds(dead)


def test_a_session_taken_while_its_process_slept_is_noticed() -> None:
    world = Asleep()
    world.session.guard()
    world.clock.advance(TTL + 1)
    heir = Session(MemoryStore(world.server, "b"), "a", monotonic=world.clock.monotonic, ttl=TTL)
    guard = heir.guard()
    with pytest.raises(NameTaken):
        world.session.guard()
    assert world.session.taken
    assert not world.session.refused
    assert world.holds(guard)
    heir.close()
    assert world.holds(world.session.guard())
    assert not world.session.taken


def test_our_own_session_may_be_opened_again() -> None:
    """Its answer was lost, or its lease is over by our clock and not by the store's."""
    world = Asleep()
    world.session.guard()
    world.session.doubt()
    assert world.holds(world.session.guard())


def test_calls_of_the_store_are_few() -> None:
    world = Asleep()
    for _ in range(20):
        world.session.guard()
        world.session.lease()
    assert [call.name for call in world.store.calls] == ["grant", "commit"]


def test_what_follows_a_flip_waits_for_flips_to_come_but_not_for_ever() -> None:
    under = Under()
    assert not under.trips.come_first
    under.store.fault = lambda _: Fault.FAIL_BEFORE
    under.submit()
    assert under.trips.come_first
    under.retry(FLIPS_FIRST)
    assert under.trips.under_way
    assert not under.trips.come_first
    under.submit()  # newer evidence for the same flip gains it no more time
    assert not under.trips.come_first
    under.store.fault = lambda _: None
    under.retry()
    assert not under.trips.under_way
