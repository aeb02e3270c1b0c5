"""Trips under way: retried, replaced by newer evidence, dropped when too old."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from killswitch.errors import Unavailable
from killswitch.session import Session
from killswitch.stores import keys
from killswitch.switch import Switch, TripOutcome, TripRequest, TripResult
from killswitch.trips import FLIPS_FIRST, Settled, Trips
from tests.doubles.memory_store import Call, Fault, MemoryStore
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


def test_a_cycle_that_outlives_the_order_to_stop_opens_no_session_and_sends_no_trip() -> None:
    under = Under()
    under.session.close()
    with pytest.raises(Unavailable, match="the session is closed: this controller is stopping"):
        under.session.guard()
    assert under.world.server.value(keys.claim("sessions/a")) is None
    under.trips.close()
    under.submit()
    assert under.trips.under_way == {}
    assert under.world.flips() == 0


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
