"""Trips under way: retried, replaced by newer evidence, dropped when too old."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from killswitch.errors import KillswitchError, Unavailable
from killswitch.flags.incident import from_document
from killswitch.fleet.session import Session
from killswitch.stores import keys
from killswitch.trips.pending import FLIPS_FIRST, PARALLEL, TOGETHER, Settled, Trips
from killswitch.trips.request import Alone, TripOutcome, TripRequest, TripResult
from killswitch.trips.switch import Switch
from tests.doubles.memory_store import Call, Fault, MemoryStore
from tests.unit.trips.switches import World, automatic

MAX_AGE, TTL = 60.0, 15.0


class Under:
    """Trips over a switch that a test controls."""

    def __init__(self, trip: Callable[[TripRequest], TripResult] | None = None) -> None:
        self.world = World()
        self.world.arm()
        self.store = MemoryStore(self.world.server, "a")
        switch = Switch(self.store, wall=self.world.clock.wall, by="a", origin="test")
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
            on_failure=lambda rollout, error: self.failures.append(f"{rollout}: {error!r}"),
        )

    def submit(self, request: TripRequest | None = None, age: float = 5.0) -> None:
        self.trips.submit(request or automatic(), self.world.clock.monotonic() - age)
        self.trips.wait(10)

    def retry(self, after: float = 1.0) -> None:
        self.world.clock.advance(after)
        self.trips.retry()
        self.trips.wait(10)


def test_an_incident_is_dated_to_the_flip_not_to_the_verdict() -> None:
    """A store that was silent for 20 s: users were in the canary for as long."""
    under = Under()
    under.store.fault = lambda _: Fault.FAIL_BEFORE
    request = automatic()
    under.submit(request)
    under.store.fault = lambda _: None
    under.retry(after=20.0)
    written = under.world.server.value(keys.incident("copilot", 1))
    assert written is not None
    record = from_document(written, rollout="copilot")
    assert record.decided_at == pytest.approx(request.draft.decided_at + 20.0, abs=0.01)
    assert request.draft.latency is not None
    assert record.latency == pytest.approx(request.draft.latency + 20.0, abs=0.01)


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
    assert [(one.rollout, one.seconds) for one in under.settled] == [("copilot", 7.0)]  # since its tick
    assert under.trips.under_way == {}


def test_evidence_that_could_outlive_a_sleep_is_not_sent() -> None:
    """Sendable for max_age - session_ttl: who falls asleep after that check wakes up without a session."""
    under = Under()
    under.submit(age=MAX_AGE - TTL + 0.1)
    assert [one.result.outcome for one in under.settled] == [TripOutcome.EXPIRED]
    assert under.world.flips() == 0
    under.submit(age=MAX_AGE - TTL)
    assert under.world.flips() == 1


def test_a_trip_that_the_store_never_took_expires() -> None:
    under = Under()
    under.store.fault = lambda _: Fault.FAIL_BEFORE
    under.submit(age=0.0)
    under.retry(after=MAX_AGE - TTL)
    assert under.settled == []
    under.retry(after=0.1)
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
def test_the_end_of_one_generation_keeps_the_trip_of_the_next(outcome: TripOutcome) -> None:
    """The answer about the old one came so late that it was armed again, and breached again."""
    under, _ = overtaken(TripResult(outcome, "copilot.1", 7))
    under.retry()
    assert [one.result.incident for one in under.settled] == ["copilot.1", "copilot.2"]
    assert under.trips.under_way == {}


def test_a_bug_in_what_follows_a_trip_is_logged_and_not_swallowed(caplog: pytest.LogCaptureFixture) -> None:
    under = Under()
    under.trips._on_settled = lambda _: (_ for _ in ()).throw(RuntimeError("a bug"))
    under.submit()
    assert caplog.messages == ["after the trip of copilot: unexpected error"]
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
    assert under.failures == ["copilot: ValueError('a bug')"]
    under.retry()
    assert under.settled[-1].result.outcome is TripOutcome.TRIPPED


def test_a_guard_that_cannot_hold_any_more_sends_nothing() -> None:
    under = Under()
    under.submit(replace(automatic(), guards=lambda: None))
    assert [one.result.outcome for one in under.settled] == [TripOutcome.SUPERSEDED]
    assert under.world.flips() == 0


def test_a_sleep_before_the_session_was_opened_ages_evidence() -> None:
    """A sleep before the session was opened is no way round the age limit of evidence."""
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


def test_a_session_that_the_store_ended_is_replaced_for_the_trip() -> None:
    """A session that the store has ended is doubted, and the trip is made with a new one."""
    under, told = Under(), list[str]()
    guard = under.session.guard()
    under.store.revoke(under.session.lease())
    under.submit(replace(automatic(), lost=lambda: told.append("lost")))
    assert [one.result.outcome for one in under.settled] == [TripOutcome.TRIPPED]
    assert told == ["lost"]
    assert under.session.guard() != guard


def test_closing_abandons_what_was_not_sent() -> None:
    under = Under()
    under.store.fault = lambda _: Fault.FAIL_BEFORE
    under.submit()
    under.trips.close()
    assert under.trips.under_way == {}
    assert under.world.flips() == 0


def test_a_cycle_that_outlives_the_order_to_stop_sends_no_trip() -> None:
    """A cycle that outlives the order to stop opens no session and sends no trip."""
    under = Under()
    under.session.close()
    with pytest.raises(Unavailable, match=r"^the session is closed: this controller is stopping$"):
        under.session.guard()
    assert under.world.server.value(keys.claim("sessions/a")) is None
    under.trips.close()
    under.submit()
    assert under.trips.under_way == {}
    assert under.world.flips() == 0


def test_what_follows_a_flip_waits_for_flips_but_not_for_ever() -> None:
    """What follows a flip waits for the flips that are still to come, but not for ever."""
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


# --- several at once ----------------------------------------------------------------------------


class Asked:
    """A switch that a test answers for. ``calls``: what was asked of it, in order."""

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.alone: dict[str, TripResult | Exception] = {}
        self.together: dict[str, TripResult | KillswitchError | Alone] | Exception = {}

    def trip(self, request: TripRequest, *, sent: bool = False) -> TripResult:
        self.calls.append((request.rollout, request.at, sent))
        return answered(self.alone.get(request.rollout, tripped(request.rollout)))

    def trip_together(self, requests: Sequence[TripRequest]) -> list[TripResult | KillswitchError | Alone]:
        names = [request.rollout for request in requests]
        self.calls.append(names)
        by_name = self.together
        if isinstance(by_name, Exception):
            raise by_name
        return [by_name.get(name, tripped(name)) for name in names]


def answered(answer: TripResult | Exception) -> TripResult:
    if isinstance(answer, Exception):
        raise answer
    return answer


def tripped(rollout: str) -> TripResult:
    return TripResult(TripOutcome.TRIPPED, f"{rollout}.1", 7)


class Several(Under):
    """Trips of these rollouts that have each failed once: with the next retry they go together."""

    def __init__(self, *rollouts: str) -> None:
        self.asked = Asked()
        super().__init__()
        self.trips._switch = self.asked  # type: ignore[assignment]  # the answers are the test's
        self.asked.alone = dict.fromkeys(rollouts, Unavailable("not now"))
        for rollout in rollouts:
            self.submit(of(rollout))
        self.asked.alone.clear()
        self.asked.calls.clear()


def of(rollout: str, at: float = 1.0) -> TripRequest:
    return automatic(at=at, rollout=rollout)


@pytest.mark.parametrize("rollouts", [("a", "b"), ("a", "b", "c")])
def test_trips_that_wait_go_together(rollouts: tuple[str, ...]) -> None:
    under = Several(*rollouts)
    under.retry()
    assert under.asked.calls == [list(rollouts)]
    assert [one.result for one in under.settled] == [tripped(rollout) for rollout in rollouts]
    assert under.trips.under_way == {}


def test_no_more_go_together_than_a_transaction_holds() -> None:
    under = Several(*(f"r{number:02}" for number in range(2 * TOGETHER + 2)))
    under.retry()
    assert sorted(len(names) for names in under.asked.calls if isinstance(names, list)) == [2, TOGETHER, TOGETHER]
    assert under.trips.under_way == {}


@pytest.mark.parametrize("sent", [False, True])
def test_what_failed_for_the_others_is_tried_alone_at_once(sent: bool) -> None:
    """Whether it was sent before goes with it: a flip that was made meanwhile is its own."""
    under = Several("a", "b", "c")
    under.asked.together = {"b": Alone(sent=sent)}
    under.retry()
    assert under.asked.calls == [["a", "b", "c"], ("b", 1.0, sent)]
    assert [one.rollout for one in under.settled] == ["a", "c", "b"]
    assert under.trips.under_way == {}


def test_what_is_to_be_tried_alone_holds_up_no_other() -> None:
    under = Several("a", "b", "c")
    under.asked.together = {"b": Alone(), "a": Unavailable("not now"), "c": Unavailable("not now")}
    under.asked.alone["b"] = Unavailable("not now")
    under.retry()
    under.asked.calls.clear()
    under.submit(of("b", at=2.0))  # newer evidence is tried alone as well
    assert under.asked.calls == [("b", 2.0, False)]
    under.asked.calls.clear()
    under.asked.together = {}
    under.retry()
    assert sorted(map(str, under.asked.calls)) == ["('b', 2.0, False)", "['a', 'c']"]


def test_newer_evidence_was_not_sent_though_the_older_was() -> None:
    """Taken for sent, it would claim the flip that another replica has made."""
    under = Several("a", "b")
    together, newer = under.asked.trip_together, of("b", at=2.0)

    def overtaken(requests: Sequence[TripRequest]) -> list[TripResult | KillswitchError | Alone]:
        under.trips.submit(newer, under.world.clock.monotonic())
        return together(requests)

    under.asked.trip_together = overtaken  # type: ignore[method-assign]
    under.asked.together = {"b": Alone(sent=True)}
    under.retry()
    assert under.asked.calls == [["a", "b"], ("b", 2.0, False)]


def test_after_a_bug_in_a_transaction_each_is_tried_alone(caplog: pytest.LogCaptureFixture) -> None:
    under = Several("a", "b")
    under.asked.together = ValueError("a bug")
    under.retry()
    assert caplog.messages == ["tripping a, b failed with an unexpected error; each is tried again alone"]
    assert under.asked.calls[0] == ["a", "b"]
    assert sorted(map(str, under.asked.calls[1:])) == ["('a', 1.0, False)", "('b', 1.0, False)"]
    assert under.trips.under_way == {}


def held_up(rollout: str, seconds: float) -> tuple[Under, threading.Event]:
    """Trips whose attempt at ``rollout`` is under way for some seconds, or until the event is set."""
    entered, go_on = threading.Event(), threading.Event()

    def trip(request: TripRequest) -> TripResult:
        if request.rollout == rollout:
            entered.set()
            go_on.wait(seconds)
        return tripped(request.rollout)

    under = Under(trip)
    under.trips.submit(of(rollout), under.world.clock.monotonic())
    assert entered.wait(10)
    return under, go_on


def test_waiting_for_trips_takes_no_longer_than_it_was_told() -> None:
    under, go_on = held_up("a", 5.0)
    under.trips.wait(0.01)
    assert under.settled == []
    go_on.set()
    under.trips.wait(10)
    assert [one.rollout for one in under.settled] == ["a"]


def test_waiting_for_trips_includes_those_that_began_earlier() -> None:
    under, _ = held_up("a", 0.3)
    under.submit(of("b"))
    assert sorted(one.rollout for one in under.settled) == ["a", "b"]


def test_closing_waits_for_what_is_sent_and_it_is_told() -> None:
    """Its page must go out, and who reads the log must see it."""
    under, _ = held_up("a", 0.3)
    under.trips.close()
    assert [(one.rollout, one.result) for one in under.settled] == [("a", tripped("a"))]


def test_flips_are_made_several_at_once() -> None:
    together = threading.Barrier(PARALLEL)

    def trip(request: TripRequest) -> TripResult:
        together.wait(10)
        return tripped(request.rollout)

    under = Under(trip)
    for number in range(PARALLEL):
        under.trips.submit(of(f"r{number}"), under.world.clock.monotonic())
    under.trips.wait(20)
    assert under.failures == []
    assert len(under.settled) == PARALLEL
