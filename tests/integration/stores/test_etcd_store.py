"""The etcd store against a real member that fails, a wire that loses answers, and what is not etcd."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from killswitch.errors import AccessDenied, OutcomeUnknown, Unavailable
from killswitch.preflight.checks import Status
from killswitch.preflight.store_checks import examine_store, examine_writing
from killswitch.stores import Committed, Compare, Item, Lease, Put, Store
from killswitch.stores.opening import open_store
from killswitch.trips.switch import Switch
from tests.integration.stores.opened_store import PATIENT, ROLLOUT, opened
from tests.servers.etcd import EtcdCluster, free_ports, wait_until
from tests.servers.scripted import Script, ScriptedServer, answer
from tests.servers.tcp_proxy import Fault, TcpProxy


@pytest.fixture
def proxy(etcd: EtcdCluster) -> Iterator[TcpProxy]:
    with TcpProxy(("127.0.0.1", etcd.members[0].client_port)) as proxy:
        yield proxy


@pytest.fixture
def direct(etcd: EtcdCluster) -> Iterator[Store]:
    """Past the proxy, to see what really happened."""
    with opened(etcd.url, timeout=PATIENT) as store:
        yield store


def value_of(item: Item | None) -> bytes | None:
    return None if item is None else item.value


# --- a commit whose answer is lost


@pytest.mark.parametrize(
    "fault",
    [Fault(cut=True), Fault(discard=True), Fault(drip=5.0)],
    ids=["cut", "lost", "dripping"],
)
def test_a_commit_with_a_lost_answer_is_outcome_unknown(
    proxy: TcpProxy, direct: Store, prefix: str, fault: Fault
) -> None:
    """A commit whose answer is lost is OutcomeUnknown, although etcd made it."""
    proxy.to_client = fault
    with opened(f"etcd://{proxy.endpoint}", timeout=1.0) as store, pytest.raises(OutcomeUnknown, match="read again"):
        store.commit([Compare(prefix + "a", 0)], [Put(prefix + "a", b"1")])
    wait_until(lambda: value_of(direct.get(prefix + "a")) == b"1", "the commit made")


def test_a_commit_with_a_lost_answer_is_not_retried_elsewhere(proxy: TcpProxy, etcd: EtcdCluster, prefix: str) -> None:
    """A commit whose answer is lost is not tried on a second endpoint."""
    proxy.to_client = Fault(cut=True)
    target = ("127.0.0.1", etcd.members[0].client_port)
    with TcpProxy(target) as second, opened(f"etcd://{proxy.endpoint},{second.endpoint}") as store:
        with pytest.raises(OutcomeUnknown):
            store.commit([], [Put(prefix + "a", b"1")])
        assert second.accepted == 0
        # and the next call begins with the endpoint that has not failed
        assert value_of(store.get(prefix + "a")) == b"1"
        assert (proxy.accepted, second.accepted) == (1, 1)


def test_a_delayed_commit_is_outcome_unknown_and_may_come_later(proxy: TcpProxy, direct: Store, prefix: str) -> None:
    """A commit that is held on its way is OutcomeUnknown, and etcd may make it later."""
    with opened(f"etcd://{proxy.endpoint}", timeout=1.0) as store:
        store.get(prefix)  # a connection stands
        proxy.to_server = Fault(hold=True)
        with pytest.raises(OutcomeUnknown):
            store.commit([Compare(prefix + "a", 0)], [Put(prefix + "a", b"late")])
        assert direct.get(prefix + "a") is None
        # etcd drops a request when it learns that the client has gone; here that news is late, too
        proxy.to_server = Fault(endless=True)
        wait_until(lambda: value_of(direct.get(prefix + "a")) == b"late", "the late commit made")


def test_a_commit_on_a_connection_cut_while_idle_succeeds(proxy: TcpProxy, prefix: str) -> None:
    with opened(f"etcd://{proxy.endpoint}", timeout=PATIENT) as store:
        store.get(prefix)
        proxy.cut()
        wait_until(lambda: not _committed_or_unknown(store, prefix), "the commit on a new connection")
        assert proxy.accepted == 2


def _committed_or_unknown(store: Store, prefix: str) -> bool:
    """Whether the outcome is unknown: the reset may not have arrived when the request goes out."""
    try:
        store.commit([], [Put(prefix + "a", b"1")])
    except OutcomeUnknown:
        return True
    return False


def test_a_commit_that_no_server_got_goes_to_the_next_endpoint(proxy: TcpProxy, etcd: EtcdCluster, prefix: str) -> None:
    proxy.refuse()
    with opened(f"etcd://{proxy.endpoint},{etcd.endpoints[0]}", timeout=PATIENT) as store:
        assert isinstance(store.commit([Compare(prefix + "a", 0)], [Put(prefix + "a", b"1")]), Committed)


def test_a_commit_that_surely_nobody_heard_is_unavailable(prefix: str) -> None:
    one, two = free_ports(2)
    refused = pytest.raises(Unavailable, match=f"{one} refuses.*{two} refuses")
    with opened(f"etcd://127.0.0.1:{one},127.0.0.1:{two}") as store, refused:
        store.commit([], [Put(prefix + "a", b"1")])


def test_a_read_goes_on_to_the_next_endpoint_when_one_hangs(proxy: TcpProxy, etcd: EtcdCluster, prefix: str) -> None:
    proxy.black_hole()
    with opened(f"etcd://{proxy.endpoint},{etcd.endpoints[0]}", timeout=4.0) as store:
        assert store.list(prefix).items == ()
        store.get(prefix)
        assert proxy.accepted == 1  # the one that hangs is not asked first again


def test_a_read_that_nobody_answers_is_unavailable(proxy: TcpProxy, prefix: str) -> None:
    proxy.black_hole()
    with opened(f"etcd://{proxy.endpoint}", timeout=0.5) as store:
        with pytest.raises(Unavailable, match="did not answer in time"):
            store.get(prefix)
        with pytest.raises(Unavailable, match="did not answer in time"):
            store.list(prefix)


def test_lease_calls_without_an_answer_report_what_is_known(proxy: TcpProxy, direct: Store) -> None:
    """Without an answer, a grant and a revoke are OutcomeUnknown, and a keep-alive is Unavailable."""
    lease = direct.grant(60)
    proxy.black_hole()
    with opened(f"etcd://{proxy.endpoint}", timeout=3.0) as store:
        with pytest.raises(OutcomeUnknown):
            store.grant(5)
        with pytest.raises(OutcomeUnknown):
            store.revoke(lease)
        with pytest.raises(Unavailable):
            store.keep_alive(lease)
    direct.revoke(lease)


def test_calls_of_several_threads_do_not_wait_for_each_other(proxy: TcpProxy, etcd: EtcdCluster, prefix: str) -> None:
    proxy.to_client = Fault(delay=0.5)
    with opened(f"etcd://{proxy.endpoint}", timeout=4.0) as store, ThreadPoolExecutor(16) as threads:
        # one after the other they would take 8 s, and those waiting would run into their deadline
        assert [done.result() for done in [threads.submit(store.get, prefix) for _ in range(16)]] == [None] * 16


# --- etcd's own refusals


def test_compaction_between_two_pages_of_a_list_begins_it_again(
    etcd: EtcdCluster, proxy: TcpProxy, direct: Store, prefix: str
) -> None:
    for start in range(0, 300, 100):
        direct.commit([], [Put(f"{prefix}{number:03}", b"1") for number in range(start, start + 100)])
    proxy.to_client = Fault(delay=0.3)
    with opened(f"etcd://{proxy.endpoint}", timeout=PATIENT) as store, ThreadPoolExecutor(1) as thread:
        listing = thread.submit(store.list, prefix)
        assert proxy.requests_heard.wait(PATIENT)
        committed = direct.commit([], [Put(f"{prefix}000", b"2")])
        assert isinstance(committed, Committed)
        etcd.members[0].call("/v3/kv/compaction", {"revision": str(committed.revision)})
        snapshot = listing.result()
    assert len(snapshot.items) == 300
    assert snapshot.items[0].value == b"2"
    assert snapshot.revision >= committed.revision


def test_large_documents_after_many_small_ones_are_all_listed(etcd: EtcdCluster, prefix: str) -> None:
    """Pages grow while documents are small. The page that is then too large to read is divided."""
    with opened(etcd.url) as store:
        for start in range(0, 300, 100):
            store.commit([], [Put(f"{prefix}a{number:03}", b"1") for number in range(start, start + 100)])
        for start in range(0, 260, 13):
            large = [Put(f"{prefix}b{number:03}", b"x" * 70_000) for number in range(start, start + 13)]
            store.commit([], large)
        items = store.list(prefix).items
    assert [len(item.value) for item in items] == [1] * 300 + [70_000] * 260


def test_a_full_database_is_reported_as_an_unknown_outcome(tmp_path: Path, prefix: str) -> None:
    """A full database is reported as OutcomeUnknown, because etcd may have made the change."""
    quota = ["--quota-backend-bytes=1000000"]
    with EtcdCluster(tmp_path, arguments=quota) as cluster, opened(cluster.url, timeout=PATIENT) as store:

        def fill() -> None:
            for number in range(100):
                store.commit([], [Put(f"{prefix}{number}", b"x" * 100_000)])

        with pytest.raises(OutcomeUnknown, match=r"database space exceeded.*defragment"):
            fill()
        assert store.list(prefix).items
        flags, checks = examine_store(lambda: ({}, {}))
        assert [check.status for check in checks] == [Status.OK]
        (check,) = examine_writing(flags, [ROLLOUT], Switch(store, wall=time.time, by="ann", origin="test").try_writing)
        assert (check.status, "no trip can be made" in check.found) == (Status.WRONG, True)


def test_closing_while_a_call_is_under_way_harms_nobody(proxy: TcpProxy, prefix: str) -> None:
    proxy.black_hole()
    store = open_store(f"etcd://{proxy.endpoint}", timeout=1.0)
    outcome: list[BaseException] = []

    def read() -> None:
        try:
            store.get(prefix)
        except Unavailable as error:
            outcome.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    wait_until(lambda: proxy.accepted, "the call under way")
    store.close()
    thread.join(PATIENT)
    assert len(outcome) == 1


# --- what is not etcd


_NONSENSE = [
    answer(b"<html>It works!</html>"),
    answer(b"null"),
    answer(b"[" * 100_000),
    answer(b'{"header": {"revision": 7}, "kvs": [{"key": 1}], "succeeded": "yes"}'),
    answer(b'{"header": {"revision": "-1"}, "kvs": [{"key": "YQ=="}], "succeeded": true}'),
    answer(b'{"header": {"revision": "7"}, "kvs": [{"key": "YQ==", "mod_revision": "7"}], "succeeded": 1}'),
    answer(b"<html>bad gateway</html>", "502 Bad Gateway"),
    answer(b'{"message": "etcdserver: request timed out", "code": 14}', "503 Service Unavailable"),
    answer(b'{"message": "transport is closing", "code": 14}', "503 Service Unavailable"),
    answer(b'{"message": {"a": 1}, "code": [3]}', "500 Internal Server Error"),
    lambda connection, _: connection.close(),
]


@pytest.fixture
def serve() -> Iterator[Callable[[Script], str]]:
    """Starts a server that is not etcd; its URL."""
    servers: list[ScriptedServer] = []

    def start(script: Script) -> str:
        servers.append(ScriptedServer(script))
        return servers[-1].url.replace("http", "etcd")

    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize("script", _NONSENSE)
def test_a_nonsense_answer_is_unavailable_or_an_unknown_outcome(serve: Callable[[Script], str], script: Script) -> None:
    """If an answer is nonsense, a read is Unavailable and a change is OutcomeUnknown."""
    with opened(serve(script), timeout=PATIENT) as store:
        for read in (lambda: store.get("b"), lambda: store.list("b"), lambda: store.keep_alive(Lease(1, 5.0, 0.0))):
            with pytest.raises(Unavailable):
                read()
        for change in (lambda: store.commit([], [Put("b", b"1")]), lambda: store.grant(5)):
            with pytest.raises(OutcomeUnknown):
                change()


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (answer(b"<html>who are you?</html>", "401 Unauthorized"), AccessDenied),
        (answer(b"<html>no</html>", "403 Forbidden"), AccessDenied),
        (answer(b"<html>nothing here</html>", "404 Not Found"), Unavailable),
        (answer(b'{"message": "etcdserver: no leader", "code": 14}', "503 Service Unavailable"), Unavailable),
        (answer(b'{"error": "raft proposal dropped", "code": 2}', "500 Internal Server Error"), Unavailable),
        (answer(b'{"message": "etcdserver: too many requests", "code": 8}', "429 Too Many"), Unavailable),
    ],
    ids=["401", "403", "404", "no-leader", "dropped", "too-many"],
)
def test_a_change_that_was_surely_refused_is_no_unknown_outcome(
    serve: Callable[[Script], str], script: Script, kind: type[Exception]
) -> None:
    with opened(serve(script), timeout=PATIENT) as store, pytest.raises(kind):
        store.commit([], [Put("b", b"1")])


def test_a_member_without_a_leader_sends_a_commit_to_the_next(
    serve: Callable[[Script], str], etcd: EtcdCluster, prefix: str
) -> None:
    leaderless = serve(answer(b'{"message": "etcdserver: no leader", "code": 14}', "503 Service Unavailable"))
    with opened(f"{leaderless},{etcd.endpoints[0]}", timeout=PATIENT) as store:
        assert isinstance(store.commit([], [Put(prefix + "a", b"1")]), Committed)
