"""Every change of a flag leaves its line, in the transaction that makes it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from killswitch.errors import Refused
from killswitch.flags.change import Deed, FlagChange
from killswitch.flags.incident import from_document
from killswitch.model import PageSettings
from killswitch.pages import pin_events
from killswitch.stores import Put, keys
from killswitch.trips.acknowledging import acknowledge
from killswitch.trips.flag_history import changes_in, history_of
from killswitch.trips.holding import Holding
from tests.doubles.memory_store import MemoryStore
from tests.unit.trips.switches import World, automatic, page

NAME = "copilot"


def history(world: World) -> tuple[FlagChange, ...]:
    return changes_in(history_of(MemoryStore(world.server, "reader"), NAME))


def holding(world: World) -> Holding:
    return Holding(MemoryStore(world.server, "holder"), wall=world.clock.wall, by="eve", origin="Slack")


def test_a_whole_life_is_told_in_the_order_of_the_store() -> None:
    world = World()
    world.arm()
    world.person.set_stage(NAME, percent=25.0, stage="ramp_25")
    stored = world.person.required(NAME)
    holding(world).hold(NAME, stored, reason="lunch")
    holding(world).resume(NAME, stored, agree=lambda _: None)
    world.switch("kill-1").trip(automatic())
    world.person.rearm(NAME, reason="fixed the prompt", percent=1.0, stage="ramp_1", page=page)
    world.person.pin(automatic(generation=None, by="ann"))
    world.person.unpin(
        NAME,
        reason="it was the tool",
        page=lambda flag: pin_events.unpinned(flag, reason="x", by="ann", settings=PageSettings()),
    )
    world.person.end(NAME, reason="over")
    world.arm()
    told = [(change.deed, change.by) for change in history(world)]
    assert told == [
        (Deed.ARM, "ann"), (Deed.RAISE, "ann"), (Deed.HOLD, "eve"), (Deed.RESUME, "eve"), (Deed.TRIP, "a"),
        (Deed.REARM, "ann"), (Deed.PIN, "ann"), (Deed.UNPIN, "ann"), (Deed.END, "ann"),
        (Deed.ARM, "ann"),
    ]  # fmt: skip


def test_a_line_says_why_and_from_where() -> None:
    world = World()
    world.arm()
    world.switch("kill-1").trip(automatic())
    world.person.rearm(NAME, reason="fixed the prompt", percent=1.0, stage="ramp_1", page=page)
    armed, tripped, rearmed = history(world)
    assert (armed.before, armed.origin) == (None, "test")
    assert (tripped.reason, rearmed.reason) == ("refusals", "fixed the prompt")
    assert tripped.before is not None
    assert tripped.after is not None
    assert (tripped.before.percent, tripped.after.percent, tripped.after.state) == (5.0, 0.0, "tripped")


def test_a_change_that_loses_its_comparison_leaves_no_line() -> None:
    world = World()
    world.arm()
    stored = world.person.required(NAME)
    world.person.set_stage(NAME, percent=25.0, stage="ramp_25")
    with pytest.raises(Refused):
        world.person._replace(NAME, stored, stored.flag)  # type: ignore[arg-type]  # it is armed
    assert [change.deed for change in history(world)] == [Deed.ARM, Deed.RAISE]


def test_flips_of_many_leave_a_line_each() -> None:
    world = World()
    world.arm()
    world.person.arm("other", control="old", canary="new", percent=5.0, stage="ramp_5", salt="")
    names = (NAME, "other")
    stored = [world.person.stored(name) for name in names]
    world.switch("kill-1").trip_together(
        [replace(automatic(rollout=name), stored=one) for name, one in zip(names, stored, strict=True)]
    )
    store = MemoryStore(world.server, "reader")
    for name in names:
        assert [change.deed for change in changes_in(history_of(store, name))] == [Deed.ARM, Deed.TRIP]


def test_a_line_that_cannot_be_read_is_said_and_hides_no_other() -> None:
    world = World()
    world.arm()
    store = MemoryStore(world.server, "stranger")
    store.commit((), (Put(keys.flag_change(NAME, 0.0, 1, 9, "trip"), b"{}"),))
    lines = history_of(store, NAME)
    assert [line.change is None for line in lines] == [False, True]
    assert "history of copilot" in lines[1].problem


class TestAcknowledging:
    def test_the_first_person_is_noted_and_paged_once(self) -> None:
        world = World()
        world.arm()
        world.switch("kill-1").trip(automatic())
        store = MemoryStore(world.server, "slack")
        for name in ("eve", "bob"):
            taken = acknowledge(store, NAME, 1, by=name, origin="Slack", at=1_776_608_600.0, settings=PageSettings())
            assert taken.by == "eve"
        incident = from_document(world.server.value(keys.incident(NAME, 1)) or b"", rollout=NAME)
        assert incident.acknowledged == taken
        assert [change.deed for change in history(world)] == [Deed.ARM, Deed.TRIP, Deed.ACKNOWLEDGE]
        pages = [json.loads(item.value)["page"] for item in store.list(keys.OUTBOX).items]
        assert [one["follows"] for one in pages if one["kind"] == "ACKNOWLEDGED"] == ["copilot.1"]

    def test_a_re_armed_rollout_has_nothing_to_acknowledge(self) -> None:
        world = World()
        world.arm()
        world.switch("kill-1").trip(automatic())
        world.person.rearm(NAME, reason="fixed", percent=1.0, stage="ramp_1", page=page)
        store = MemoryStore(world.server, "slack")
        with pytest.raises(Refused, match="not tripped in generation 1"):
            acknowledge(store, NAME, 1, by="eve", origin="Slack", at=1.0, settings=PageSettings())
