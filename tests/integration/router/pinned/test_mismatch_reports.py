"""What a process leaves in a real etcd about models that did not match, and when it vanishes; and its page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from killswitch.model import PageSettings
from killswitch.registry.mismatches import MismatchPages, reported
from killswitch.router import Roles
from killswitch.router.pinned.mismatch_report import MAX_BYTES, MAX_REPORTED
from killswitch.router.presence import TTL
from killswitch.stores import Store, keys
from killswitch.stores.opening import open_store
from tests.doubles.roles import REVIEW, put_roles, role
from tests.servers.etcd import EtcdCluster, wait_until

PIN, MOVED = "gpt-5-2026-01-10", "gpt-5-2026-06-01"


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
def store(etcd: EtcdCluster) -> Iterator[Store]:
    one = open_store(etcd.url)
    put_roles(one, role())
    yield one
    one.close()


@pytest.fixture
def roles(etcd: EtcdCluster, store: Store) -> Iterator[Roles]:
    del store
    with Roles(etcd.url, registry=None) as one:
        assert one.wait_ready(20.0)
        wait_until(lambda: one.health().watching, "the watch")
        yield one


def reports(store: Store) -> list[bytes]:
    return [item.value for item in store.list(keys.ROLE_REPORTS).items]


def test_a_mismatch_is_reported_paged_and_withdrawn(store: Store, roles: Roles) -> None:
    """Nothing is written while answers match. The report goes with the pin, the page does not come again."""
    roles.answered(REVIEW, roles.model_for(REVIEW), PIN)
    assert reports(store) == []
    for _ in range(3):
        roles.answered(REVIEW, roles.model_for(REVIEW), MOVED)
    wait_until(lambda: REVIEW in reported(store), "the report")
    pages = MismatchPages(store, settings=lambda _role: PageSettings(), wall=lambda: 1_776_000_000.0)
    for _ in range(2):
        pages.look()
    assert len(store.list(keys.OUTBOX).items) == 1
    assert len(store.list(keys.role_notices(REVIEW)).items) == 1
    put_roles(store, role(prod=MOVED, number=2))
    wait_until(lambda: reports(store) == [], "the report is withdrawn")


def test_a_report_is_bounded(store: Store, roles: Roles) -> None:
    for number in range(500):
        roles.answered(REVIEW, PIN, f"model-{number}-" + "x" * 180)
    wait_until(lambda: reports(store) != [], "the report")
    (report,) = reports(store)
    assert len(report) <= MAX_BYTES
    assert len(reported(store)[REVIEW]) == MAX_REPORTED


def test_a_closed_process_takes_its_report_along(etcd: EtcdCluster, store: Store) -> None:
    with Roles(etcd.url, registry=None) as one:
        assert one.wait_ready(20.0)
        one.answered(REVIEW, PIN, MOVED)
        wait_until(lambda: reports(store) != [], "the report")
        assert TTL <= 60.0, "one that is killed leaves it for a minute at most"
    assert reports(store) == []


def test_a_process_may_be_told_not_to_report(etcd: EtcdCluster, store: Store) -> None:
    with Roles(etcd.url, registry=None, report=False) as one, Roles(etcd.url, registry=None) as other:
        assert one.wait_ready(20.0)
        assert other.wait_ready(20.0)
        one.answered(REVIEW, PIN, "by-the-silent")
        other.answered(REVIEW, PIN, MOVED)
        wait_until(lambda: REVIEW in reported(store), "the other's report")
        assert [mismatch.answered for mismatch in reported(store)[REVIEW]] == [MOVED]
