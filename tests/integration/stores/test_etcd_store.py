"""The etcd store against real members that fail, and a wire that does."""

from __future__ import annotations

import base64
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from killswitch.errors import AccessDenied, OutcomeUnknown, Unavailable
from killswitch.net.credentials import TLS, Secret
from killswitch.preflight.checks import Status
from killswitch.preflight.store_checks import examine_store, examine_writing
from killswitch.rules.loading import load_text
from killswitch.stores import Committed, Compare, Item, Lease, Put, Store
from killswitch.stores.opening import open_store
from killswitch.trips.switch import Switch
from tests.servers.certificates import Authority, Certificate
from tests.servers.etcd import EtcdCluster, free_ports, wait_until
from tests.servers.scripted import Script, ScriptedServer, answer
from tests.servers.tcp_proxy import Fault, TcpProxy

_AGO = timedelta(days=-1)
ROLLOUT = load_text(b"{rollout: copilot, control: a, canary: b, metrics: cohort-labels}").rollouts[0]
PATIENT = 30.0  # seconds; for calls that are to succeed, however slow the machine


@contextmanager
def opened(url: str, **how: object) -> Iterator[Store]:
    store = open_store(url, **how)  # type: ignore[arg-type]  # the keywords of open_store
    try:
        yield store
    finally:
        store.close()


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
    """A commit succeeds on a connection that was cut while it was idle."""
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
    """A commit that no server received goes to the next endpoint."""
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


# --- a cluster


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


# --- users and tokens


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """One member with users, whose tokens live for a second."""
    folder = tmp_path_factory.mktemp("guarded")
    with EtcdCluster(folder, arguments=["--auth-token-ttl=1", "--bcrypt-cost=4"]) as cluster:
        cluster.enable_auth("root-secret", {"killswitch": ("first-password", "/killswitch/")})
        yield cluster


@pytest.fixture
def password(tmp_path: Path) -> Secret:
    file = tmp_path / "password"
    file.write_text("first-password\n")
    return Secret.from_file(file)


def test_a_user_with_a_password_reads_and_writes(guarded: EtcdCluster, password: Secret) -> None:
    with opened(guarded.url, user="killswitch", password=password, timeout=PATIENT) as store:
        assert isinstance(store.commit([], [Put("/killswitch/a", b"1")]), Committed)
        assert value_of(store.get("/killswitch/a")) == b"1"
        lease = store.grant(60)
        assert store.keep_alive(lease) is not None
        store.revoke(lease)


def test_an_expired_token_is_replaced_without_anyone_noticing(guarded: EtcdCluster, password: Secret) -> None:
    with opened(guarded.url, user="killswitch", password=password, timeout=PATIENT) as store:
        store.get("/killswitch/a")
        token = store._members._token.value  # type: ignore[attr-defined]
        assert token
        wait_until(lambda: _expired(guarded, token), "the token expired")
        assert isinstance(store.commit([], [Put("/killswitch/a", b"2")]), Committed)
        assert store._members._token.value != token  # type: ignore[attr-defined]


def _expired(cluster: EtcdCluster, token: str) -> bool:
    # each use of a token gives it a new life of a second, so that it is asked less often than that
    time.sleep(2.5)
    try:
        cluster.members[0].call("/v3/kv/range", {"key": "L2tpbGxzd2l0Y2gvYQ=="}, token=token)
    except urllib.error.HTTPError:
        return True
    return False


def test_a_restarted_member_that_lost_our_token_gets_a_new_login(guarded: EtcdCluster, password: Secret) -> None:
    """If a member lost our token in a restart, the store logs in again."""
    with opened(guarded.url, user="killswitch", password=password, timeout=PATIENT) as store:
        store.get("/killswitch/a")
        guarded.members[0].restart()
        assert isinstance(store.commit([], [Put("/killswitch/a", b"3")]), Committed)


def test_many_threads_with_a_stale_token_all_get_through(guarded: EtcdCluster, password: Secret) -> None:
    with opened(guarded.url, user="killswitch", password=password, timeout=PATIENT) as store:
        store._members._token.value = "stale.1"  # type: ignore[attr-defined]
        with ThreadPoolExecutor(8) as threads:
            for done in [threads.submit(store.get, "/killswitch/a") for _ in range(32)]:
                done.result()


