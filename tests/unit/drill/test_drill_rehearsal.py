"""A rehearsal, on virtual time: nothing that a router reads changes, and each leg is timed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.drill.commit import DrillTransaction
from killswitch.drill.keeping import acknowledge_drill, finish, next_number, open_drills
from killswitch.drill.record import KEPT, DrillOutcome, DrillRecord, from_document, to_document
from killswitch.errors import BadDocument, Refused
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import Actor
from killswitch.pages.page import Page, PageKind
from killswitch.pages.receivers.alert_life import alerts_of, ends
from killswitch.stores import Delete, Item, Lease, Put, keys
from killswitch.trips.incidents import incidents_of
from killswitch.trips.request import TripOutcome, TripRequest, TripResult
from tests.doubles import pages
from tests.doubles.drills import NAME, RECEIVERS, DrilledWorld, drill_pages
from tests.doubles.memory_store import Call, MemoryStore

RECORD = DrillRecord(
    rollout=NAME, number=3, live=False, by="ann", origin="laptop", controller="kill-0", began_at=pages.AT, generation=1,
    stage="ramp_5", percent=5.0,
)  # fmt: skip


def test_a_drill_passes_and_times_each_leg() -> None:
    """Each leg has its seconds, and the rollback is the sum of three."""
    record = DrilledWorld().drilled()
    assert record.outcome is DrillOutcome.PASSED, record.problems
    legs = record.legs
    assert legs["first_router"] == pytest.approx(0.1, abs=0.26)
    assert legs["routers_99"] == pytest.approx(0.5, abs=0.26)
    assert legs["rollback"] == pytest.approx(legs["detection"] + legs["commit"] + legs["routers_99"])
    assert legs["detection"] >= 5.5  # the lag, and the newest cycle
    assert {f"page:{name}" for name in RECEIVERS} <= legs.keys()
    assert (record.followed, record.routers) == (3, 3)


def test_the_flags_key_never_holds_other_bytes() -> None:
    """What routers can read is the same document before, during and after a rehearsal."""
    world = DrilledWorld()
    before = world.server.value(keys.flag(NAME))
    record = world.drilled()
    written = [change for change in world.server.history if change.key == keys.flag(NAME)]
    assert [change.value for change in written] == [before, before]
    assert written[-1].revision == record.revision


@given(value=st.binary(max_size=300), revision=st.integers(1, 2**40))
def test_the_transaction_puts_the_flag_as_it_was_read(value: bytes, revision: int) -> None:
    """Whatever is in the flag's key, a rehearsal puts that, on the condition that it is still the newest."""
    item = Item(keys.flag(NAME), value, revision)
    drill = DrillTransaction(RECORD, item, pages.incident(), drill_pages()[0], Lease(1, 15.0, 15.0))
    puts = [write for write in drill.writes(at=0.0) if isinstance(write, Put) and write.key.startswith(keys.FLAGS)]
    assert puts == [Put(item.key, value)]
    assert (item.key, revision) in [(one.key, one.mod_revision) for one in drill.compares()]


def test_nothing_is_kept_where_incidents_are() -> None:
    world = DrilledWorld()
    world.drilled()
    assert not incidents_of(world.store, NAME)
    assert not world.server.list(keys.INCIDENTS).items
    assert world.server.get(keys.drill_incident(NAME, 1)) is not None


def test_its_page_is_marked_calm_and_followed_by_its_end() -> None:
    """The page says DRILL, mentions no one, and its end continues it."""
    world = DrilledWorld()
    world.drilled()
    first, end = world.pages(PageKind.DRILL)
    assert first.headline.startswith("DRILL of copilot")
    assert (first.severity, first.mention, first.payload["drill"]) == ("info", None, True)
    assert first.payload["auto_action"].startswith("none")
    assert end.follows == first.id == f"{NAME}.drill-1"
    assert (ends(first), ends(end)) == (False, True)  # an alert that it has opened is over
    assert alerts_of(first) == alerts_of(end)
    assert end.good_news


@pytest.mark.parametrize("page", drill_pages(), ids=lambda page: page.id)
def test_every_page_of_a_drill_says_so(page: Page) -> None:
    """Someone who reads only the headline knows that it is no incident."""
    assert "drill" in page.headline.lower()
    assert "exposed" not in page.payload


