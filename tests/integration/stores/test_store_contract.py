"""What every flag store does alike; the same tests against etcd and SQLite."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from killswitch.errors import Refused
from killswitch.stores import Committed, Compare, Delete, Lost, Put, Store
from tests.servers.etcd import wait_until


def put(store: Store, key: str, value: bytes) -> int:
    """Writes whatever is there; the revision."""
    committed = store.commit([], [Put(key, value)])
    assert isinstance(committed, Committed)
    return committed.revision


def test_a_key_that_was_never_written_is_none(store: Store, prefix: str) -> None:
    assert store.get(prefix + "a") is None
    assert store.list(prefix).items == ()


def test_what_is_written_is_read_at_the_revision_of_its_commit(store: Store, prefix: str) -> None:
    committed = store.commit([Compare(prefix + "a", 0)], [Put(prefix + "a", b"1")])
    item = store.get(prefix + "a")
    assert item is not None
    assert committed == Committed(item.mod_revision)
    assert (item.key, item.value) == (prefix + "a", b"1")


def test_all_writes_of_a_commit_have_one_revision(store: Store, prefix: str) -> None:
    revision = put(store, prefix + "old", b"")
    committed = store.commit([], [Put(prefix + "a", b"1"), Put(prefix + "b", b"2"), Delete(prefix + "old")])
    assert isinstance(committed, Committed)
    assert committed.revision > revision
    snapshot = store.list(prefix)
    assert [(item.key, item.mod_revision) for item in snapshot.items] == [
        (prefix + "a", committed.revision),
        (prefix + "b", committed.revision),
    ]
    assert snapshot.revision >= committed.revision


def test_a_comparison_that_does_not_hold_loses_and_writes_nothing(store: Store, prefix: str) -> None:
    first = put(store, prefix + "a", b"1")
    put(store, prefix + "a", b"2")
    before = store.list(prefix)
    for compares in ([Compare(prefix + "a", first)], [Compare(prefix + "b", 0), Compare(prefix + "a", 0)]):
        assert store.commit(compares, [Put(prefix + "a", b"3"), Put(prefix + "b", b"3")]) == Lost()
    assert store.list(prefix).items == before.items


def test_a_deleted_key_is_absent_and_its_revision_never_holds(store: Store, prefix: str) -> None:
    """A deleted key compares as absent, and its old revision never holds again."""
    old = put(store, prefix + "a", b"1")
    assert isinstance(store.commit([Compare(prefix + "a", old)], [Delete(prefix + "a")]), Committed)
    assert store.get(prefix + "a") is None
    assert isinstance(store.commit([Compare(prefix + "a", 0)], [Put(prefix + "a", b"1")]), Committed)
    assert store.commit([Compare(prefix + "a", old)], [Put(prefix + "a", b"2")]) == Lost()


def test_a_commit_without_writes_only_compares(store: Store, prefix: str) -> None:
    revision = put(store, prefix + "a", b"1")
    assert isinstance(store.commit([Compare(prefix + "a", revision)], []), Committed)
    assert store.commit([Compare(prefix + "a", revision + 1)], []) == Lost()


@pytest.mark.parametrize("value", [b"", b"\0\xff\xfe", "Zürich → 東京".encode(), b"x" * 65536], ids=len)
def test_any_bytes_come_back_as_they_were(store: Store, prefix: str, value: bytes) -> None:
    put(store, prefix + "a", value)
    item = store.get(prefix + "a")
    assert item is not None
    assert item.value == value


def test_a_list_holds_exactly_the_keys_that_begin_with_the_prefix(store: Store, prefix: str) -> None:
    inside = [prefix + name for name in ("_/", "_/%", "_/a", "_/a/b", "_/ü", "_/\U0001f600")]
    outside = [prefix + name for name in ("_", "_0", "x/a", "%/a", "_.", "a/_/b", "\U0001f600")]
    for key in inside + outside:
        put(store, key, key.encode())
    found = [item.key for item in store.list(prefix + "_/").items]
    assert found == sorted(inside, key=str.encode)


def test_a_list_of_1000_documents_is_whole_and_of_one_revision(store: Store, prefix: str) -> None:
    """A list of a thousand documents is complete and of one revision."""
    value = b"x" * 9000  # 9 MB in all, 12 MB on the wire
    for start in range(0, 1000, 50):
        store.commit([], [Put(f"{prefix}{number:04}", value) for number in range(start, start + 50)])
    snapshot = store.list(prefix)
    assert [item.key for item in snapshot.items] == [f"{prefix}{number:04}" for number in range(1000)]
    assert {item.value for item in snapshot.items} == {value}
    assert snapshot.revision >= max(item.mod_revision for item in snapshot.items)


def test_what_one_has_committed_another_reads(open_again: Callable[[], Store], prefix: str) -> None:
    one, other = open_again(), open_again()
    for number in range(5):
        put(one, prefix + "a", b"%d" % number)
        item = other.get(prefix + "a")
        assert item is not None
        assert item.value == b"%d" % number


def test_of_many_compares_of_one_revision_exactly_one_commits(open_again: Callable[[], Store], prefix: str) -> None:
    """Of many commits that compare the same revision, exactly one succeeds."""
    key = prefix + "counter"
    put(open_again(), key, b"0")

    def count(store: Store) -> None:
        done = 0
        while done < 20:
            item = store.get(key)
            assert item is not None
            next_value = b"%d" % (int(item.value) + 1)
            done += isinstance(store.commit([Compare(key, item.mod_revision)], [Put(key, next_value)]), Committed)

    shared = open_again()
    with ThreadPoolExecutor(4) as threads:
        for result in [threads.submit(count, store) for store in (shared, shared, open_again(), open_again())]:
            result.result()
    item = shared.get(key)
    assert item is not None
    assert item.value == b"80"


@pytest.mark.parametrize(
    "writes",
    [
        [Put("a", b"1"), Delete("a")],
        [Put("", b"1")],
        [Put(f"{number}", b"") for number in range(129)],
        [Put("a", b"x" * (1024 * 1024 + 1))],
    ],
    ids=["twice", "empty", "many", "large"],
)
def test_a_commit_that_no_store_would_take_is_refused(store: Store, writes: list[Put | Delete]) -> None:
    with pytest.raises(Refused):
        store.commit([], writes)


def test_the_largest_commit_that_is_allowed_is_taken(store: Store, prefix: str) -> None:
    room = 1024 * 1024 - 128 * len(f"{prefix}000")
    value = b"x" * (room // 128)
    writes = [Put(f"{prefix}{number:03}", value) for number in range(128)]
    assert isinstance(store.commit([Compare(write.key, 0) for write in writes], writes), Committed)


# --- leases


def test_a_key_under_a_lease_lasts_its_lease_and_is_deleted(store: Store, prefix: str) -> None:
    """A key under a lease stays at least until the lease expires, and then it is deleted."""
    lease = store.grant(2)
    assert lease.ttl >= 2
    store.commit([], [Put(prefix + "a", b"1", lease)])
    while True:
        item = store.get(prefix + "a")
        if time.monotonic() >= lease.expires_at:
            break
        assert item is not None
    wait_until(lambda: store.get(prefix + "a") is None, "the key gone")
    assert store.list(prefix).items == ()
    assert store.keep_alive(lease) is None
    assert isinstance(store.commit([Compare(prefix + "a", 0)], [Put(prefix + "a", b"2")]), Committed)


def test_a_lease_kept_alive_lives_longer_and_says_until_when(store: Store, prefix: str) -> None:
    lease = store.grant(3)
    store.commit([], [Put(prefix + "a", b"1", lease)])
    end = lease.expires_at + 0.5
    while time.monotonic() < end:
        renewed = store.keep_alive(lease)
        assert renewed is not None
        assert renewed.expires_at > lease.expires_at
        assert renewed.id == lease.id
        lease = renewed
        assert store.get(prefix + "a") is not None
        time.sleep(0.1)  # between renewals; nothing is waited for


def test_revoking_a_lease_deletes_its_keys_and_may_be_repeated(store: Store, prefix: str) -> None:
    """Revoking a lease deletes its keys. It may be revoked again."""
    lease, other = store.grant(60), store.grant(60)
    store.commit([], [Put(prefix + "a", b"1", lease), Put(prefix + "b", b"1", other), Put(prefix + "c", b"1")])
    for _ in range(2):
        store.revoke(lease)
        assert [item.key for item in store.list(prefix).items] == [prefix + "b", prefix + "c"]
    assert store.keep_alive(lease) is None
    store.revoke(other)


def test_a_put_under_a_lease_that_has_ended_is_lost(store: Store, prefix: str) -> None:
    lease = store.grant(60)
    store.revoke(lease)
    assert store.commit([], [Put(prefix + "a", b"1", lease), Put(prefix + "b", b"1")]) == Lost()
    assert store.list(prefix).items == ()


def test_a_key_written_again_without_its_lease_outlives_it(store: Store, prefix: str) -> None:
    lease = store.grant(60)
    store.commit([], [Put(prefix + "a", b"1", lease)])
    store.commit([], [Put(prefix + "a", b"2")])
    store.revoke(lease)
    assert store.get(prefix + "a") is not None


def test_a_lease_may_be_kept_alive_and_revoked_by_another_client(open_again: Callable[[], Store], prefix: str) -> None:
    one, other = open_again(), open_again()
    lease = one.grant(60)
    one.commit([], [Put(prefix + "a", b"1", lease)])
    assert other.keep_alive(lease) is not None
    other.revoke(lease)
    assert one.get(prefix + "a") is None


# --- against a model

_KEYS = ("a", "b", "c")
_step = st.tuples(
    st.lists(st.tuples(st.sampled_from(_KEYS), st.sampled_from(["absent", "current", "stale"])), max_size=2),
    st.dictionaries(st.sampled_from(_KEYS), st.one_of(st.none(), st.binary(max_size=4)), max_size=3),
)
_rounds = itertools.count()


# one store serves all examples, each under a prefix of its own
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],  # a shared machine may be slow
)
@given(steps=st.lists(_step, max_size=12))
def test_any_sequence_of_commits_leaves_what_a_dictionary_would(
    store: Store,
    prefix: str,
    steps: list[tuple[list[tuple[str, str]], dict[str, bytes | None]]],
) -> None:
    here = f"{prefix}{next(_rounds)}/"
    model: dict[str, tuple[bytes, int]] = {}
    for compares, writes in steps:
        revisions = {
            key: {"absent": 0, "current": model.get(key, (b"", 0))[1], "stale": 1}[kind] for key, kind in compares
        }
        outcome = store.commit(
            [Compare(here + key, revision) for key, revision in revisions.items()],
            [Delete(here + key) if value is None else Put(here + key, value) for key, value in writes.items()],
        )
        holds = all(model.get(key, (b"", 0))[1] == revision for key, revision in revisions.items())
        assert isinstance(outcome, Committed) is holds
        if isinstance(outcome, Committed):
            for key, value in writes.items():
                if value is None:
                    model.pop(key, None)
                else:
                    model[key] = (value, outcome.revision)
        found = {item.key.removeprefix(here): (item.value, item.mod_revision) for item in store.list(here).items}
        assert found == model
