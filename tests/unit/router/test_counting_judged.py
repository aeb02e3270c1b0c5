"""Judged twins: which requests of a user count, over how many processes, whatever the shared memory does."""

from __future__ import annotations

import time
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from killswitch.router import CohortMetrics
from killswitch.router.instruments import PrometheusInstruments
from killswitch.router.judged import period_of
from tests.unit.router.counting_bench import CANARY, CONTROL, Bench, Shared, Unreachable


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_retry_storm_is_judged_once_before_its_outcome(bench: Bench) -> None:
    """A retry storm of one user is judged once. Which request is judged is chosen before its outcome."""
    for number in range(50):
        request = bench.metrics.request(CANARY, user="stormy")
        assert request.judged is (number == 0)
        with pytest.raises(ValueError), request:  # noqa: PT012
            request.tokens(1)
            raise ValueError
    assert bench.outcomes() == {"error": 50.0}
    assert bench.outcomes(prefix="llm_judged_") == {"error": 1.0}
    assert bench.value("llm_judged_latency_ms_count") == 1.0
    bench.clock.now += 300.0
    assert bench.metrics.request(CANARY, user="stormy").judged


def test_a_users_periods_of_five_minutes_have_their_own_phase(bench: Bench) -> None:
    """Arming made every user of the canary first at one moment once, and then silent for five minutes."""
    users = [f"user-{number}" for number in range(3000)]
    first = [sum(bench.metrics.request(CONTROL, user=user).judged for user in users)]
    for _ in range(10):
        bench.clock.now += 30.0
        first.append(sum(bench.metrics.request(CANARY, user=user).judged for user in users))
    assert first[0] == 3000
    assert sum(first[1:]) == 3000
    assert all(220 < judged < 380 for judged in first[1:])  # 300 each, 5 standard deviations


def test_without_a_user_every_request_is_judged(bench: Bench) -> None:
    assert all(bench.metrics.request(CANARY).judged for _ in range(3))


def test_a_moved_user_is_judged_in_the_next_five_minutes(bench: Bench) -> None:
    """A user who was moved to the canary is judged there from their next five minutes on."""
    assert bench.metrics.request(CONTROL, user="u").judged
    assert not bench.metrics.request(CANARY, user="u").judged
    bench.clock.now += 300.0
    assert bench.metrics.request(CANARY, user="u").judged
    assert not bench.metrics.request(CONTROL, user="u").judged


def test_every_process_asks_a_shared_memory_for_the_same_text() -> None:
    """A text without the user's name: Python's `hash` is another one in each process."""
    shared = Shared()
    processes = [Bench(first_requests=shared) for _ in range(3)]
    assert [bench.metrics.request(CANARY, user="alice").judged for bench in processes] == [True, False, False]
    assert shared.keys == ["support-copilot:3:2bd806c97f0e00af1a1fc3328fa763a9"] * 3
    processes[2].clock.now += 300.0
    assert processes[2].metrics.request(CANARY, user="alice").judged


def test_periods_are_counted_on_unix_time_unless_a_clock_is_given() -> None:
    """Monotonic clocks of two machines have nothing in common."""
    shared = Shared()
    metrics = CohortMetrics(None, instruments=PrometheusInstruments.of(CollectorRegistry()), first_requests=shared)
    before = period_of("u", time.time())
    metrics.request(CANARY, user="u")
    assert int(str(shared.keys[0]).split(":")[1]) in (before, period_of("u", time.time()))


class LikeRedis(Shared):
    """redis-py's ``set(key, 1, nx=True)``: True, or None."""

    def first(self, key: object) -> Any:
        return super().first(key) or None


def test_a_shared_memory_that_answers_none_fails_no_request() -> None:
    bench = Bench(first_requests=LikeRedis(), used_tokens=LikeRedis())
    for _ in range(3):
        with bench.metrics.request(CANARY, user="u") as request:
            pass
    assert request.judged is False
    assert bench.outcomes() == {"ok": 3.0}
    assert bench.outcomes(prefix="llm_judged_") == {"ok": 1.0}
    assert [bench.metrics.thumbs_down(request.token) for _ in range(2)] == [True, True]
    token = request.token
    assert [bench.metrics.thumbs_down(token) for _ in range(2)] == [True, False]


def test_an_unreachable_memory_or_unhashable_user_fails_nothing() -> None:
    bench = Bench(first_requests=Unreachable())
    assert bench.metrics.request(CANARY, user="u").judged
    assert not bench.metrics.request(CANARY, user="u").judged
    assert bench.metrics.request(CANARY, user=["unhashable"]).judged  # type: ignore[arg-type]
    assert bench.metrics.request(CANARY, user=Nameless()).judged


class Nameless:
    def __str__(self) -> str:
        raise ValueError("no name")
