"""The routers' reader of etcd against real etcd: users, TLS, failover; and against things that are no etcd."""

# ruff: noqa: SIM117  # one `with` for what is there, one for what is looked at

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Self

import pytest

from killswitch.errors import AccessDenied, BadDocument, BadSettings, KillswitchError, Unavailable
from killswitch.net.credentials import TLS, Secret
from killswitch.stores.access import Access
from killswitch.stores.etcd.reader import EtcdReader, EtcdWatch
from killswitch.stores.reader import Change, Connected, Disconnected, WatchEvent
from killswitch.stores.reader_opening import open_reader
from killswitch.stores.url import StoreUrl
from tests.servers.certificates import Authority
from tests.servers.etcd import EtcdCluster, EtcdMember, wait_until
from tests.servers.tcp_proxy import Fault, TcpProxy

PREFIX = "/killswitch/v1/"
NAME = PREFIX + "flags/r"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def put(member: EtcdMember, name: str, value: str, token: str | None = None) -> int:
    answer = member.call("/v3/kv/put", {"key": b64(name), "value": b64(value)}, token=token)
    return int(answer["header"]["revision"])


@contextlib.contextmanager
def reading(
    url: str, access: Access | None = None, *, timeout: float = 5.0, silence: float = 60.0
) -> Iterator[EtcdReader]:
    where = StoreUrl.parse(url)
    reader = EtcdReader(where.endpoints, access, use_tls=where.tls, timeout=timeout, silence=silence)
    try:
        yield reader
    finally:
        reader.close()


