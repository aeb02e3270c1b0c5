"""The etcd store over three members: a leader killed or paused, and no quorum."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from killswitch.errors import OutcomeUnknown, Unavailable
from killswitch.stores import Compare, Item, Put, Store
from tests.integration.stores.opened_store import PATIENT, opened
from tests.servers.etcd import EtcdCluster, wait_until


def value_of(item: Item | None) -> bytes | None:
    return None if item is None else item.value


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("three"), size=3) as cluster:
        yield cluster


@pytest.fixture
def whole(three: EtcdCluster) -> Iterator[EtcdCluster]:
    """Three members, whole again afterwards."""
    yield three
    for member in three.members:
        if member.running:
            member.resume()
        else:
            member.start()
    for member in three.members:
        member.wait_until_healthy()


def committed_in_time(store: Store, key: str, value: bytes) -> None:
    """As the daemon does it: commit, and where the outcome is unknown or nobody answers, read again."""

    def attempt() -> bool:
        try:
            item = store.get(key)
            if value_of(item) == value:
                return True
            store.commit([Compare(key, 0 if item is None else item.mod_revision)], [Put(key, value)])
        except (OutcomeUnknown, Unavailable):
            return False
        return value_of(store.get(key)) == value

    wait_until(attempt, f"{key} committed")


def test_a_cluster_goes_on_when_its_leader_is_killed(whole: EtcdCluster, prefix: str) -> None:
    with opened(whole.url) as store:
        committed_in_time(store, prefix + "a", b"1")
        whole.leader().kill()
        committed_in_time(store, prefix + "a", b"2")


def test_a_cluster_goes_on_after_its_leader_is_paused(whole: EtcdCluster, prefix: str) -> None:
    """Commits succeed after the leader is stopped while its connections stay open."""
    with opened(whole.url) as store:
        committed_in_time(store, prefix + "a", b"1")
        whole.leader().pause()
        committed_in_time(store, prefix + "a", b"2")


def test_a_lease_survives_a_change_of_leader(whole: EtcdCluster, prefix: str) -> None:
    with opened(whole.url, timeout=PATIENT) as store:
        lease = store.grant(60)
        store.commit([], [Put(prefix + "a", b"1", lease)])
        whole.leader().kill()
        assert store.get(prefix + "a") is not None
        assert store.keep_alive(lease) is not None
        store.revoke(lease)


def test_without_a_quorum_nothing_is_read_or_written(whole: EtcdCluster, prefix: str) -> None:
    """Without a quorum nothing is read or written. Once there is a quorum again, commits succeed."""
    with opened(whole.url, timeout=3.0) as store:
        committed_in_time(store, prefix + "a", b"1")
        for member in whole.followers():
            member.kill()
        with pytest.raises(Unavailable):
            store.get(prefix + "a")
        # The member that is left may still take itself for the leader, and what it was asked may yet be done.
        with pytest.raises((OutcomeUnknown, Unavailable)):
            store.commit([], [Put(prefix + "a", b"2")])
        for member in whole.members:
            if not member.running:
                member.start()
        committed_in_time(store, prefix + "a", b"3")