def test_a_router_that_does_not_follow_fails_it() -> None:
    world = DrilledWorld()
    world.routers["r2"] = None
    world.put_report("r2", world.server.get(keys.flag(NAME)).mod_revision, 5.0)  # type: ignore[union-attr]  # it is there
    record = world.drilled()
    assert record.outcome is DrillOutcome.FAILED
    assert "r2" in record.problems[0]
    assert "2 of 3 routers" in record.problems[0]
    (page,) = world.pages(PageKind.DRILL_FAILED)
    assert page.follows is None  # what is added to an alert in PagerDuty notifies no one
    assert page.severity == "error"


def test_one_of_a_hundred_routers_may_be_late() -> None:
    """99 % of the routers is the goal."""
    world = DrilledWorld()
    world.routers |= {f"r{number}": 0.2 for number in range(100)} | {"r7": 50.0}
    world.step()
    record = world.drilled()
    assert record.outcome is DrillOutcome.PASSED, record.problems
    assert record.legs["routers_99"] < 1.0


def test_a_slow_rollback_is_no_success() -> None:
    world = DrilledWorld()
    world.routers = dict.fromkeys(world.routers, 40.0)
    record = world.drilled()
    assert record.outcome is DrillOutcome.SLOW
    assert world.pages(PageKind.DRILL_FAILED)[0].severity == "warning"


def test_a_receiver_that_takes_no_page_fails_it() -> None:
    world = DrilledWorld()
    world.receivers["pagerduty"] = None
    record = world.drilled()
    assert record.outcome is DrillOutcome.FAILED
    assert record.problems == ("pagerduty had not taken the page after 1m",)


def test_a_router_that_obeys_another_percent_fails_it() -> None:
    """The same document must give the same percent."""
    world = DrilledWorld()

    def strange() -> None:
        item = world.server.get(keys.flag(NAME))
        assert item is not None
        world.put_report("r1", item.mod_revision, 0.0)

    world.routers["r1"] = None
    world.at_each_step = strange
    strange_before = world.server.get(keys.flag(NAME))
    assert strange_before is not None
    world.put_report("r1", strange_before.mod_revision, 5.0)
    record = world.drilled()
    assert record.outcome is DrillOutcome.FAILED
    assert "another percent" in record.problems[0]


def test_a_router_that_ends_during_it_is_not_waited_for() -> None:
    world = DrilledWorld()
    world.routers["r3"] = None

    def gone() -> None:
        world.server.commit("r3", (), (Delete(keys.router(NAME, "r3")),))

    world.at_each_step = gone
    record = world.drilled()
    assert record.outcome is DrillOutcome.PASSED, record.problems


def test_a_real_breach_trips_during_a_drill() -> None:
    """The trip was decided on the flag's revision before the drill's commit; it is made at once all the same."""
    world = DrilledWorld()
    stored = world.person.stored(NAME)
    results: list[TripResult] = []

    def breach() -> None:
        if not results:
            request = TripRequest(
                pages.incident_draft(NAME), 1, Actor.CONTROLLER, world.clock.wall(), pages.SETTINGS,
                armed_at=stored.flag.armed_at if stored.flag else None, stored=stored,
            )  # fmt: skip
            results.append(world.person.trip(request))

    world.at_each_step = breach
    record = world.drilled()
    assert results[0].outcome is TripOutcome.TRIPPED
    assert record.outcome is DrillOutcome.CUT_SHORT
    flag = world.flag
    assert flag is not None
    assert flag.trip is not None
    assert flag.trip.drill is None
    assert world.pages(PageKind.TRIPPED)
    assert not world.pages(PageKind.DRILL_FAILED)


def test_a_change_before_the_commit_begins_no_drill() -> None:
    """A flag that changes between its reading and the commit is not put back."""
    world = DrilledWorld()
    world.ask()
    store = world.drills._store
    assert isinstance(store, MemoryStore)
    raised: list[Flag] = []

    def change(call: Call) -> None:
        if call.name == "grant" and not raised:
            raised.append(world.person.set_stage(NAME, percent=25.0, stage="ramp_25"))

    store.fault = change
    world.drills.look()
    assert [flag.canary_percent for flag in world.flags_ever()] == [5.0, 25.0]
    assert not world.kept()
    store.fault = lambda _: None
    world.sleep(5.0)
    world.drills.look()  # the request is still there
    assert world.kept()[0].percent == 25.0