@pytest.mark.parametrize(
    ("key", "user", "written", "said"),
    [
        ("/killswitch/a", None, "first-password", "user"),
        ("/killswitch/a", "killswitch", "wrong", "password"),
        ("/killswitch/a", "nobody", "first-password", "password"),
        ("/elsewhere", "killswitch", "first-password", "permission denied"),
    ],
    ids=["no-user", "wrong-password", "unknown-user", "other-keys"],
)
def test_a_denied_login_says_what_to_check_and_shows_no_secret(
    guarded: EtcdCluster, password: Secret, key: str, user: str | None, written: str, said: str
) -> None:
    """If access is denied, the error says what to check and shows no secret."""
    Path(password.name).write_text(written)
    how: dict[str, object] = {} if user is None else {"user": user, "password": password}
    with opened(guarded.url, timeout=PATIENT, **how) as store:
        for call in (lambda: store.get(key), lambda: store.commit([], [Put(key, b"1")])):
            with pytest.raises(AccessDenied, match=said) as caught:
                call()
            assert written not in str(caught.value)
            assert "first-password" not in repr(caught.getrepr(style="long").reprcrash)


def test_a_rotated_password_is_read_at_the_next_login(guarded: EtcdCluster, password: Secret) -> None:
    with opened(guarded.url, user="killswitch", password=password, timeout=PATIENT) as store:
        store.get("/killswitch/a")
        for new in ("second-password", "first-password"):
            change = {"name": "killswitch", "password": new}
            guarded.call_as("root", "root-secret", "/v3/auth/user/changepw", change)
            Path(password.name).write_text(new)
            store._members._token.value = None  # type: ignore[attr-defined]
            assert isinstance(store.commit([], [Put("/killswitch/a", b"4")]), Committed)


def test_a_user_is_no_hindrance_where_etcd_knows_no_users(etcd: EtcdCluster, password: Secret, prefix: str) -> None:
    with opened(etcd.url, user="killswitch", password=password, timeout=PATIENT) as store:
        assert isinstance(store.commit([], [Put(prefix + "a", b"1")]), Committed)


# --- TLS


@contextmanager
def tls_store(cluster: EtcdCluster, tls: TLS, host: str = "127.0.0.1") -> Iterator[Store]:
    with opened(f"etcds://{host}:{cluster.members[0].client_port}", tls=tls, timeout=PATIENT) as store:
        yield store


def _with(authority: Authority, mine: Certificate) -> TLS:
    return TLS(authority.ca_file, mine.cert, mine.key)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[EtcdCluster]:
    """One member that demands client certificates of the authority."""
    certificate = authority.issue("etcd-server")
    folder = tmp_path_factory.mktemp("secured")
    with EtcdCluster(folder, certificate=certificate, client_ca=authority.ca_file) as cluster:
        yield cluster


def test_with_our_authority_and_our_certificate_the_store_works(
    secured: EtcdCluster, authority: Authority, prefix: str
) -> None:
    mine = authority.issue("client")
    for host in ("127.0.0.1", "localhost"):
        with tls_store(secured, TLS(authority.ca_file, mine.cert, mine.key), host) as store:
            assert isinstance(store.commit([], [Put(prefix + "a", b"1")]), Committed)


def test_a_server_of_an_unknown_authority_is_not_talked_to(
    secured: EtcdCluster, authority: Authority, tmp_path: Path, prefix: str
) -> None:
    stranger = Authority(tmp_path / "stranger", "another authority")
    for tls in (TLS(stranger.ca_file), TLS()):
        with tls_store(secured, tls) as store, pytest.raises(AccessDenied, match="a CA we do not trust"):
            store.commit([], [Put(prefix + "a", b"1")])


@pytest.mark.parametrize(
    "make",
    [
        lambda authority, _: TLS(authority.ca_file),
        lambda authority, folder: _with(authority, Authority(folder / "s", "stranger").issue("client")),
        lambda authority, _: _with(authority, authority.issue("expired", valid_for=_AGO)),
    ],
    ids=["none", "of-a-stranger", "expired"],
)
def test_a_client_without_a_good_certificate_is_refused(
    secured: EtcdCluster, authority: Authority, tmp_path: Path, prefix: str, make: Callable[[Authority, Path], TLS]
) -> None:
    # The server closes on the request it has not read, and the kernel may drop its alert for that:
    # then all there is to see is a cut connection, and for a commit an unknown outcome.
    refused = pytest.raises((AccessDenied, Unavailable), match=r"refuses our TLS certificate|cut the connection")
    with tls_store(secured, make(authority, tmp_path)) as store, refused:
        store.get(prefix)


def test_a_certificate_renewed_on_disk_is_used_from_then_on(
    secured: EtcdCluster, authority: Authority, prefix: str
) -> None:
    """A client certificate that is renewed on disk is used from then on."""
    mine = authority.issue("renewed", valid_for=_AGO)
    with tls_store(secured, TLS(authority.ca_file, mine.cert, mine.key)) as store:
        with pytest.raises((AccessDenied, Unavailable)):
            store.get(prefix)
        authority.issue("renewed")
        assert store.get(prefix) is None


