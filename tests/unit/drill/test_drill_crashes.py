"""A drill whose process dies, or whose store fails, at each call: the flag is what it was, and the drill ends."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from killswitch.drill import request as requests
from killswitch.drill.record import DrillOutcome
from killswitch.drill.request import DrillRequest
from killswitch.flags.document import to_document
from killswitch.flags.flag import Flag, drilled
from killswitch.pages.page import PageKind
from killswitch.router.presence import Report
from killswitch.router.presence import to_document as report_document
from killswitch.status.reports import CycleReport
from killswitch.stores import Item, Put, keys
from tests.doubles.drills import NAME, DrilledWorld
from tests.doubles.memory_store import Call, Crash, Fault, MemoryStore

QUIET = 'drill: {quiet: "* * * * *"}\n'
CRASHES = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER)
HEIR_AFTER = 16.0  # seconds: the claim of a dead replica has ended


@functools.cache  # several tests read the same worlds, and change nothing in them
def struck(fault: Fault, *, live: bool) -> list[tuple[int, DrilledWorld]]:
    """The world after a fault at each call of the replica that makes the drill, and then an heir's look."""
    found: list[tuple[int, DrilledWorld]] = []
    for number in itertools.count():
        world = DrilledWorld(QUIET)
        store = world.drills._store
        assert isinstance(store, MemoryStore)
        before = len(store.calls)
        struck_once: list[Call] = []

        def strike(call: Call, at: int = before + number, hits: list[Call] = struck_once) -> Fault | None:
            if hits and fault in CRASHES:
                return Fault.CRASH_BEFORE  # a dead process gives no lease back
            if call.number != at:
                return None
            hits.append(call)
            return fault

        store.fault = strike
        world.ask(live=live)
        with contextlib.suppress(Crash):
            world.drills.look()
            store.fault = lambda _: None
            looks_again(world)
        if not struck_once:
            return found
        for late in range(3):  # an heir, and the next looks of the replica that lives
            world.sleep(HEIR_AFTER + late)
            world.replicas["kill-1"].look()
        found.append((number, world))
    raise AssertionError


def looks_again(world: DrilledWorld) -> None:
    for _ in range(3):
        world.sleep(6.0)
        world.drills.look()


@pytest.mark.parametrize("fault", Fault)
def test_a_rehearsal_leaves_the_flag_as_it_was(fault: Fault) -> None:
    """Whatever strikes at whichever call, no router can have read another document."""
    for number, world in struck(fault, live=False):
        flags = world.flags_ever()
        assert all(flag == flags[0] for flag in flags), f"{fault} at call {number}"
        assert len({change.value for change in world.server.history if change.key == keys.flag(NAME)}) == 1


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.LOSE_ANSWER, Fault.FAIL_BEFORE])
def test_no_drill_stays_under_way(fault: Fault) -> None:
    """The replica that is left ends it, and a drill that was not timed is paged as failed."""
    for number, world in struck(fault, live=False):
        assert not world.server.list(keys.DRILLS_OPEN).items, f"{fault} at call {number}"
        outcomes = [one.outcome for one in world.kept()]
        assert DrillOutcome.UNDER_WAY not in outcomes
        assert len(world.pages(PageKind.DRILL_FAILED)) == outcomes.count(DrillOutcome.FAILED)


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.LOSE_ANSWER, Fault.FAIL_BEFORE])
def test_a_live_drill_gives_the_same_users_the_canary_again(fault: Fault) -> None:
    """Whatever strikes at whichever call: the same percent and stage, in at most one later generation each."""
    for number, world in struck(fault, live=True):
        first = world.flags_ever()[0]
        flag = world.flag
        assert flag is not None
        assert flag.armed, f"{fault} at call {number}"
        assert shown(flag) == shown(first)
        assert not world.server.list(keys.INCIDENTS).items


def shown(flag: Flag) -> tuple[object, ...]:
    return flag.stage, flag.canary_percent, flag.control, flag.canary, flag.salt


def paused(world: DrilledWorld, begins: float, ends: float) -> Callable[[Call], Fault | None]:
    """A store that answers nothing from ``begins`` to ``ends`` seconds from now."""
    began = world.clock.monotonic()

    def strike(_: Call) -> Fault | None:
        since = world.clock.monotonic() - began
        return Fault.FAIL_BEFORE if begins <= since < ends else None

    return strike


def test_a_store_that_pauses_during_it_is_waited_for() -> None:
    """Routers and receivers have answered by the time it comes back."""
    world = DrilledWorld()
    store = world.drills._store
    assert isinstance(store, MemoryStore)
    store.fault = paused(world, 0.5, 8.0)
    record = world.drilled()
    assert record.outcome is DrillOutcome.PASSED, record.problems


def test_a_store_that_pauses_for_long_ends_a_live_drill_when_it_is_back() -> None:
    """Everyone stays on control while it pauses; then the canary has its users again."""
    world = DrilledWorld(QUIET)
    store = world.drills._store
    assert isinstance(store, MemoryStore)
    store.fault = paused(world, 0.5, 300.0)
    world.ask(live=True)
    world.drills.look()
    assert world.flag is not None
    assert not world.flag.armed
    world.sleep(200.0)
    world.drills.look()
    assert world.flag is not None
    assert world.flag.armed
    assert world.kept()[0].outcome is DrillOutcome.FAILED


