"""The protocol in all its interleavings: no crash, timeout or late transaction breaks a safety property."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from killswitch.stores import Committed, Compare, Delete, Lost, Put, Store, keys
from killswitch.trips.request import TripRequest
from killswitch.trips.stored_flags import StoredFlag
from killswitch.trips.switch import Switch
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import MemoryServer, MemoryStore
from tests.faults.explored_programs import Program, Surroundings, deliver, judged_breach, rearm
from tests.faults.explored_world import ROLLOUT, Violation
from tests.faults.explorer import BOTH, Explorer, first_world
from tests.faults.figures import figure

THOROUGH = "KILLSWITCH_TEST_THOROUGH" in os.environ  # `make soak`
ALL = ("one", "two", "ann")


def heir(seen: Surroundings) -> None:
    judged_breach("heir", seen, attempts=3)
    deliver("heir", seen, 12, until_settled=True)


def controllers_and_a_person(attempts: int, switch: type[Switch] = Switch) -> dict[str, Program]:
    programs: dict[str, Program] = {
        name: partial(judged_breach, name, switch=switch, attempts=attempts) for name in ("one", "two")
    }
    return {**programs, "ann": rearm}


def both_breaches(attempts: int, switch: type[Switch] = Switch) -> dict[str, Program]:
    """Two controllers that each flip two rollouts together, and a person who re-arms the first of them."""
    programs: dict[str, Program] = {
        name: partial(judged_breach, name, switch=switch, attempts=attempts, rollouts=BOTH) for name in ("one", "two")
    }
    return {**programs, "ann": rearm}


def heir_of_both(seen: Surroundings) -> None:
    judged_breach("heir", seen, attempts=3, rollouts=BOTH)
    deliver("heir", seen, 12, until_settled=True)


def deliverers(looks: int) -> dict[str, Program]:
    return {name: partial(deliver, name, looks=looks) for name in ("one", "two")}


# attempts of a controller, misfortunes, sleeps past every lease
@pytest.mark.parametrize(
    ("attempts", "faults", "sleeps"),
    [(2, 1, 0), (1, 0, 1), *([(1, 1, 1), (1, 2, 0)] if THOROUGH else [])],
)
def test_two_controllers_and_a_person_flip_each_generation_once(attempts: int, faults: int, sleeps: int) -> None:
    """Two controllers and a person flip each generation once, whatever times out or dies."""
    explorer = Explorer(controllers_and_a_person(attempts), faults=faults, sleeps=sleeps, heir=heir, waiting=["ann"])
    figure(f"flip, {faults} faults, {sleeps} sleeps:", explorer.explore(first_world(ALL)))
    assert explorer.seen.ends > 100


@pytest.mark.parametrize(("attempts", "faults", "sleeps"), [(1, 0, 1), *([(1, 1, 0)] if THOROUGH else [])])
def test_flips_that_share_a_transaction_are_made_once_each(attempts: int, faults: int, sleeps: int) -> None:
    """One flip, one incident, one page a rollout, whoever is overtaken: what was lost together is made alone."""
    explorer = Explorer(
        both_breaches(attempts), faults=faults, sleeps=sleeps, heir=heir_of_both, waiting=["ann"], rollouts=BOTH
    )
    figure(f"flips together, {faults} faults, {sleeps} sleeps:", explorer.explore(first_world(ALL, rollouts=BOTH)))
    assert explorer.seen.ends > 50


def test_a_hundred_histories_of_flips_with_five_faults_each() -> None:
    """A hundred seeded histories of concurrent flips, with five faults in each."""
    explorer = Explorer(both_breaches(2), faults=5, sleeps=2, heir=heir_of_both, waiting=["ann"], rollouts=BOTH)
    ended = sum(explorer.walk(first_world(ALL, rollouts=BOTH), seed=seed) for seed in range(100))
    assert ended >= 30


@pytest.mark.parametrize("rollouts", [(ROLLOUT,), BOTH])
def test_a_controller_without_its_sessions_comparison_is_found_out(rollouts: tuple[str, ...]) -> None:
    """It sleeps past its lease between the look and the commit, and the store takes what it had prepared."""
    programs: dict[str, Program] = {
        "one": partial(judged_breach, "one", switch=Sleepwalking, attempts=1, rollouts=rollouts)
    }
    explorer = Explorer(programs, faults=0, sleeps=1, heir=heir_of_both, rollouts=rollouts)
    with pytest.raises(Violation, match="safety 2"):
        explorer.explore(first_world(["one"], rollouts=rollouts))


@pytest.mark.parametrize(
    ("looks", "faults", "sleeps"), [(3, 0, 0), (2, 1, 0), *([(3, 0, 1), (2, 1, 1)] if THOROUGH else [])]
)
def test_two_replicas_lose_no_page_and_bound_its_copies(looks: int, faults: int, sleeps: int) -> None:
    """Two replicas that deliver one page lose it in no interleaving, and the number of its copies is bounded."""
    explorer = Explorer(deliverers(looks), faults=faults, sleeps=sleeps, heir=heir)
    figure(f"page, {faults} faults, {sleeps} sleeps:", explorer.explore(first_world(["one", "two"], tripped=True)))
    assert explorer.seen.ends > 100


def test_a_thousand_histories_with_five_faults_flip_once_each() -> None:
    """Rows 9 and 11, seeded: trips, deliveries and a person together, deeper than can be searched through."""
    programs: dict[str, Program] = {name: partial(_trip_and_deliver, name) for name in ("one", "two")}
    explorer = Explorer({**programs, "ann": rearm}, faults=5, sleeps=2, heir=heir, waiting=["ann"])
    ended = sum(explorer.walk(first_world(ALL), seed=seed) for seed in range(1000))
    figure(f"walks: 1000, {ended} processes killed in them, {explorer.seen}")
    assert ended >= 500


def _trip_and_deliver(name: str, seen: Surroundings) -> None:
    judged_breach(name, seen)
    deliver(name, seen, 4)


class Careless(Switch):
    """Compares neither the flag's revision nor the incident's absence."""

    def _commit_trip(
        self, request: TripRequest, stored: StoredFlag, incident: str, key: str, guards: Sequence[Compare]
    ) -> object:
        outcome = _Writing()
        Switch(outcome, wall=self._wall, by=self._by, origin="test")._commit_trip(
            request, stored, incident, key, guards
        )
        return self._store.commit(guards, outcome.writes)


class Sleepwalking(Switch):
    """Compares everything but its session."""

    def __init__(self, store: Store, **named: Any) -> None:
        super().__init__(_WithoutSession(store), **named)


class _WithoutSession:
    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Committed | Lost:
        prefix = keys.claim("sessions/")
        return self._store.commit([one for one in compares if not one.key.startswith(prefix)], writes)


class _Writing(MemoryStore):
    """Takes a commit's writes and does nothing."""

    def __init__(self) -> None:
        super().__init__(MemoryServer(VirtualClock()))
        self.writes: Sequence[Put | Delete] = ()

    def commit(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Committed | Lost:
        self.writes = writes
        return Lost()


def test_a_switch_without_its_comparison_is_found_out() -> None:
    explorer = Explorer(controllers_and_a_person(1, Careless), faults=0, sleeps=0, heir=heir, waiting=["ann"])
    with pytest.raises(
        Violation, match=r"flipped a second time|after it was tripped|written over|generation 2|evidence about"
    ):
        explorer.explore(first_world(ALL))
    figure("broken compare found after", explorer.seen)
