"""Changes of an account by its owners: leases that ended, and answers of the store that were lost."""

from __future__ import annotations

import threading

import pytest

from killswitch.errors import OutcomeUnknown
from killswitch.spend.caps import Cap, Period
from killswitch.spend.leasing import LeaseEnded, Leaser
from killswitch.spend.local_account import LocalAccount
from killswitch.spend.reservations import NotReserved, Reservation
from killswitch.stores import keys
from tests.doubles.memory_store import Call, Fault, MemoryStore
from tests.unit.spend.tills import SCOPE, TTL, Till, World

HOURLY = Cap(SCOPE, Period.HOUR, hard=10_000)


def commits_fail(till: Till, fault: Fault, *, once: bool = False) -> list[Call]:
    """From now on every commit of this process, or only the next one; those that have failed by now."""
    failed: list[Call] = []

    def struck(call: Call) -> Fault | None:
        if call.name != "commit" or (once and failed):
            return None
        failed.append(call)
        return fault

    till.store.fault = struck
    return failed


@pytest.fixture
def world() -> World:
    return World(HOURLY)


def leaser(world: World) -> tuple[Leaser, LocalAccount]:
    store = MemoryStore(world.server, "leaser")
    one = Leaser(store, threading.Lock(), ttl=TTL, wall=world.clock.wall, monotonic=world.clock.monotonic)
    one.renew()
    return one, LocalAccount(HOURLY, one.newest(HOURLY))


def test_an_owner_whose_lease_has_ended_changes_nothing(world: World) -> None:
    """Whether or not its block was reclaimed by then."""
    sleeper, local = leaser(world)
    assert sleeper.sync(local, returned=False) is not None
    world.clock.advance(TTL + 1.0)
    world.server.list("")  # the store notices
    before = len(world.server.history)
    with pytest.raises(LeaseEnded):
        sleeper.sync(local, returned=False)
    assert len(world.server.history) == before


def test_an_owner_begins_again_under_another_name(world: World) -> None:
    sleeper, local = leaser(world)
    sleeper.sync(local, returned=False)
    first = set(world.book().current.blocks)
    world.clock.advance(TTL + 1.0)
    assert not sleeper.renew()
    assert sleeper.sync(local, returned=False) is None, "the block was another owner's"
    fresh = LocalAccount(HOURLY, sleeper.newest(HOURLY))
    assert sleeper.sync(fresh, returned=False) is not None
    assert len(world.book().current.blocks) == 1
    assert not first & set(world.book().current.blocks)


def test_a_lease_is_renewed_while_it_lives(world: World) -> None:
    one, _ = leaser(world)
    for _ in range(10):
        world.clock.advance(TTL / 3)
        assert one.renew()
        assert one.good_until > world.clock.monotonic()
    assert len(world.server.list(keys.LEDGER_OWNERS).items) == 1


@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.APPLY_LATER, Fault.FAIL_BEFORE])
def test_a_settlement_is_written_once_whatever_answer_is_lost(world: World, fault: Fault) -> None:
    till = world.till()
    till.reserved(1_000).settle()
    commits_fail(till, fault, once=True)
    for _ in range(3):
        world.pass_time(TTL / 3, till)
    world.server.apply_late()
    till.ledger.close()
    assert world.book().current.spent == 1_000


@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.APPLY_LATER])
def test_what_may_have_been_returned_is_not_spent(world: World, fault: Fault) -> None:
    """Its give-back had no answer: the block may be others' by now, or later."""
    till, other = world.till(), world.till()
    till.reserved(1_000).release()
    returning = commits_fail(till, fault)
    while not returning:
        world.pass_time(TTL / 3, till, other)
    assert isinstance(till.try_once(1_000), NotReserved)
    till.store.fault = lambda _: None
    world.server.apply_late()
    both = [till, other]
    got = [one for _ in range(20) for one in both if isinstance(one.reserve(1_000), Reservation)]
    assert len(got) == 10
    assert max(world.most_spent_and_leased().values()) <= 10_000


def test_what_was_surely_not_returned_may_be_spent(world: World) -> None:
    till = world.till()
    till.reserved(1_000).release()
    returning = commits_fail(till, Fault.FAIL_BEFORE)
    while not returning:
        world.pass_time(TTL / 3, till)
    assert isinstance(till.try_once(1_000), Reservation)


def test_a_lost_answer_is_an_outcome_unknown_of_the_store(world: World) -> None:
    """What the tests above stand on: the double loses answers as etcd does."""
    till = world.till()
    commits_fail(till, Fault.LOSE_ANSWER, once=True)
    with pytest.raises(OutcomeUnknown):
        till.store.commit((), ())
