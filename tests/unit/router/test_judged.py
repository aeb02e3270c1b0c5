"""Who is met for the first time: once a period, in bounded memory, whichever way time and load go."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from killswitch.router.judged import RecentlySeen


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_storm_of_one_user_is_judged_once_in_each_five_minutes() -> None:
    clock = Clock()
    seen = RecentlySeen(clock=clock)
    judged = 0
    for _ in range(120):  # a request every five seconds for ten minutes
        judged += seen.first("user")
        clock.now += 5.0
    assert judged == 2


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 400)), max_size=200))
def test_first_sights_of_a_key_are_at_least_a_period_apart(
    visits: list[tuple[int, float]],
) -> None:
    """Two first sights of a key are at least a period apart, and none is missed."""
    clock = Clock()
    seen = RecentlySeen(clock=clock)
    last: dict[int, float] = {}
    for key, pause in visits:
        clock.now += pause
        expected = key not in last or clock.now - last[key] >= 300.0
        assert seen.first(key) is expected
        if expected:
            last[key] = clock.now


def test_memory_is_bounded_however_many_users_come() -> None:
    seen = RecentlySeen(capacity=1000, clock=Clock())
    for number in range(50_000):
        seen.first(f"user-{number}")
        assert len(seen) <= 2000


def test_above_its_capacity_it_still_knows_the_latest_users() -> None:
    """Above its capacity, the memory still knows the users of the last moments."""
    seen = RecentlySeen(capacity=100, clock=Clock())
    for number in range(10_000):
        assert seen.first(number)
        assert not seen.first(number)


def test_of_many_threads_with_one_key_exactly_one_is_first() -> None:
    seen = RecentlySeen(clock=Clock())  # a clock that answers the same object every time
    for key in range(200):
        answers: list[bool] = []
        barrier = threading.Barrier(4)

        def ask(key: int = key, answers: list[bool] = answers, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            answers.append(seen.first(key))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(answers) == 1


def test_it_keeps_no_user_only_a_number() -> None:
    seen = RecentlySeen(clock=Clock())
    seen.first("alice@example.com")
    younger, elder, _ = seen._generations
    assert all(isinstance(key, int) for key in (*younger, *elder))
