"""Reading roles: lists without histories, long histories in parts, damaged documents by name."""

from __future__ import annotations

import pytest

from killswitch.registry.registry import Registry
from killswitch.roles.document import history_document, to_document
from killswitch.roles.role import Role, RoleChange, RoleHistoryEntry
from killswitch.stores import Put, keys
from tests.doubles.gate_records import AT
from tests.doubles.memory_store import MemoryStore
from tests.unit.registry.registries import ROLE, Registries


def change(number: int) -> RoleHistoryEntry:
    made = Role(ROLE, f"model-{number}", None, None, number, RoleChange.IMPORTED, AT + number, "ann")
    return RoleHistoryEntry(made, f"change {number}")


def with_history(world: Registries, length: int) -> tuple[Registry, MemoryStore]:
    store = MemoryStore(world.server)
    for number in range(1, length + 1):
        store.commit((), (Put(keys.role_change(ROLE, number), history_document(change(number))),))
    store.commit((), (Put(keys.role(ROLE), to_document(change(length).role)),))
    store.calls.clear()
    return Registry(store, wall=lambda: AT, by="ann"), store


@pytest.mark.parametrize("length", [1, 9, 10, 11, 99, 100, 101, 1234])
def test_a_history_is_read_newest_first(length: int) -> None:
    registry, _ = with_history(Registries(), length)
    numbers = list(range(length, 0, -1))
    assert [one.role.number for one in registry.newest_first(ROLE, last=length)] == numbers
    assert [one.role.number for one in registry.history(ROLE, most=None)[0]] == numbers
    assert [one.role.number for one in registry.history(ROLE)[0]] == numbers[:20]
    assert registry.last_number(ROLE) == length


def test_the_newest_changes_are_read_without_the_rest() -> None:
    """Three lists of ten keys answer for the newest twenty of 10,000."""
    registry, store = with_history(Registries(), 10_000)
    registry.history(ROLE, last=10_000)
    assert len(store.calls) == 3
    assert all(len(store.list(str(call.subject)).items) <= 10 for call in list(store.calls))


def test_a_list_of_roles_reads_no_history() -> None:
    registry, store = with_history(Registries(), 500)
    registry.everything()
    assert [(call.name, call.subject) for call in store.calls] == [("list", keys.ROLES)]


def test_a_model_of_long_ago_was_prod() -> None:
    registry, _ = with_history(Registries(), 300)
    assert registry.was_prod(ROLE, "model-1", last=300)
    assert not registry.was_prod(ROLE, "model-301", last=300)


def test_one_damaged_role_hides_no_other() -> None:
    world = Registries()
    registry = world.ready()
    world.put(keys.role("broken"), b"[]")
    good, bad = registry.everything()
    assert (list(good), list(bad)) == ([ROLE], ["broken"])
    assert "killswitch roles import" in bad["broken"]


def test_a_damaged_entry_is_named_and_the_rest_is_read() -> None:
    world = Registries()
    registry = world.ready()
    world.put(keys.role_change(ROLE, 1), b"{")
    good, bad = registry.history(ROLE)
    assert [one.role.number for one in good] == [2]
    assert bad[0].startswith("change 1: ")


def test_a_damaged_role_is_read_from_its_history() -> None:
    world = Registries()
    registry = world.ready()
    before = world.role()
    world.put(keys.role(ROLE), b"{")
    stored, problem = registry.readable(ROLE)
    assert (stored.role, stored.revision > 0, problem is not None) == (before, True, True)
