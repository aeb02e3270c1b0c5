"""A controller's session: its guard holds while it is kept alive, and its name belongs to one process."""

from __future__ import annotations

import pytest

from killswitch.errors import NameTaken, OutcomeUnknown, Unavailable
from killswitch.fleet.session import PATIENCE_TTLS, Session
from killswitch.stores import Compare, Put, keys
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import Call, Fault, MemoryServer, MemoryStore

TTL = 15.0


class Asleep:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.server = MemoryServer(self.clock)
        self.store = MemoryStore(self.server, "a")
        self.session = Session(self.store, "a", monotonic=self.clock.monotonic, ttl=TTL, owner="first")

    def rival(self, owner: str) -> Session:
        """Another process of the same name."""
        return Session(MemoryStore(self.server, owner), "a", monotonic=self.clock.monotonic, ttl=TTL, owner=owner)

    def holds(self, guard: Compare) -> bool:
        item = self.server.get(guard.key)
        return item is not None and item.mod_revision == guard.mod_revision


def test_a_guard_holds_only_while_the_session_is_kept_alive() -> None:
    """A guard holds while the session is kept alive, and not after."""
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


def test_a_session_that_ended_in_our_sleep_is_opened_again() -> None:
    """A session that ended while we slept is opened again. The old guard never holds again."""
    world = Asleep()
    guard = world.session.guard()
    world.clock.advance(TTL + 1)
    world.session.renew()
    assert world.server.value(keys.claim("sessions/a")) is not None  # by the renewal, not only by the next guard
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


def test_closing_returns_the_lease_and_never_hangs() -> None:
    """Closing returns the lease. A dead store does not delay the end."""
    world = Asleep()
    world.session.guard()
    world.session.close()
    assert world.server.value(keys.claim("sessions/a")) is None
    other = Asleep()
    other.session.guard()
    other.store.fault = lambda _: Fault.FAIL_BEFORE
    other.session.close()


def test_a_living_session_of_one_name_is_never_written_over() -> None:
    world = Asleep()
    guard = world.session.guard()
    other = world.rival("second")
    for _ in range(8):
        with pytest.raises(NameTaken) as refused:
            other.guard()
        assert str(refused.value) == (
            "another living process runs as controller 'a' (session owner 'first'): give each replica a "
            "KILLSWITCH_CONTROLLER_ID of its own, or none; until then this one cannot act"
        )
        world.clock.advance(TTL / 3)
        world.session.renew()
    assert world.holds(guard)
    assert other.refused  # it lives on for longer than a dead one's would
    assert not other.taken  # whoever never had it is not to page for it


def test_the_session_of_one_who_died_is_waited_out() -> None:
    world = Asleep()
    dead = world.session.guard()
    heir = world.rival("second")
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
    heir = world.rival("second")
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


def test_a_session_ends_at_the_moment_its_lease_does() -> None:
    world = Asleep()
    lease = world.session.lease()
    world.clock.advance(TTL)
    assert world.clock.monotonic() == lease.expires_at
    assert world.session.lease().id != lease.id


def test_a_session_opened_again_over_our_own_ends_with_its_lease() -> None:
    """Written without a lease, its key would hold up every later process of this name for ever."""
    world = Asleep()
    world.session.guard()
    world.session.doubt()
    world.session.guard()
    world.clock.advance(TTL)
    assert world.server.value(keys.claim("sessions/a")) is None


def test_no_lease_is_granted_while_another_process_has_the_name() -> None:
    """One lease, for the first try; after it, looks alone."""
    world = Asleep()
    world.session.guard()
    store = MemoryStore(world.server, "second")
    rival = Session(store, "a", monotonic=world.clock.monotonic, ttl=TTL, owner="second")
    for _ in range(4):
        with pytest.raises(NameTaken):
            rival.guard()
    assert [call.name for call in store.calls].count("grant") == 1


def test_a_name_is_refused_after_the_patience_and_not_at_its_end() -> None:
    world = Asleep()
    world.session.guard()
    rival = world.rival("second")
    for wait, refused in ((0.0, False), (PATIENCE_TTLS * TTL, False), (0.5, True)):
        for _ in range(3):
            world.clock.advance(wait / 3)
            world.session.renew()
        with pytest.raises(NameTaken):
            rival.guard()
        assert rival.refused is refused


def test_patience_begins_again_with_each_other_owner() -> None:
    """Two that died one after the other are not one that lives on."""
    world = Asleep()
    world.session.guard()
    late = world.rival("third")
    with pytest.raises(NameTaken, match="'first'"):
        late.guard()
    world.clock.advance(TTL + 1)
    world.rival("second").guard()
    world.clock.advance(TTL - 1)
    with pytest.raises(NameTaken, match="'second'"):
        late.guard()
    assert not late.refused


@pytest.mark.parametrize("document", [b"", b"{}", b"[]", b"no JSON", b"[" * 100_000])
def test_a_session_that_names_no_owner_is_another_processs(document: bytes) -> None:
    world = Asleep()
    world.server.commit("someone", (), (Put(keys.claim("sessions/a"), document),))
    with pytest.raises(NameTaken, match="session owner ''"):
        world.session.guard()
    assert world.server.value(keys.claim("sessions/a")) == document


def test_a_session_whose_key_changes_twice_is_tried_again() -> None:
    """A session whose key changes during both tries is tried again."""
    world = Asleep()

    def spoiled(call: Call) -> None:
        if call.name == "commit":
            world.server.commit("someone", (), (Put(keys.claim("sessions/a"), b'{"owner": "first"}'),))

    world.store.fault = spoiled
    with pytest.raises(Unavailable, match=r"^the session could not be opened: its key has just changed; tried again$"):
        world.session.guard()
    world.store.fault = lambda _: None
    assert world.holds(world.session.guard())


def test_a_session_whose_answer_is_lost_says_so() -> None:
    world = Asleep()
    world.store.fault = lambda call: Fault.LOSE_ANSWER if call.name == "commit" else None
    with pytest.raises(Unavailable, match=r"^the session could not be opened: commit: the answer was lost$"):
        world.session.guard()
