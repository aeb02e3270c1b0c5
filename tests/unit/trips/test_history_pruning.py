"""Old lines of flags' histories go after 400 days, a bounded number at a time, and a wrong clock costs none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from killswitch.flags.incident import to_document as incident_document
from killswitch.stores import Put, ToldTime, keys
from killswitch.timestamps import DAY
from killswitch.trends.document import to_document
from killswitch.trips.flag_history import history_of
from killswitch.trips.history_pruning import AT_ONCE, MOST_DELETED, HistoryPruning
from tests.doubles import web_pages
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import Fault, MemoryServer, MemoryStore
from tests.doubles.pages import incident


class Histories:
    """Rollouts with lines of any age, and a replica that prunes them."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.server = MemoryServer(self.clock)
        self.store = MemoryStore(self.server, "a")
        self.pruning = HistoryPruning(self.store, wall=self.clock.wall)

    def add(self, rollout: str, *ages: float) -> None:
        """A line of each age in days."""
        writes = [Put(keys.generation(rollout), b"{}")]
        for number, age in enumerate(ages):
            writes.append(Put(keys.flag_change(rollout, self.clock.wall() - age * DAY, 1, number, "raise"), b"{}"))
        self.server.commit("ann", (), writes)

    def left(self, rollout: str) -> int:
        return len(history_of(self.store, rollout))


@pytest.fixture
def histories() -> Histories:
    return Histories()


def test_lines_over_400_days_go_and_younger_ones_stay(histories: Histories) -> None:
    histories.add("copilot", 900, 401, 399, 0)
    assert histories.pruning.look() == 2
    assert histories.left("copilot") == 2
    assert histories.pruning.look() == 0


def test_the_course_around_a_trip_is_kept_as_long_as_the_history(histories: Histories) -> None:
    histories.add(web_pages.NAME, 500)
    for generation, age in enumerate((900, 401, 399, 0), 1):
        moved = histories.clock.wall() - age * DAY
        course = replace(web_pages.trend(), since=moved - 3600, until=moved, times=(), rules=())
        key = keys.incident_trend(web_pages.NAME, generation)
        histories.server.commit("kill-1", (), (Put(key, to_document(course)),))
    unknown = keys.incident_trend(web_pages.NAME, 9)
    histories.server.commit("kill-2", (), (Put(unknown, b'{"format": 2}'),))
    assert histories.pruning.look() == 3
    left = [item.key for item in histories.store.list(keys.INCIDENT_TRENDS).items]
    assert left == [*(keys.incident_trend(web_pages.NAME, generation) for generation in (3, 4)), unknown]


def test_old_incidents_go_and_the_newest_stays_however_old(histories: Histories) -> None:
    """A flag that has been tripped for years still rests on it."""
    for rollout, ages in {"copilot": (900, 401, 399), "asleep": (900, 800)}.items():
        histories.add(rollout)
        for generation, age in enumerate(ages, 1):
            decided = histories.clock.wall() - age * DAY
            document = incident_document(replace(incident(), rollout=rollout, decided_at=decided, tick=decided))
            histories.server.commit("kill-1", (), (Put(keys.incident(rollout, generation), document),))
    damaged = keys.incident("copilot", 9)
    histories.server.commit("kill-2", (), (Put(damaged, b"{"),))
    assert histories.pruning.look() == 3
    left = [item.key for item in histories.store.list(keys.INCIDENTS).items]
    assert left == [keys.incident("asleep", 2), keys.incident("copilot", 3), damaged]


def test_each_look_reads_a_few_rollouts_and_all_have_their_turn(histories: Histories) -> None:
    names = [f"r{number:03}" for number in range(3 * AT_ONCE)]
    for name in names:
        histories.add(name, 500, 1)
    for _ in range(3):
        reads = len(histories.store.calls)
        assert histories.pruning.look() == AT_ONCE
        assert len(histories.store.calls) - reads <= 3 * AT_ONCE + 2
    assert all(histories.left(name) == 1 for name in names)
    assert histories.pruning.look() == 0


def test_one_look_deletes_a_bounded_number(histories: Histories) -> None:
    for _ in range(3):
        histories.add("copilot", *[500 + number / 1000 for number in range(MOST_DELETED // 2)])
        histories.clock.advance(1)
    assert histories.pruning.look() == MOST_DELETED
    assert histories.pruning.look() == MOST_DELETED // 2


def test_two_replicas_and_a_silent_store_do_no_harm(histories: Histories) -> None:
    histories.add("copilot", 500, 1)
    histories.store.fault = lambda call: Fault.LOSE_ANSWER if call.name == "commit" else None
    assert histories.pruning.look() == 0
    histories.store.fault = lambda _: None
    assert HistoryPruning(MemoryStore(histories.server, "b"), wall=histories.clock.wall).look() == 0
    assert histories.left("copilot") == 1


def test_a_clock_that_is_years_ahead_costs_no_history(histories: Histories) -> None:
    """The store's own clock counts where it tells it."""

    class Telling(MemoryStore):
        def told_time(self) -> ToldTime:
            return ToldTime(histories.clock.wall(), 0.0)

    histories.add("copilot", 500, 300)
    ahead: Callable[[], float] = lambda: histories.clock.wall() + 3 * 365 * DAY  # noqa: E731
    assert HistoryPruning(Telling(histories.server, "b"), wall=ahead).look() == 1
    assert histories.left("copilot") == 1


def test_a_key_of_another_form_is_left(histories: Histories) -> None:
    histories.add("copilot", 1)
    histories.server.commit("x", (), (Put(keys.flag_history("copilot") + "odd", b"{}"),))
    histories.pruning.look()
    assert histories.left("copilot") == 2
