"""Caps of rule files: they reach every process that spends, whatever it states, until they are lifted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.errors import Unavailable
from killswitch.model import Rollout, SpendSettings
from killswitch.spend.caps import Cap, Period
from killswitch.spend.reservations import Reservation, SpendReason
from killswitch.spend.ruling import RuledCaps
from killswitch.spend_cap import SpendCap
from killswitch.stores import Delete, Put, keys
from tests.doubles.memory_store import Fault, MemoryStore
from tests.doubles.scripted_source import rollout
from tests.unit.spend.tills import World

SCOPE = "shadow:copilot"
COUNTED = Cap(SCOPE, Period.DAY)  # what a service states that leaves the caps to the rule file


def ruled(*caps: SpendCap) -> dict[str, Rollout]:
    return {"copilot": replace(rollout(), spend=SpendSettings(None, caps))}


def hourly(hard: int) -> dict[str, Rollout]:
    return ruled(SpendCap("shadow", "hour", None, hard))


class Daemon:
    def __init__(self, world: World, name: str = "daemon") -> None:
        self.store = MemoryStore(world.server, name)
        self.caps = RuledCaps(self.store, wall=world.clock.wall)

    def cycle(self, rollouts: dict[str, Rollout]) -> None:
        if self.caps.due(rollouts):
            self.caps.write(rollouts, self.store.list(keys.LEDGER))


def test_a_process_obeys_a_cap_for_a_period_that_it_does_not_state() -> None:
    world = World(COUNTED)
    Daemon(world).cycle(hourly(1_000))
    till = world.till(scopes=(SCOPE,))
    got = [isinstance(till.reserve(100), Reservation) for _ in range(12)]
    assert got == [True] * 10 + [False] * 2
    assert till.reason(100) is SpendReason.CAP
    assert world.book(SCOPE).current.used == 1_000
    assert world.book(SCOPE).current.used_up


def test_a_cap_that_comes_later_reaches_a_process_at_its_next_look() -> None:
    world = World(COUNTED)
    till = world.till(scopes=(SCOPE,))
    assert [till.reserved(100).settle() for _ in range(20)] == [100] * 20
    Daemon(world).cycle(hourly(1_000))
    world.pass_time(5.0, till)
    assert till.spend_all(100) == 10, "the hour is counted from when it is capped"


@pytest.mark.parametrize(("stated", "said", "in_force"), [(500, 1_000, 500), (1_000, 500, 500), (None, 700, 700)])
def test_the_lower_cap_is_in_force(stated: int | None, said: int, in_force: int) -> None:
    world = World(Cap(SCOPE, Period.HOUR, hard=stated))
    daemon = Daemon(world)
    daemon.cycle(hourly(said))
    till = world.till(scopes=(SCOPE,))
    assert till.spend_all(100) * 100 == in_force
    newest = world.till(scopes=(SCOPE,))
    assert newest.reason(100) is SpendReason.CAP, "a process that starts later does not state it away"


def test_a_lifted_cap_leaves_what_the_process_has_stated() -> None:
    world = World(Cap(SCOPE, Period.HOUR, hard=2_000))
    daemon = Daemon(world)
    daemon.cycle(hourly(500))
    till = world.till(scopes=(SCOPE,))
    assert till.spend_all(100) == 5
    daemon.cycle(ruled())
    world.pass_time(5.0, till)
    assert till.spend_all(100) == 15
    assert world.book(SCOPE).ruled is None


def test_a_raised_cap_lets_the_shadow_go_on() -> None:
    world = World(COUNTED)
    daemon = Daemon(world)
    daemon.cycle(hourly(500))
    till = world.till(scopes=(SCOPE,))
    assert till.spend_all(100) == 5
    daemon.cycle(hourly(900))
    world.pass_time(5.0, till)
    assert not world.book(SCOPE).current.used_up
    assert till.spend_all(100) == 4


def test_a_rule_file_that_goes_away_keeps_its_caps() -> None:
    """A file that is moved, or the daemon of another folder, must not open a purse."""
    world = World(COUNTED)
    daemon = Daemon(world)
    daemon.cycle(hourly(500))
    daemon.cycle({"other": replace(rollout(), name="other")})
    Daemon(world, "elsewhere").cycle({"other": replace(rollout(), name="other")})
    assert world.book(SCOPE).hard == 500


def test_caps_are_written_once_and_by_the_newest_to_change() -> None:
    """Two replicas in a rolling update: the old rule file's replica does not write its caps again."""
    world = World(COUNTED)
    old, new = Daemon(world, "old"), Daemon(world, "new")
    for _ in range(3):
        old.cycle(hourly(500))
        new.cycle(hourly(900))
    assert world.book(SCOPE).hard == 900
    assert len([change for change in world.server.history if change.key == keys.account(SCOPE, "hour")]) == 2


def test_a_book_that_was_deleted_is_ruled_again() -> None:
    world = World(COUNTED)
    daemon = Daemon(world)
    daemon.cycle(hourly(500))
    daemon.store.commit((), (Delete(keys.account(SCOPE, "hour")),))
    daemon.cycle(hourly(500))
    assert world.book(SCOPE).hard == 500


def test_a_ruled_book_that_cannot_be_read_is_not_spent_from() -> None:
    world = World(COUNTED)
    daemon = Daemon(world)
    daemon.store.commit((), (Put(keys.account(SCOPE, "hour"), b"{"),))
    daemon.cycle(hourly(500))
    assert world.till(scopes=(SCOPE,)).reason(100) is SpendReason.STORE


def test_caps_are_tried_again_after_an_outage() -> None:
    world = World(COUNTED)
    daemon = Daemon(world)
    daemon.store.fault = lambda call: Fault.FAIL_BEFORE if call.name == "commit" else None
    with pytest.raises(Unavailable):
        daemon.cycle(hourly(500))
    daemon.store.fault = lambda _call: None
    daemon.cycle(hourly(500))
    assert world.book(SCOPE).hard == 500


def test_no_caps_in_any_rule_file_cost_the_store_one_look() -> None:
    world = World(COUNTED)
    daemon = Daemon(world)
    for _ in range(3):
        daemon.cycle(ruled())
    assert len(daemon.store.calls) == 1
