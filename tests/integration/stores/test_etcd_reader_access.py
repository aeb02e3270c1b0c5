"""The routers' reader of etcd with users and TLS: tokens, roles, authorities and certificates."""

# ruff: noqa: SIM117  # one `with` for what is there, one for what is looked at
from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from killswitch.errors import AccessDenied, BadSettings, Unavailable
from killswitch.net.credentials import TLS, Secret
from killswitch.stores.access import Access
from killswitch.stores.reader import Connected, Disconnected
from tests.integration.stores.watching import NAME, PREFIX, Watching, b64, hanging_up, impostor, put, reading
from tests.servers.certificates import Authority
from tests.servers.etcd import EtcdCluster, wait_until


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


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
    url = f"etcds://localhost:{secured.members[0].client_port}"
    with reading(url, Access(tls=TLS(authority.ca_file))) as reader, pytest.raises((AccessDenied, Unavailable)):
        reader.read([NAME])


def test_plain_http_to_a_tls_port_is_unavailable_in_words(secured: EtcdCluster) -> None:
    plainly = f"etcd://{secured.endpoints[0]}"
    with reading(plainly) as reader, pytest.raises(Unavailable, match="is TLS on at one side only"):
        reader.read([NAME])


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_server_that_hangs_up_is_named_however_it_does(reset: bool) -> None:
    with hanging_up(reset=reset) as port, reading(f"etcd://127.0.0.1:{port}") as reader:
        with pytest.raises(Unavailable, match="closed the connection without an answer; is TLS on at one side only"):
            reader.read([NAME])


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