@pytest.mark.parametrize(
    ("hosts", "days", "said"),
    [(("localhost", "127.0.0.1"), -1, "has expired"), (("etcd.example", "10.9.8.7"), 1, "for another")],
    ids=["expired", "wrong-name"],
)
def test_a_server_with_a_bad_certificate_is_not_talked_to(
    tmp_path: Path, authority: Authority, prefix: str, hosts: tuple[str, ...], days: int, said: str
) -> None:
    certificate = authority.issue(f"bad{days}", hosts=hosts, valid_for=timedelta(days=days))
    with EtcdCluster(tmp_path, certificate=certificate) as cluster:
        for host in ("127.0.0.1", "localhost"):
            with tls_store(cluster, TLS(authority.ca_file), host) as store, pytest.raises(AccessDenied, match=said):
                store.commit([], [Put(prefix + "a", b"1")])


def test_a_bad_certificate_at_one_endpoint_does_not_hide_another(
    tmp_path: Path, secured: EtcdCluster, authority: Authority, prefix: str
) -> None:
    """If one endpoint has a bad certificate, the store uses another."""
    certificate, mine = authority.issue("bad-one", valid_for=_AGO), authority.issue("client")
    with EtcdCluster(tmp_path, certificate=certificate) as bad:
        url = f"etcds://{bad.endpoints[0]},{secured.endpoints[0]}"
        with opened(url, tls=TLS(authority.ca_file, mine.cert, mine.key), timeout=PATIENT) as store:
            assert isinstance(store.commit([], [Put(prefix + "a", b"1")]), Committed)


def test_plain_words_to_a_tls_port_and_the_other_way_are_explained(
    etcd: EtcdCluster, secured: EtcdCluster, authority: Authority, prefix: str
) -> None:
    with (
        tls_store(etcd, TLS(authority.ca_file)) as store,
        pytest.raises((AccessDenied, Unavailable), match="speak TLS"),
    ):
        store.get(prefix)
    with (
        opened(f"etcd://{secured.endpoints[0]}") as plain,
        pytest.raises(Unavailable, match=r"HTTPS server|cut the connection"),
    ):
        plain.get(prefix)


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
        (check,) = examine_writing(flags, [ROLLOUT], Switch(store, wall=time.time, by="ann").try_writing)
        assert (check.status, "no trip can be made" in check.found) == (Status.WRONG, True)


def test_the_doctor_finds_a_read_only_user_and_changes_nothing(guarded: EtcdCluster, password: Secret) -> None:
    """The doctor finds a user who may only read, and changes nothing in the store."""
    ours = [base64.b64encode(key).decode() for key in (b"/killswitch/", b"/killswitch0")]
    allow = {"name": "reading", "perm": {"permType": "READ", "key": ours[0], "range_end": ours[1]}}
    guarded.call_as("root", "root-secret", "/v3/auth/role/add", {"name": "reading"})
    guarded.call_as("root", "root-secret", "/v3/auth/role/grant", allow)
    guarded.call_as("root", "root-secret", "/v3/auth/user/add", {"name": "reader", "password": "first-password"})
    guarded.call_as("root", "root-secret", "/v3/auth/user/grant", {"user": "reader", "role": "reading"})
    found = {}
    for user in ("reader", "killswitch"):
        with opened(guarded.url, user=user, password=password, timeout=PATIENT) as store:
            switch = Switch(store, wall=time.time, by="ann")
            if user == "killswitch":
                switch.arm(ROLLOUT.name, control="a", canary="b", percent=5.0, stage="ramp_5", salt="")
            before = store.list("/killswitch/")
            found[user] = list(examine_writing({}, [ROLLOUT], switch.try_writing))
            assert store.list("/killswitch/") == before
    assert ["permission denied" in check.found for check in found["reader"]] == [True]
    assert found["killswitch"] == []


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
    """A change that etcd certainly refused is not OutcomeUnknown."""
    with opened(serve(script), timeout=PATIENT) as store, pytest.raises(kind):
        store.commit([], [Put("b", b"1")])


def test_a_member_without_a_leader_sends_a_commit_to_the_next(
    serve: Callable[[Script], str], etcd: EtcdCluster, prefix: str
) -> None:
    """If a member answers that there is no leader, the commit goes to the next member."""
    leaderless = serve(answer(b'{"message": "etcdserver: no leader", "code": 14}', "503 Service Unavailable"))
    with opened(f"{leaderless},{etcd.endpoints[0]}", timeout=PATIENT) as store:
        assert isinstance(store.commit([], [Put(prefix + "a", b"1")]), Committed)
