"""The etcd store over TLS: authorities, certificates that are bad or renewed, and plain words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from killswitch.errors import AccessDenied, Unavailable
from killswitch.net.credentials import TLS
from killswitch.stores import Committed, Put, Store
from tests.integration.stores.opened_store import PATIENT, opened
from tests.servers.certificates import Authority, Certificate
from tests.servers.etcd import EtcdCluster

_AGO = timedelta(days=-1)


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