@pytest.mark.parametrize("back_after", [100, 119, 121, 123, 125, 130])
def test_a_live_drill_is_not_over_while_everyone_is_on_control(back_after: int) -> None:
    """The store takes no write, each after five seconds, and is back in the very moment in which patience ends."""
    world = DrilledWorld(QUIET)
    world.routers["r3"] = 5.0  # so that the store fails before it is armed again
    store = world.drills._store
    assert isinstance(store, MemoryStore)
    began: list[float] = []

    def at_each_step() -> None:
        if not began and drilled(world.flag):
            began.append(world.clock.monotonic())

    def strike(call: Call) -> Fault | None:
        if call.name != "commit" or not began or world.clock.monotonic() - began[0] >= back_after:
            return None
        world.clock.advance(5.0)
        return Fault.FAIL_BEFORE

    world.at_each_step, store.fault = at_each_step, strike
    world.ask(live=True)
    for _ in range(5):
        world.drills.look()
        world.sleep(HEIR_AFTER)
        world.replicas["kill-1"].look()
    flag = world.flag
    assert flag is not None
    assert (flag.armed, flag.canary_percent) == (True, 5.0)
    assert [one.outcome for one in world.kept()] in ([DrillOutcome.PASSED], [DrillOutcome.FAILED])


def test_a_flag_that_is_damaged_during_it_keeps_no_drill_back() -> None:
    """Its replica has died as well: the drill ends, and the ones after it are made."""
    world = DrilledWorld(QUIET)

    def die() -> None:
        if drilled(world.flag):
            raise Crash

    world.at_each_step = die
    world.ask(live=True)
    with pytest.raises(Crash):
        world.drills.look()
    world.at_each_step = lambda: None
    good = to_document(world.flags_ever()[0])
    world.server.commit("someone", (), (Put(keys.flag(NAME), b"{"),))
    world.sleep(HEIR_AFTER)
    world.replicas["kill-1"].look()
    assert not world.server.list(keys.DRILLS_OPEN).items
    assert world.pages(PageKind.DRILL_FAILED)
    world.server.commit("someone", (), (Put(keys.flag(NAME), good),))
    for _ in range(2):
        world.sleep(1.0)  # routers read it and report
    world.ask(nonce="n2")
    world.replicas["kill-1"].look()
    assert world.kept()[0].outcome is DrillOutcome.PASSED


def test_a_drill_that_cannot_be_ended_keeps_no_other_back() -> None:
    """What another rollout's drill cannot do yet is tried again at each look, after which the others are made."""
    world = DrilledWorld(QUIET)
    world.server.commit("x", (), (Put(keys.drill_open("aaa"), b'{"number": 1}'),))
    replica = world.drills
    store = replica._store
    assert isinstance(store, MemoryStore)
    store.fault = lambda call: Fault.FAIL_BEFORE if keys.drill("aaa", 1) in str(call.subject) else None
    assert world.drilled().outcome is DrillOutcome.PASSED
    assert world.server.get(keys.drill_open("aaa")) is not None


class TwoRollouts(DrilledWorld):
    """With ``second``, armed and well as the first."""

    def __init__(self) -> None:
        super().__init__(QUIET)
        self.rollouts["second"] = replace(self.rollouts[NAME], name="second")
        self.person.arm("second", control="model-old", canary="model-new", percent=5.0, stage="ramp_5", salt="")
        revision = self.person.stored("second").revision
        report = Report("r1", "second", revision, 1, "armed", 5.0, self.clock.wall(), acted_for=0.0)
        self.server.commit("r1", (), (Put(keys.router("second", "r1"), report_document(report)),))

    def report(self) -> CycleReport:
        first = super().report()
        flag = self.person.stored("second").flag
        second = replace(first.reports[NAME], rollout="second", flag=flag, rules=self.rollouts["second"])
        return replace(first, reports={**first.reports, "second": second})

    def ask_second(self) -> None:
        asked = DrillRequest("second", True, "ann@laptop", "command line on laptop", "n2")
        self.server.commit("person", (), (Put(keys.drill_request("second"), requests.to_document(asked)),))


def test_a_live_drill_whose_process_died_waits_for_no_other_drill() -> None:
    """Its users get the canary again while the replica that is left still waits for another rollout's routers."""
    world = TwoRollouts()

    store = world.drills._store
    assert isinstance(store, MemoryStore)

    def die() -> None:
        if drilled(world.person.stored("second").flag):
            store.fault = lambda _: Fault.CRASH_BEFORE  # a dead process gives no lease back
            raise Crash

    def begin_and_die() -> None:
        world.at_each_step = die
        world.ask_second()
        with pytest.raises(Crash):
            world.drills.look()
        world.at_each_step = note

    armed_during: list[bool] = []

    def note() -> None:
        flag = world.person.stored("second").flag
        assert flag is not None
        armed_during.append(flag.armed)

    world.at_each_step = begin_and_die
    world.routers["r3"] = None  # so that the other drill waits its whole minute
    world.ask()
    world.replicas["kill-1"].look()
    assert armed_during[:4] == [False] * 4
    assert armed_during[-1]
    assert world.kept()[0].outcome is DrillOutcome.FAILED


def test_a_request_that_another_replica_has_taken_is_not_refused() -> None:
    """Two replicas list it; the slower one finds the drill that it asked for under way."""
    world = DrilledWorld()
    world.ask()
    (item,) = world.server.list(keys.DRILL_REQUESTS).items
    slower: list[Item] = []

    def look() -> None:
        if not slower and world.server.list(keys.DRILLS_OPEN).items:
            slower.append(item)
            world.replicas["kill-1"]._answer(item)

    world.at_each_step = look
    world.drills.look()
    assert slower
    assert [one.outcome for one in world.kept()] == [DrillOutcome.PASSED]
