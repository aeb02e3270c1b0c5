"""What the doctor tries of a store: all that a part needs, and of a service no more than that; nothing is changed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from killswitch.errors import AccessDenied, Unavailable
from killswitch.preflight.checks import Status
from killswitch.preflight.permission_checks import examine_excess, examine_permissions
from killswitch.stores import Committed, Compare, Delete, Lost, Put, Snapshot, keys
from killswitch.stores.permissions import PERMISSIONS, StoreUser
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import MemoryServer, MemoryStore

SECURITY = Path(__file__).parents[3] / "docs" / "security.md"


class Guarded(MemoryStore):
    """A store that refuses to write or read under some prefixes, as etcd does, before it compares."""

    def __init__(self, *, writes: tuple[str, ...] = (), reads: tuple[str, ...] = ()) -> None:
        super().__init__(MemoryServer(VirtualClock()))
        self._writes, self._reads = writes, reads

    def commit(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Committed | Lost:
        if any(write.key.startswith(self._writes) for write in writes if self._writes):
            raise AccessDenied("permission denied")
        return super().commit(compares, writes)

    def list(self, prefix: str) -> Snapshot:
        if self._reads and prefix.startswith(self._reads):
            raise AccessDenied("permission denied")
        return super().list(prefix)


@pytest.mark.parametrize("part", StoreUser)
def test_whoever_may_do_all_has_one_line_and_nothing_changes(part: StoreUser) -> None:
    store = Guarded()
    (check,) = examine_permissions(store, part)
    assert check.status is Status.OK
    assert MemoryStore.list(store, keys.ROOT).items == ()


def test_each_prefix_that_is_refused_is_named() -> None:
    store = Guarded(writes=(keys.OUTBOX, keys.FLAG_HISTORY), reads=(keys.ROUTERS,))
    writes, reads = examine_permissions(store, StoreUser.CONTROLLER)
    assert writes.found == "the store refuses writes that a controller needs, under flag-history/, outbox/"
    assert reads.found == "the store refuses reads that a controller needs, under routers/"
    assert {writes.status, reads.status} == {Status.WRONG}


def test_a_service_that_may_write_flags_is_a_warning() -> None:
    (check,) = examine_excess(Guarded(), StoreUser.ROUTER)
    assert check.status is Status.WARNING
    assert not list(examine_excess(Guarded(writes=(keys.FLAGS,)), StoreUser.ROUTER))
    assert not list(examine_excess(Guarded(), StoreUser.CONTROLLER))


def test_a_store_that_does_not_answer_is_no_refusal() -> None:
    class Gone(Guarded):
        def commit(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Committed | Lost:
            raise Unavailable("gone")

    with pytest.raises(Unavailable):
        list(examine_permissions(Gone(), StoreUser.PERSON))


@pytest.mark.parametrize("part", StoreUser)
def test_the_guide_grants_what_each_part_needs(part: StoreUser) -> None:
    """docs/security.md runs against a real etcd in its own test; what the doctor asks for is what it grants."""
    granted: dict[str, set[str]] = {"read": set(), "write": set(), "readwrite": set()}
    text = SECURITY.read_text().replace("\\\n", " ")
    for block in re.split(r"\n(?=for |done|etcdctl)", text):
        found = re.search(rf"--prefix killswitch-{part} (read|write|readwrite) \"?(/killswitch/v1/\S*)", block)
        if found is None:
            continue
        named = re.search(r"for prefix in (.*?); do", block, re.DOTALL)
        wanted = named[1].split() if named and "$prefix" in found[2] else [found[2].strip('"').removeprefix(keys.ROOT)]
        granted[found[1]] |= {keys.ROOT + (f"{name.rstrip('/')}/" if name else "") for name in wanted}
    needs = PERMISSIONS[part]
    assert granted["readwrite"] == set(needs.writes)
    assert granted["read"] - granted["readwrite"] == set(needs.reads)
    assert granted["write"] == set(needs.writes_only)
