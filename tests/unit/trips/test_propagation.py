"""What is told after a trip, and when: on virtual time, with a store that fails as told."""

from __future__ import annotations

import pytest

from killswitch.flags import incident as incidents
from killswitch.flags.flag import Flag
from killswitch.flags.incident import RoutersFollowed, with_page
from killswitch.flags.transitions import Actor
from killswitch.pages import events, outbox_entry
from killswitch.pages.page import Page, PageKind
from killswitch.router.presence import Report, to_document
from killswitch.stores import Put, keys
from killswitch.trips.propagation import HEIRS_AFTER, Propagation
from killswitch.trips.request import TripOutcome, TripRequest
from killswitch.trips.switch import Switch
from tests.doubles import pages
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import Call, Fault, MemoryServer, MemoryStore

NAME = "copilot"
PATIENCE = 60.0


class World:
    """One rollout, armed; a replica that trips it; routers that report."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.server = MemoryServer(self.clock)
        self.store, self.propagation = self.replica("a")
        self.person = Switch(MemoryStore(self.server, "person"), wall=self.clock.wall, by="ann", origin="test")
        self.person.arm(NAME, control="model-old", canary="model-new", percent=5.0, stage="ramp_5", salt="")

    def replica(self, name: str) -> tuple[MemoryStore, Propagation]:
        store = MemoryStore(self.server, name)
        switch = Switch(store, wall=self.clock.wall, by=name, origin="test")
        clock = self.clock
        return store, Propagation(
            store,
            switch,
            settings=lambda _: pages.SETTINGS,
            monotonic=clock.monotonic,
            wall=clock.wall,
            patience=PATIENCE,
        )

    def trip(self, *replicas: Propagation) -> int:
        """The flip, told to the replicas named (one is); its revision."""
        switch = Switch(MemoryStore(self.server, "tripping"), wall=self.clock.wall, by="a", origin="test")
        draft = pages.incident_draft(NAME, by="a", reason="refusals")
        result = switch.trip(TripRequest(draft, None, Actor.CONTROLLER, self.clock.wall(), pages.SETTINGS))
        assert result.outcome is TripOutcome.TRIPPED
        for propagation in replicas or (self.propagation,):
            propagation.tripped(NAME, switch.stored(NAME).flag.generation, result.revision)  # type: ignore[union-attr]  # there is one
        return result.revision

    def rearm(self) -> None:
        def page(flag: Flag) -> Page:
            return events.re_armed(flag, reason="mended", by="ann", settings=pages.SETTINGS)

        self.person.rearm(NAME, reason="mended", percent=1.0, stage="ramp_1", page=page)

    def report(self, router: str, revision: int, percent: float = 0.0) -> None:
        standing = "tripped" if percent == 0.0 else "armed"
        document = to_document(Report(router, NAME, revision, 1, standing, percent, self.clock.wall()))
        self.server.commit(router, (), (Put(keys.router(NAME, router), document),))

    def told(self, generation: int = 1) -> RoutersFollowed | None:
        value = self.server.value(keys.incident(NAME, generation))
        assert value is not None
        return incidents.from_document(value, rollout=NAME).routers

    def pages(self) -> list[Page]:
        """What went into the outbox about followers, each commit once."""
        written = [change for change in self.server.history if change.key.startswith(keys.OUTBOX) and change.value]
        entries = [
            outbox_entry.from_document(change.value, page=change.key.removeprefix(keys.OUTBOX))
            for change in written
            if change.value is not None
        ]
        return [entry.page for entry in entries if entry.page.kind is PageKind.FOLLOWED]


@pytest.fixture
def world() -> World:
    return World()


def test_all_reporting_routers_followed_is_reported_at_once(world: World) -> None:
    """When every router that reports has followed the trip, that is reported at once."""
    world.report("r1", 2, percent=5.0)
    world.report("r2", 2, percent=5.0)
    revision = world.trip()
    world.propagation.look()
    assert world.told() is None
    world.report("r1", revision)
    world.report("r2", revision)
    world.clock.advance(1.0)
    world.propagation.look()
    assert world.told() == RoutersFollowed(2, 2, world.clock.wall())
    (page,) = world.pages()
    assert "2 of 2 routers send all users to model-old" in page.headline


def test_when_patience_ends_it_is_told_as_it_stands(world: World) -> None:
    revision = world.trip()
    world.report("r1", revision)
    world.report("slow", revision - 1, percent=5.0)
    world.propagation.look()
    world.clock.advance(PATIENCE - 1.0)
    world.propagation.look()
    assert world.told() is None
    world.clock.advance(1.0)
    world.propagation.look()
    assert world.told() == RoutersFollowed(1, 2, world.clock.wall())
    assert "1 of 2 routers" in world.pages()[0].headline


def test_it_is_told_once_whatever_happens_later(world: World) -> None:
    world.report("r1", world.trip())
    for _ in range(5):
        world.propagation.look()
        world.clock.advance(PATIENCE)
    assert len(world.pages()) == 1


def test_a_router_that_disobeys_a_trip_has_not_followed(world: World) -> None:
    """A router that disobeys the trip that it has seen has not followed."""
    revision = world.trip()
    world.report("port", revision, percent=5.0)
    world.propagation.look()
    assert world.told() is None
    world.clock.advance(PATIENCE)
    world.propagation.look()
    assert world.told() == RoutersFollowed(0, 1, world.clock.wall())


def test_without_reporting_routers_nothing_is_reported(world: World) -> None:
    """If no router reports, nothing is reported, and the store is not asked for ever."""
    world.trip()
    world.propagation.look()
    world.clock.advance(PATIENCE)
    world.propagation.look()
    calls = len(world.store.calls)
    world.propagation.look()
    assert (world.told(), world.pages(), len(world.store.calls)) == (None, [], calls)


def test_of_two_replicas_that_both_flipped_one_tells(world: World) -> None:
    _, other = world.replica("b")
    revision = world.trip(world.propagation, other)
    world.report("r1", revision)
    for _ in range(3):
        world.propagation.look()
        other.look()
        world.clock.advance(1.0)
    assert len(world.pages()) == 1


def test_a_flag_that_a_person_has_rearmed_is_told_nothing_of(world: World) -> None:
    world.report("r1", 2, percent=5.0)
    world.trip()
    world.rearm()
    world.clock.advance(PATIENCE)
    world.propagation.look()
    assert world.told() is None
    assert world.pages() == []


def test_a_later_generations_trip_is_not_taken_for_the_asked_one(world: World) -> None:
    """Replica a flipped generation 1, b generation 2; a must not tell of b's trip in generation 1's incident."""
    world.trip()
    world.rearm()
    _, other = world.replica("b")
    world.report("r1", world.trip(other))
    world.propagation.look()
    assert (world.told(1), world.told(2), world.pages()) == (None, None, [])
    other.look()
    assert (world.told(1), world.told(2)) == (None, RoutersFollowed(1, 1, world.clock.wall()))
    assert len(world.pages()) == 1


@pytest.mark.parametrize("fault", [Fault.FAIL_BEFORE, Fault.LOSE_ANSWER])
@pytest.mark.parametrize("call", ["get", "list", "commit"])
def test_a_store_that_fails_is_asked_again_and_it_is_told_once(world: World, call: str, fault: Fault) -> None:
    world.report("r1", world.trip())
    failing = [3]

    def strike(one: Call) -> Fault | None:
        if one.name != call or failing[0] == 0:
            return None
        failing[0] -= 1
        return fault

    world.store.fault = strike
    for _ in range(8):
        world.propagation.look()
        world.clock.advance(1.0)
    assert world.told() is not None
    assert len(world.pages()) == 1


def test_a_pages_note_when_patience_ends_does_not_silence_it(world: World) -> None:
    """The pager writes into the incident too; the lost comparison was once taken for the end of patience."""
    world.trip()
    world.report("late", 2, percent=5.0)
    world.clock.advance(PATIENCE)
    key = keys.incident(NAME, 1)
    fired: list[int] = []

    def note_a_page(call: Call) -> None:
        if call.name == "commit" and not fired:
            fired.append(call.number)
            value = world.server.value(key)
            assert value is not None
            noted = incidents.Paged("slack", "trip", world.clock.wall(), "C1/1.2")
            document = incidents.to_document(with_page(incidents.from_document(value, rollout=NAME), noted))
            world.server.commit("pager", (), (Put(key, document),))

    world.store.fault = note_a_page
    world.propagation.look()
    assert fired
    assert world.told() is None
    world.clock.advance(1.0)
    world.propagation.look()
    assert world.told() == RoutersFollowed(0, 1, world.clock.wall())
    assert len(world.pages()) == 1


def test_a_store_that_stays_away_is_given_up_at_last(world: World) -> None:
    world.report("r1", world.trip())
    world.store.fault = lambda _: Fault.FAIL_BEFORE
    world.propagation.look()
    world.clock.advance(2 * PATIENCE)
    world.propagation.look()
    calls = len(world.store.calls)
    world.propagation.look()
    assert len(world.store.calls) == calls


def test_an_incident_that_is_gone_or_garbled_is_left_alone(world: World) -> None:
    world.report("r1", world.trip())
    world.server.commit("anybody", (), (Put(keys.incident(NAME, 1), b"{"),))
    world.propagation.look()
    world.propagation.look()
    assert world.server.value(keys.incident(NAME, 1)) == b"{"
    assert world.pages() == []


# --- a person's trip ----------------------------------------------------------------------------


def by_hand(world: World) -> None:
    """`killswitch trip`: no controller of ours made the flip."""
    draft = pages.incident_draft(NAME, automatic=False, by="ann", reason="it swears", rules=(), findings=())
    request = TripRequest(draft, None, Actor.PERSON, world.clock.wall(), pages.SETTINGS)
    assert world.person.trip(request).outcome is TripOutcome.TRIPPED


def seen(world: World) -> list[Flag]:
    flag = world.person.stored(NAME).flag
    return [] if flag is None else [flag]


def test_who_follows_a_trip_by_hand_is_told_once_whoever_notices(world: World) -> None:
    _, other = world.replica("b")
    for propagation in (world.propagation, other):
        propagation.notice(seen(world))
    by_hand(world)
    revision = world.person.stored(NAME).revision
    world.report("r1", revision)
    world.report("r2", revision)
    for _ in range(3):
        for propagation in (world.propagation, other):
            propagation.notice(seen(world))
            propagation.look()
        world.clock.advance(1.0)
    assert world.told() is not None
    (page,) = world.pages()
    assert page.headline == "copilot: 2 of 2 routers send all users to model-old"


def test_a_starting_replica_reports_a_new_trip_and_no_old_one(world: World) -> None:
    """A replica that starts reports a trip that was just made, and no old one."""
    by_hand(world)
    world.report("r1", world.person.stored(NAME).revision)
    _, late = world.replica("b")
    world.clock.advance(3600.0)
    late.notice(seen(world))
    late.look()
    assert world.pages() == []
    _, soon = world.replica("c")
    world.clock.advance(-3590.0)
    soon.notice(seen(world))
    soon.look()
    assert len(world.pages()) == 1


def test_what_a_controller_has_tripped_is_looked_after_by_that_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand trips of one replica must not be looked after by every other one as well."""
    _, other = world.replica("b")
    other.notice(seen(world))
    world.trip()
    other.notice(seen(world))
    looked: list[float] = []

    def done(_: object) -> bool:
        looked.append(world.clock.monotonic())
        return True

    monkeypatch.setattr(other, "_done", done)
    began = world.clock.monotonic()
    for _ in range(300):
        world.clock.advance(1.0)
        other.notice(seen(world))
        other.look()
    assert looked == [began + PATIENCE + HEIRS_AFTER]


@pytest.mark.parametrize("survivor", ["another replica", "its successor"])
def test_a_replica_killed_after_its_flip_leaves_the_telling(world: World, survivor: str) -> None:
    """That a router still lets users into the canary must not be lost with the process that flipped."""
    _, other = world.replica("b")
    if survivor == "another replica":
        other.notice(seen(world))
    revision = world.trip()
    world.report("slow", revision - 1, percent=5.0)
    for _ in range(300):
        world.clock.advance(1.0)
        other.notice(seen(world))
        other.look()
    assert world.told() is not None
    (page,) = world.pages()
    assert "0 of 1 routers" in page.headline


def test_others_add_nothing_to_the_tripping_replicas_report(world: World) -> None:
    """Other replicas add nothing to what the replica that tripped has reported."""
    _, other = world.replica("b")
    other.notice(seen(world))
    world.report("r1", world.trip())
    for _ in range(300):
        for propagation in (world.propagation, other):
            propagation.notice(seen(world))
            propagation.look()
        world.clock.advance(1.0)
    assert len(world.pages()) == 1