def test_two_replicas_make_no_two_drills_at_once() -> None:
    """Another replica begins one between the look at the weather and the commit."""
    world = DrilledWorld()
    world.ask()
    store = world.drills._store
    assert isinstance(store, MemoryStore)

    def begin_elsewhere(call: Call) -> None:
        if call.name == "grant":
            world.server.commit("kill-1", (), (Put(keys.drill_open(NAME), b'{"number": 1}'),))

    store.fault = begin_elsewhere
    world.drills.look()
    assert not world.pages()
    assert not world.kept()


def test_an_acknowledgement_is_timed_once() -> None:
    world = DrilledWorld()
    world.drilled()
    world.clock.advance(20.0)
    seen = acknowledge_drill(world.store, NAME, by="bo", origin="laptop", at=world.clock.wall())
    assert seen.legs["acknowledged"] >= 20.0
    with pytest.raises(Refused, match="acknowledged by bo already"):
        acknowledge_drill(world.store, NAME, by="cy", origin="laptop", at=world.clock.wall())
    assert world.standing().legs["acknowledged"] == world.kept()[0].legs["acknowledged"]


def test_an_acknowledgement_during_the_drill_is_kept() -> None:
    world = DrilledWorld()

    def seen() -> None:
        if world.kept()[0].acknowledged is None:
            acknowledge_drill(world.store, NAME, by="bo", origin="laptop", at=world.clock.wall())

    world.at_each_step = seen
    record = world.drilled()
    assert record.outcome is DrillOutcome.PASSED
    assert record.acknowledged is not None
    assert "acknowledged" in record.legs


def test_an_old_drill_cannot_be_acknowledged() -> None:
    world = DrilledWorld()
    world.drilled()
    world.clock.advance(4000.0)
    with pytest.raises(Refused, match="within the last hour"):
        acknowledge_drill(world.store, NAME, by="bo", origin="laptop", at=world.clock.wall())


def test_no_more_than_fifty_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go, and no number is given twice. Tried with five, which takes a tenth of the time."""
    assert KEPT == 50
    few = 5
    monkeypatch.setattr("killswitch.drill.keeping.KEPT", few)
    world = DrilledWorld()
    for _ in range(few + 3):
        record = world.drilled()
        world.clock.advance(60.0)
        world.step()
    assert record.number == few + 3
    assert len(world.kept()) == few
    assert len(world.server.list(keys.DRILL_INCIDENTS).items) == few
    assert next_number(world.store, NAME) == few + 4


def test_the_worst_of_those_kept_is_known() -> None:
    world = DrilledWorld()
    world.drilled()
    slow = world.standing().worst
    world.clock.advance(60.0)
    world.routers = dict.fromkeys(world.routers, 20.0)
    world.drilled()
    worst = world.standing().worst
    assert slow is not None
    assert worst is not None
    assert worst > 20.0 > slow


def test_a_second_press_says_who_was_first() -> None:
    world = DrilledWorld()
    said: list[DrillRecord] = []

    def press() -> None:
        if not said:
            world.ask(nonce="n2")
            world.replicas["kill-1"].look()
            said.extend(one for one in world.kept() if one.outcome is DrillOutcome.REFUSED)

    world.at_each_step = press
    world.drilled()
    assert "is under way since" in said[0].problems[0]
    assert "ann@laptop" in said[0].problems[0]


def test_a_drill_is_finished_once() -> None:
    """Whoever comes second changes nothing."""
    world = DrilledWorld()
    world.server.commit("x", (), (Put(keys.drill_open(NAME), b'{"number": 3}'),))
    (under_way,) = open_drills(world.store)
    assert finish(world.store, RECORD.settled((), at=1.0), under_way, (), at=1.0)
    assert not finish(world.store, RECORD.settled(("late",), at=2.0), under_way, (), at=2.0)
    assert world.kept()[0].outcome is DrillOutcome.PASSED


def test_a_record_is_read_as_it_was_written() -> None:
    record = replace(RECORD.with_legs(commit=0.1, rollback=31.0), receivers=("slack",)).settled((), at=pages.AT)
    assert record.outcome is DrillOutcome.SLOW
    assert from_document(to_document(record), rollout=NAME) == record


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b'{"format": 2}', to_document(replace(RECORD, rollout="other"))])
def test_a_damaged_record_is_refused(value: bytes) -> None:
    with pytest.raises(BadDocument):
        from_document(value, rollout=NAME)