class Watching:
    """A watch consumed by a thread of its own."""

    def __init__(self, watch: EtcdWatch) -> None:
        self.watch = watch
        self.events: list[WatchEvent] = []
        self._thread = threading.Thread(target=self._consume, daemon=True)

    def _consume(self) -> None:
        for event in self.watch:
            self.events.append(event)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.watch.close()
        self._thread.join(20)
        assert not self._thread.is_alive(), "a closed watch ends"

    def until(self, wanted: Callable[[Sequence[WatchEvent]], object], what: str) -> None:
        wait_until(lambda: wanted(self.events), f"{what} among the events of the watch")

    @property
    def values(self) -> list[bytes | None]:
        return [e.item.value if e.item is not None else None for e in self.events if isinstance(e, Change)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


# --- reads and leases ---------------------------------------------------------------------------


def test_one_read_brings_keys_prefixes_and_counts_of_one_revision(plain: EtcdCluster) -> None:
    member = plain.members[0]
    put(member, NAME, "flag")
    put(member, PREFIX + "flags/röllout", "other")
    put(member, PREFIX + "controllers/a", "1")
    last = put(member, PREFIX + "controllers/b", "2")
    with reading(plain.url) as reader:
        view = reader.read(
            [NAME, PREFIX + "flags/none"], prefixes=[PREFIX + "flags/"], counted=[PREFIX + "controllers/"]
        )
    assert {name: item.value for name, item in view.items.items()} == {
        NAME: b"flag",
        PREFIX + "flags/röllout": b"other",
    }
    assert view.counts == {PREFIX + "controllers/": 2}
    assert view.revision == last


def test_a_key_put_under_a_lease_vanishes_with_it(plain: EtcdCluster) -> None:
    with reading(plain.url) as reader:
        lease = reader.grant(60.0)
        revision = reader.put(PREFIX + "routers/r/1", b"report", lease)
        assert reader.read([PREFIX + "routers/r/1"]).items[PREFIX + "routers/r/1"].mod_revision == revision
        renewed = reader.keep_alive(lease)
        assert renewed is not None
        assert renewed.expires_at >= lease.expires_at
        reader.revoke(lease)
        assert reader.keep_alive(lease) is None
        assert reader.read([PREFIX + "routers/r/1"]).items == {}
        with pytest.raises(KillswitchError):
            reader.put(PREFIX + "routers/r/1", b"report", lease)


def test_a_connection_that_the_server_closed_is_replaced(plain: EtcdCluster) -> None:
    """A connection that the server closed in the meantime is replaced without an error."""
    with TcpProxy(("127.0.0.1", plain.members[0].client_port)) as proxy, reading(f"etcd://{proxy.endpoint}") as reader:
        reader.read([NAME])
        reader.read([NAME])
        assert proxy.accepted == 1, "one connection serves many reads"
        proxy.cut()
        reader.read([NAME])
        assert proxy.accepted == 2


def test_reads_go_on_at_the_next_endpoint_and_stay_with_it(plain: EtcdCluster) -> None:
    with TcpProxy(("127.0.0.1", plain.members[0].client_port)) as dead:
        dead.black_hole()
        with reading(f"etcd://{dead.endpoint},{plain.endpoints[0]},127.0.0.1:1", timeout=1.5) as reader:
            for _ in range(5):
                reader.read([NAME])
            assert dead.accepted <= 1


@pytest.mark.parametrize(
    "fault",
    [Fault(hold=True), Fault(drip=0.2), Fault(discard=True), Fault(cut=True)],
    ids=["held", "drip", "lost", "cut"],
)
def test_a_read_ends_by_its_deadline_whatever_the_network_does(plain: EtcdCluster, fault: Fault) -> None:
    with TcpProxy(("127.0.0.1", plain.members[0].client_port)) as proxy:
        proxy.to_client = fault
        with reading(f"etcd://{proxy.endpoint}", timeout=0.5) as reader, pytest.raises(Unavailable):
            reader.read([NAME])


# --- watches ------------------------------------------------------------------------------------


def test_a_watch_resumes_and_brings_each_change_once(plain: EtcdCluster) -> None:
    """A watch continues after its last revision and brings each change once."""
    member = plain.members[0]
    name = PREFIX + "flags/once"
    start = put(member, name, "0")
    with TcpProxy(("127.0.0.1", member.client_port)) as proxy, reading(f"etcd://{proxy.endpoint}") as reader:
        with Watching(reader.watch(name, after=start)) as watching:
            for value in ("1", "2"):
                put(member, name, value)
            watching.until(lambda _: watching.values == [b"1", b"2"], "two changes")
            proxy.refuse()
            proxy.cut()
            put(member, name, "3")
            put(member, name, "4")
            proxy.listen()
            put(member, name, "5")
            watching.until(lambda _: len(watching.values) >= 5, "five changes")
            assert watching.values == [b"1", b"2", b"3", b"4", b"5"]
            assert any(isinstance(event, Disconnected) and not event.quiet for event in watching.events)


def test_a_silent_watch_is_set_up_anew(plain: EtcdCluster) -> None:
    with reading(plain.url, silence=0.3) as reader, Watching(reader.watch(PREFIX + "quiet", after=1)) as watching:
        watching.until(lambda events: sum(isinstance(e, Connected) for e in events) >= 3, "three connections")
        ended = [event for event in watching.events if isinstance(event, Disconnected)]
        assert all(event.quiet and "no news for 0.3 s" in event.reason for event in ended)


def test_a_restarted_watch_goes_on_after_the_revision_it_was_given(plain: EtcdCluster) -> None:
    member = plain.members[0]
    name = PREFIX + "flags/again"
    start = put(member, name, "0")
    put(member, name, "1")
    with reading(plain.url) as reader, Watching(reader.watch(name, after=start)) as watching:
        watching.until(lambda _: watching.values == [b"1"], "one change")
        watching.watch.restart(start - 1)
        watching.until(lambda _: watching.values == [b"1", b"0", b"1"], "both changes again")


def test_a_watch_on_a_member_without_a_leader_moves_on(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path, size=3) as cluster:
        lonely, *others = cluster.members
        start = put(lonely, NAME, "0")
        with reading(f"etcd://{lonely.endpoint}", timeout=2.0) as reader:
            with Watching(reader.watch(NAME, after=start)) as watching:
                watching.until(lambda events: any(isinstance(e, Connected) for e in events), "the watch")
                for member in others:
                    member.kill()
                watching.until(
                    lambda events: any(isinstance(e, Disconnected) and "no leader" in e.reason for e in events),
                    "the loss of the leader",
                )


# --- users --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    arguments = ["--auth-token-ttl=1", "--bcrypt-cost=4"]
    with EtcdCluster(tmp_path_factory.mktemp("guarded"), arguments=arguments) as cluster:
        cluster.enable_auth("root-secret", {"router": ("password-1", PREFIX)})
        yield cluster


def password(tmp_path: Path, value: str) -> Path:
    file = tmp_path / "password"
    file.write_text(value + "\n")
    return file


def router(file: Path, user: str = "router") -> Access:
    return Access(user=user, password=Secret.from_file(file))


def test_with_user_and_password_reads_watches_and_reports_work(guarded: EtcdCluster, tmp_path: Path) -> None:
    member = guarded.members[0]
    with reading(guarded.url, router(password(tmp_path, "password-1"))) as reader:
        start = reader.read([NAME]).revision
        lease = reader.grant(10.0)
        reader.put(PREFIX + "routers/r/1", b"x", lease)
        with Watching(reader.watch(NAME, after=start)) as watching:
            put(member, NAME, "new", guarded.token("root", "root-secret"))
            watching.until(lambda _: watching.values == [b"new"], "the change")


def test_an_expired_token_is_replaced_within_the_same_read(guarded: EtcdCluster, tmp_path: Path) -> None:
    with reading(guarded.url, router(password(tmp_path, "password-1"))) as reader:
        reader.read([NAME])
        token = reader._gateway._token
        assert token is not None

        def expired() -> bool:
            try:
                guarded.members[0].call("/v3/kv/range", {"key": b64(NAME)}, token=token)
            except OSError:
                return True
            return False

        # each use prolongs a token's life, so look seldom
        wait_until(lambda: not threading.Event().wait(1.5) and expired(), "the end of the token")
        reader.read([NAME])
        assert reader._gateway._token not in (None, token)


def test_a_watch_with_a_token_that_ended_logs_in_again(guarded: EtcdCluster, tmp_path: Path) -> None:
    with reading(guarded.url, router(password(tmp_path, "password-1"))) as reader:
        start = reader.read([NAME]).revision
        reader._gateway._token = "made.up"  # as after a restart of etcd
        with Watching(reader.watch(NAME, after=start)) as watching:
            watching.until(lambda events: any(isinstance(e, Connected) for e in events), "the watch")


def test_a_password_changed_on_disk_is_taken_up(guarded: EtcdCluster, tmp_path: Path) -> None:
    file = password(tmp_path, "wrong")
    with reading(guarded.url, router(file)) as reader:
        with pytest.raises(AccessDenied, match="password"):
            reader.read([NAME])
        file.write_text("password-1")
        reader.read([NAME])


def test_what_the_role_does_not_allow_is_refused_in_words(guarded: EtcdCluster, tmp_path: Path) -> None:
    with reading(guarded.url, router(password(tmp_path, "password-1"))) as reader:
        with pytest.raises(AccessDenied, match="permission denied"):
            reader.read(["/elsewhere"])
        with Watching(reader.watch("/elsewhere", after=1)) as watching:
            watching.until(
                lambda events: any(isinstance(e, Disconnected) and "permission denied" in e.reason for e in events),
                "the refusal",
            )
            assert not any(isinstance(event, Connected) for event in watching.events), "it never stood"


def test_without_a_user_a_guarded_etcd_says_what_is_missing(guarded: EtcdCluster) -> None:
    with reading(guarded.url) as reader, pytest.raises(AccessDenied, match="give a user and a password"):
        reader.read([NAME])


def test_a_user_is_of_no_harm_where_etcd_knows_no_users(plain: EtcdCluster, tmp_path: Path) -> None:
    with reading(plain.url, router(password(tmp_path, "password-1"))) as reader:
        reader.read([NAME])


def test_neither_the_password_nor_the_token_stands_in_an_error(guarded: EtcdCluster, tmp_path: Path) -> None:
    with reading(guarded.url, router(password(tmp_path, "s3cr3t-and-wrong"))) as reader:
        with pytest.raises(AccessDenied) as refused:
            reader.read([NAME])
    assert "s3cr3t" not in repr(refused.value) + str(refused.value) + reader.describe()


# --- TLS ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[EtcdCluster]:
    folder = tmp_path_factory.mktemp("secured")
    server = authority.issue("reader-etcd-server")
    with EtcdCluster(folder, certificate=server, client_ca=authority.ca_file) as cluster:
        yield cluster


def test_over_tls_with_both_certificates_reads_and_watches_work(secured: EtcdCluster, authority: Authority) -> None:
    mine = authority.issue("reader-client")
    member = secured.members[0]
    url = f"etcds://localhost:{member.client_port}"
    with reading(url, Access(tls=TLS(authority.ca_file, mine.cert, mine.key))) as reader:
        start = reader.read([NAME]).revision
        lease = reader.grant(30.0)
        with Watching(reader.watch(NAME, after=start)) as watching:
            watching.until(lambda events: any(isinstance(e, Connected) for e in events), "the watch")
            reader.put(NAME, b"over tls", lease)
            watching.until(lambda _: watching.values == [b"over tls"], "the change")


def test_a_server_with_an_unknown_ca_or_another_name_is_refused(
    secured: EtcdCluster, authority: Authority, tmp_path: Path
) -> None:
    """A server whose CA is unknown, or whose certificate has another name, is refused."""
    mine = authority.issue("reader-client-2")
    foreign = Authority(tmp_path / "foreign").ca_file
    port = secured.members[0].client_port
    with reading(f"etcds://localhost:{port}", Access(tls=TLS(foreign, mine.cert, mine.key))) as reader:
        with pytest.raises(AccessDenied, match="check the CA file"):
            reader.read([NAME])
    with reading(f"etcds://127.0.0.2:{port}", Access(tls=TLS(authority.ca_file, mine.cert, mine.key))) as reader:
        with pytest.raises((AccessDenied, Unavailable)):
            reader.read([NAME])


def test_an_expired_server_certificate_is_refused(authority: Authority, tmp_path: Path) -> None:
    expired = authority.issue("reader-expired", valid_for=timedelta(hours=-1))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(expired.cert, expired.key)
    with (
        impostor(b"", context=context) as port,
        reading(f"etcds://localhost:{port}", Access(tls=TLS(authority.ca_file))) as reader,
    ):
        with pytest.raises(AccessDenied, match="expired"):
            reader.read([NAME])


def test_without_a_client_certificate_the_error_is_reported(secured: EtcdCluster, authority: Authority) -> None:
    """Without a client certificate the server hangs up, and the reader reports it."""
    url = f"etcds://localhost:{secured.members[0].client_port}"
    with reading(url, Access(tls=TLS(authority.ca_file))) as reader, pytest.raises((AccessDenied, Unavailable)):
        reader.read([NAME])


def test_plain_http_to_a_tls_port_is_unavailable_in_words(secured: EtcdCluster) -> None:
    plainly = f"etcd://{secured.endpoints[0]}"
    with reading(plainly) as reader, pytest.raises(Unavailable, match="is TLS on at one side only"):
        reader.read([NAME])


# --- what is no etcd ----------------------------------------------------------------------------


@contextlib.contextmanager
def impostor(answer: bytes, *, endless: bytes = b"", context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Answers every request with ``answer`` and then ``endless``, again and again."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if context is not None:
                client = context.wrap_socket(client, server_side=True)
            with client:
                client.recv(65536)
                client.sendall(answer)
                while endless:
                    client.sendall(endless)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


def http(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status.encode(), len(body), body)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "endless", "kind"),
    [
        (http(b"<html>hello</html>"), b"", BadDocument),
        (http(b"{}"), b"", BadDocument),
        (http(b'{"header":{"revision":"5"},"succeeded":true}'), b"", BadDocument),
        (http(b"\xff\xfe\x00"), b"", BadDocument),
        (http(b"[" * 100_000), b"", BadDocument),
        (b"SSH-2.0-OpenSSH_9.6\r\n", b"", BadDocument),
        (http(b"<html>Bad Gateway</html>", "502 Bad Gateway"), b"", Unavailable),
        (http(b"gone", "301 Moved\r\nLocation: http://127.0.0.1:1/"), b"", Unavailable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", b"", Unavailable),
        (CHUNKED + b"zz\r\n", b"", Unavailable),
        (b"", b"", Unavailable),
        (CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n", BadDocument),  # never ends; cut off at 8 MiB
        (b"HTTP/1.1 200 OK\r\n", b"X-Header: y\r\n", Unavailable),  # headers without end
    ],
)
def test_an_answer_that_is_not_etcds_is_a_typed_error(answer: bytes, endless: bytes, kind: type[Exception]) -> None:
    with impostor(answer, endless=endless) as port, reading(f"etcd://127.0.0.1:{port}", timeout=20.0) as reader:
        with pytest.raises(KillswitchError) as refused:
            reader.read([NAME])
    assert isinstance(refused.value, kind)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "babble",
    [b"5\r\nhello\r\n", b'1c\r\n{"result":{"header":{}}}\n{"r\r\n', b"4\r\n\n\n\n\n\r\n", b"3\r\n{}\n\r\n", b"zz\r\n"],
)
def test_a_watch_on_something_that_babbles_ends_and_is_tried_again(babble: bytes) -> None:
    with impostor(CHUNKED + babble * 3 + b"0\r\n\r\n") as port, reading(f"etcd://127.0.0.1:{port}") as reader:
        with Watching(reader.watch(NAME, after=1)) as watching:
            watching.until(lambda events: sum(isinstance(e, Disconnected) for e in events) >= 2, "two attempts")
            assert watching.values == []


def test_garbage_at_one_endpoint_does_not_hide_a_good_one(plain: EtcdCluster) -> None:
    """If one endpoint answers garbage, the reader reads from another."""
    with impostor(http(b"{}")) as port, reading(f"etcd://127.0.0.1:{port},{plain.endpoints[0]}") as reader:
        for first in (0, 1):
            reader._gateway.prefer(first)
            assert reader.read([NAME]).revision > 0


# --- settings -----------------------------------------------------------------------------------


def test_access_comes_from_the_environment_as_the_daemons_does(tmp_path: Path) -> None:
    access = Access.from_environment(
        {
            "KILLSWITCH_STORE_USER": "router",
            "KILLSWITCH_STORE_PASSWORD_FILE": str(tmp_path / "password"),
            "KILLSWITCH_STORE_CA_FILE": "/etc/ca.pem",
        }
    )
    assert access == Access(
        user="router", password=Secret.from_file(tmp_path / "password"), tls=TLS(ca_file=Path("/etc/ca.pem"))
    )


def test_a_user_without_a_password_is_refused() -> None:
    with pytest.raises(BadSettings, match="together"):
        Access.from_environment({"KILLSWITCH_STORE_USER": "router"})


def test_a_url_that_names_no_store_is_refused() -> None:
    with pytest.raises(BadSettings):
        open_reader("redis://localhost")
