"""The dispatcher's turns on virtual time: who is asked, who is not and why, and what hangs."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from killswitch.model import Cohort
from killswitch.router.lock_free_count import LockFreeCount
from killswitch.router.shadow.call import Came, Counted
from killswitch.router.shadow.dispatcher import Dispatcher, Offered
from killswitch.router.shadow.drops import Drop, Drops
from killswitch.router.shadow.pressure import Pressure
from killswitch.router.shadow.raw_pair import Dropped
from killswitch.router.shadow.sampling import digest_of
from tests.doubles.finished_requests import CONTROL_ROUTE, finished
from tests.doubles.held_split import shadowed
from tests.doubles.shadow_calls import HandLane, Shadowing
from tests.unit.router.shadow.test_shadow_call import SDKError, came


class Bench:
    def __init__(self, *, workers: int = 2, noise: float = 0.0, most_hung: int = 4) -> None:
        self.shadowing = Shadowing()
        self.clock = self.shadowing.clock
        self.lane = HandLane(workers)
        self.queue: deque[Offered] = deque()
        self.drops = Drops()
        self.limited = LockFreeCount()
        self.written: list[Dropped] = []
        self.counts: dict[str, int] = {}
        self.recorded_: list[Counted] = []
        results: deque[Counted] = deque()
        self.dispatcher = Dispatcher(
            self.queue,
            settings=self.shadowing.settings._replace(drop=self.drops.add, counted=results.append),
            lane=self.lane,
            drops=self.drops,
            limited=self.limited,
            pressure=Pressure(0.2, 30.0),
            counting=self,
            noise=noise,
            most_hung=most_hung,
            write_drops=self.written.append,
            calendar=self.clock.wall,
        )
        self.dispatcher.results = results

    def dropped(self, reason: Drop, number: int) -> None:
        self.counts[reason.value] = self.counts.get(reason.value, 0) + number

    def recorded(self, counted: Counted) -> None:
        self.recorded_.append(counted)

    def offer(self, request_id: str = "r", **changes: Any) -> None:
        split = self.shadowing.split
        self.queue.append(
            (finished(request_id, **changes), split, digest_of(split.salt, request_id), self.clock.monotonic(), 0)
        )

    def turn(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        self.dispatcher.turn()

    def end(self, with_: Came | None = None) -> None:
        """The oldest call is asked, and has come back."""
        call = self.lane.started[0]
        call.prepare()
        call.record(came() if with_ is None else with_)
        self.lane.started.remove(call)

    @property
    def asked(self) -> list[str]:
        return [f"{call.sampled.finished.request_id}:{call.kind}" for call in self.lane.started]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_as_many_are_asked_as_there_are_workers(bench: Bench) -> None:
    for number in range(5):
        bench.offer(f"r{number}")
    bench.turn()
    assert bench.asked == ["r0:candidate", "r1:candidate"]
    bench.end()
    bench.turn()
    assert bench.asked == ["r1:candidate", "r2:candidate"]
    assert bench.counts == {}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"served_outcome": "error"}, "not_comparable"),
        ({"served_outcome": "timeout"}, "not_comparable"),
        ({"served_outcome": "cancelled"}, "not_comparable"),
        ({"served_outcome": "refused"}, None),
        ({"route": CONTROL_ROUTE._replace(cohort=Cohort.CANARY)}, "not_comparable"),
        ({"side_effects": True}, "side_effects"),
        ({"request_id": ""}, "unidentified"),
    ],
)
def test_only_what_control_has_answered_is_asked(bench: Bench, changes: dict[str, Any], reason: str | None) -> None:
    bench.offer(**changes)
    bench.turn()
    assert bench.counts == ({} if reason is None else {reason: 1})
    assert len(bench.asked) == (reason is None)


def test_the_noise_floor_is_asked_at_the_same_time() -> None:
    bench = Bench(workers=3, noise=1.0)
    bench.offer("a")
    bench.offer("b")
    bench.turn()
    assert bench.asked == ["a:candidate", "a:noise", "b:candidate"]
    bench.offer("c")
    bench.end()
    bench.turn()
    assert bench.asked == ["a:noise", "b:candidate", "b:noise"]


def test_a_trip_empties_the_queue_at_the_next_turn(bench: Bench) -> None:
    """Also where every worker hangs: what waits is let go."""
    for number in range(10):
        bench.offer(f"r{number}")
    bench.turn()
    bench.shadowing.split = bench.shadowing.split._replace(canary="", percent=0.0, generation=1)
    bench.turn()
    assert not bench.queue
    assert bench.counts == {"turned_off": 8}


def test_a_new_generation_asks_nothing_of_the_old(bench: Bench) -> None:
    bench.offer()
    bench.shadowing.split = shadowed(100.0, generation=2).shadow
    bench.turn()
    assert bench.counts == {"turned_off": 1}


def test_what_waited_too_long_is_of_another_time(bench: Bench) -> None:
    bench.offer()
    bench.turn(61.0)
    assert bench.counts == {"late": 1}


def test_a_call_over_its_time_is_a_timeout_and_its_place_is_free(bench: Bench) -> None:
    bench.offer("hangs")
    bench.offer("next")
    bench.offer("after")
    bench.turn()
    bench.lane.prepare()
    bench.turn(29.9)
    assert bench.lane.hung() == 1  # "next" was never prepared: 5 s for that
    bench.turn(0.2)
    assert bench.lane.hung() == 2
    assert [pair.other.outcome for pair in bench.shadowing.pairs] == ["timeout"]
    assert bench.counts == {"stuck": 1}
    assert bench.asked == ["after:candidate"]


def test_too_many_that_hang_stop_the_shadow_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(workers=2, most_hung=4)
    for number in range(20):
        bench.offer(f"r{number}")
    for _ in range(2):
        bench.turn()
        for call in bench.lane.started:
            call.prepare()
        bench.turn(31.0)
    assert bench.lane.hung() == 4
    assert not bench.queue
    assert sum(bench.counts.values()) + len(bench.shadowing.pairs) == 20
    bench.offer("while stuck")
    bench.turn()
    assert "4 calls hang" in caplog.text
    assert bench.counts["stuck"] == 1
    assert bench.asked == []
    bench.lane.given_up.clear()  # they came back after all
    bench.offer("again")
    bench.turn()
    assert bench.asked == ["again:candidate"]
    assert "asks again" in caplog.text


def test_pressure_on_control_stops_the_shadow_first(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.offer("a", control_headers={"x-ratelimit-remaining-requests": "5", "x-ratelimit-limit-requests": "100"})
    bench.offer("b")
    bench.turn()
    assert bench.counts == {"pressure": 2}
    assert "control has 5 of 100 requests left" in caplog.text
    bench.turn(31.0)
    bench.offer("c")
    bench.turn()
    assert bench.asked == ["c:candidate"]


def test_a_429_of_control_stops_the_shadow(bench: Bench) -> None:
    """Also of a request that is not sampled."""
    bench.limited.add()
    bench.offer()
    bench.turn()
    assert bench.counts == {"pressure": 1}


def test_a_429_of_the_canary_rests_the_shadow(bench: Bench) -> None:
    bench.offer("a")
    bench.turn()
    bench.end(Came(None, SDKError(status_code=429), 0.1))
    bench.offer("b")
    bench.turn()
    assert bench.counts == {"budget": 1}
    assert [pair.other.outcome for pair in bench.shadowing.pairs] == ["budget"]
    bench.offer("c")
    bench.turn(5.1)
    assert bench.asked == ["c:candidate"]


def test_a_429_of_controls_second_answer_is_pressure() -> None:
    bench = Bench(workers=2, noise=1.0)
    bench.offer("a")
    bench.turn()
    bench.end()
    bench.end(Came(None, SDKError(status_code=429), 0.1))
    bench.offer("b")
    bench.turn()
    assert bench.counts == {"pressure": 1}


def test_drops_are_written_once_a_minute_and_at_the_end(bench: Bench) -> None:
    bench.offer(served_outcome="error")
    bench.turn()
    bench.turn(59.0)
    assert bench.written == []
    bench.turn(1.1)
    assert [entry.reasons for entry in bench.written] == [{"not_comparable": 1}]
    bench.turn(61.0)
    assert len(bench.written) == 1
    bench.offer("a", served_outcome="error")
    bench.offer("b")
    bench.offer("c")
    bench.turn()
    bench.offer("d")
    bench.dispatcher.give_up_all()
    assert [entry.reasons for entry in bench.written[1:]] == [{"not_comparable": 1, "shutting_down": 3}]
    assert bench.dispatcher.lost == 3


def test_a_refused_noise_is_no_denominator(bench: Bench) -> None:
    """Its request has a pair: written down as a drop, it would be counted twice."""
    bench.drops.add(Drop.NOISE)
    bench.turn(61.0)
    assert bench.counts == {"noise": 1}
    assert bench.written == []


def test_a_wall_clock_set_back_delays_no_count(bench: Bench) -> None:
    bench.offer(served_outcome="error")
    bench.turn()
    bench.clock.jump_wall(-86_400.0)
    bench.turn()
    assert [entry.reasons for entry in bench.written] == [{"not_comparable": 1}]


def test_every_sampled_request_is_a_pair_or_a_drop(bench: Bench) -> None:
    """Nothing is missing from the denominator, whatever happened to it."""
    for number in range(40):
        outcome = "error" if number % 5 == 0 else "ok"
        bench.offer(f"r{number}", served_outcome=outcome, side_effects=number % 7 == 0)
    while bench.queue or bench.lane.started:
        bench.turn()
        if bench.lane.started:
            bench.end()
    bench.turn()
    assert sum(bench.counts.values()) + len(bench.shadowing.pairs) == 40
    assert len(bench.recorded_) == len(bench.shadowing.pairs) > 0
