"""The laws of what a process knows of roles: reads, changes, damage, bounds and time."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from killswitch.roles.document import to_document
from killswitch.roles.role import Slot
from killswitch.router.pinned import memory as laws
from killswitch.router.pinned.memory import MAX_ROLES, RolesMemory, RolesPolicy, RolesRead, RolesState, pinned_at
from killswitch.stores import Item, keys
from killswitch.stores.reader import Change
from tests.doubles.roles import role

POLICY = RolesPolicy(stale_grace=60.0, trusted_for=3600.0)


def item(name: str, model: str, revision: int) -> Item:
    return Item(keys.role(name), to_document(role(name, model)), revision)


def read(
    *items: Item, revision: int, known: int = 0, whole: bool = True, at: float = 0.0, count: int = -1
) -> RolesRead:
    found = {one.key: one for one in items}
    return RolesRead(at, known, found, revision, whole=whole, count=len(found) if count < 0 else count)


def written(one: Item) -> Change:
    return Change(one.key, one, one.mod_revision)


def deleted(name: str, revision: int) -> Change:
    return Change(keys.role(name), None, revision)


def prod(memory: RolesMemory, now: float = 0.0) -> dict[str, str]:
    seen = pinned_at(memory, POLICY, now)
    names = seen.roles.keys() | seen.defaults.keys()
    return {name: model for name in names if (model := seen.model(Slot.PROD, name)) is not None}


def test_a_read_and_a_change_give_the_newest_pin() -> None:
    memory = laws.after_read(RolesMemory(), read(item("a", "m1", 3), revision=5))
    memory = laws.after_change(memory, written(item("a", "m2", 6)))
    memory = laws.after_change(memory, written(item("b", "m9", 7)))
    assert prod(memory) == {"a": "m2", "b": "m9"}
    assert prod(laws.after_change(memory, deleted("b", 8))) == {"a": "m2"}


def test_an_older_change_changes_nothing() -> None:
    memory = laws.after_read(RolesMemory(), read(item("a", "m2", 6), revision=6))
    assert laws.after_change(memory, written(item("a", "m1", 3))) is memory
    assert laws.after_change(memory, deleted("a", 5)) is memory


def test_what_the_watch_brought_outlives_an_older_read() -> None:
    """A read that was under way when the watch brought a newer pin, or a deletion, does not undo it."""
    first = laws.after_read(RolesMemory(), read(item("a", "m1", 3), item("b", "m1", 3), revision=5))
    newer = laws.after_change(laws.after_change(first, written(item("a", "m2", 7))), deleted("b", 8))
    late = read(item("a", "m1", 3), item("b", "m1", 3), revision=6, known=5)
    assert prod(laws.after_read(newer, late)) == {"a": "m2"}
    late_changes = read(item("b", "m1", 6), revision=6, known=5, whole=False, count=2)
    assert prod(laws.after_read(newer, late_changes)) == {"a": "m2"}


def test_a_store_that_was_set_back_is_believed() -> None:
    memory = laws.after_read(RolesMemory(), read(item("a", "m2", 90), item("b", "m1", 80), revision=100))
    restored = read(item("a", "m1", 20), revision=30, known=100)
    after = laws.after_read(memory, restored)
    assert prod(after) == {"a": "m1"}
    assert prod(laws.after_change(after, written(item("a", "m3", 31)))) == {"a": "m3"}


def test_what_the_watch_has_shown_is_known_to_the_next_read() -> None:
    memory = laws.after_read(RolesMemory(), read(item("a", "m1", 3), revision=5))
    assert memory.newest_revision == 5
    assert laws.after_change(memory, written(item("a", "m2", 7))).newest_revision == 7
    assert laws.after_change(memory, deleted("a", 8)).newest_revision == 8


def test_a_read_of_changes_sees_that_it_misses_a_deletion() -> None:
    memory = laws.after_read(RolesMemory(), read(item("a", "m1", 3), item("b", "m1", 3), revision=5))
    quiet = read(revision=9, known=5, whole=False, count=2)
    assert not laws.misses_deletions(memory, quiet)
    assert laws.misses_deletions(memory, replace(quiet, count=1))
    swapped = read(item("c", "m1", 8), revision=9, known=5, whole=False, count=2)
    assert laws.misses_deletions(memory, swapped), "one came and one went"
    assert laws.misses_deletions(memory, replace(quiet, revision=4)), "the store was set back"


def test_a_damaged_role_keeps_its_last_good_pin() -> None:
    """It is named with what is wrong; other roles are as they were; a good document ends it."""
    memory = laws.after_read(RolesMemory(), read(item("a", "m1", 3), item("b", "m1", 3), revision=5))
    memory = laws.after_change(memory, written(Item(keys.role("a"), b"{garbage", 6)))
    seen = pinned_at(memory, POLICY, 0.0)
    assert prod(memory) == {"a": "m1", "b": "m1"}
    assert set(seen.problems) == {"a"}
    assert "damaged" in seen.sentence
    again = laws.after_change(memory, written(item("a", "m2", 7)))
    assert (prod(again)["a"], dict(pinned_at(again, POLICY, 0.0).problems)) == ("m2", {})


def test_a_role_that_was_never_good_has_no_model() -> None:
    hostile = Item(keys.role("x\u202e/../y"), b"\xff\x00", 3)
    memory = laws.after_read(RolesMemory(), read(hostile, item("b", "m1", 3), revision=5))
    assert prod(memory) == {"b": "m1"}
    assert len(pinned_at(memory, POLICY, 0.0).problems) == 1


def test_roles_over_the_bound_are_left_out_and_named() -> None:
    many = [item(f"r{number:05d}", "m1", 3) for number in range(10_000)]
    memory = laws.after_read(RolesMemory(), read(*many, revision=5))
    seen = pinned_at(memory, POLICY, 0.0)
    assert len(seen.roles) == MAX_ROLES
    assert seen.left_out == {f"r{number:05d}" for number in range(MAX_ROLES, 10_000)}
    assert "6000 over" in seen.sentence


def test_time_makes_pins_stale_and_then_expired() -> None:
    memory = laws.after_read(RolesMemory(), read(item("a", "m1", 3), revision=5, at=100.0))
    states = [pinned_at(memory, POLICY, at).state for at in (100.0, 159.0, 160.0, 3699.0, 3700.0)]
    assert states == [
        RolesState.FOLLOWED, RolesState.FOLLOWED, RolesState.STALE, RolesState.STALE, RolesState.EXPIRED,
    ]  # fmt: skip
    assert prod(memory, 3699.0) == {"a": "m1"}
    assert prod(memory, 3700.0) == {}
    assert laws.next_change(memory, POLICY, 100.0) == 160.0
    assert laws.next_change(memory, POLICY, 160.0) == 3700.0
    for_ever = RolesPolicy(stale_grace=60.0, trusted_for=math.inf)
    assert pinned_at(memory, for_ever, 1e12).state is RolesState.STALE


def test_defaults_serve_until_the_first_read_alone() -> None:
    memory = RolesMemory(defaults={"a": "m0"})
    assert prod(memory) == {"a": "m0"}
    assert prod(laws.after_read(memory, read(revision=5))) == {}


def test_after_close_there_is_no_pin_and_nothing_is_learned() -> None:
    memory = laws.after_close(laws.after_read(RolesMemory(), read(item("a", "m1", 3), revision=5)), "closed")
    assert prod(memory) == {}
    assert laws.after_change(memory, written(item("a", "m2", 6))) is memory


STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["m1", "m2", None, "garbage"]), st.sampled_from("wrdk")),
    max_size=25,
)


@given(STEPS)
def test_any_mix_of_watch_and_reads_ends_at_the_store(steps: list[tuple[str, str | None, str]]) -> None:
    """Each change arrives by the watch, late by it, or by a read alone; after a last read all pins are the store's."""
    store: dict[str, Item] = {}
    memory, revision, late = RolesMemory(), 1, list[Change]()

    def ask(memory: RolesMemory, *, whole: bool) -> RolesMemory:
        known = memory.read_revision
        items = [one for one in store.values() if whole or one.mod_revision > known]
        found = read(*items, revision=revision, known=known, whole=whole, count=len(store))
        return ask(memory, whole=True) if laws.misses_deletions(memory, found) else laws.after_read(memory, found)

    memory = ask(memory, whole=True)
    for name, model, way in steps:
        revision += 1
        if model is None:
            store.pop(name, None)
            change = deleted(name, revision)
        else:
            value = b"{" if model == "garbage" else to_document(role(name, model))
            store[name] = Item(keys.role(name), value, revision)
            change = written(store[name])
        if way == "w":
            memory = laws.after_change(memory, change)
        elif way == "d":
            late.append(change)
        elif way == "r":
            memory = ask(memory, whole=False)
    for change in late:
        memory = laws.after_change(memory, change)
    memory = ask(memory, whole=False)
    assert {name: one.revision for name, one in memory.roles.items()} == {
        name: one.mod_revision for name, one in store.items()
    }
