"""Opens the store that a URL names. An adapter is imported only when its store is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from killswitch.errors import BadSettings
from killswitch.net.credentials import TLS, Secret
from killswitch.stores import Store
from killswitch.stores.url import StoreUrl

DEFAULT_TIMEOUT: Final = 5.0  # seconds, in total per call


def open_store(
    url: str,
    *,
    tls: TLS | None = None,
    user: str | None = None,
    password: Secret | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> Store:
    """The store; nothing is contacted yet, so that a daemon starts while its etcd is down.

    Raises BadSettings for a URL that names none, and for TLS files or a user that would not be used.
    """
    where = StoreUrl.parse(url)
    if where.kind == "etcd":
        _check_access(where, tls, user, password)
        # each adapter is imported only when it is opened: the embedded store needs no HTTP
        from killswitch.stores.etcd.store import EtcdStore  # noqa: PLC0415

        return EtcdStore(
            where.endpoints, use_tls=where.tls, tls=tls or TLS(), user=user, password=password, timeout=timeout
        )
    if tls is not None or user is not None or password is not None:
        raise BadSettings([f"{where} is a file; remove TLS files, user and password"])
    if where.kind == "file":
        raise BadSettings([f"{where} is read only: routers can follow it, but a trip needs etcd:// or sqlite://"])
    folder = Path(where.path).absolute().parent
    if not folder.is_dir():
        raise BadSettings([f"{where}: there is no folder {folder}; create it first"])
    from killswitch.stores.sqlite.store import SqliteStore  # noqa: PLC0415

    return SqliteStore(where.path, timeout=timeout)


def _check_access(where: StoreUrl, tls: TLS | None, user: str | None, password: Secret | None) -> None:
    if (user is None) != (password is None):
        raise BadSettings([f"{where}: give the etcd user and its password together, or neither"])
    if tls is not None and tls != TLS() and not where.tls:
        raise BadSettings([f"TLS files are given, but {where} goes without TLS; write etcds://"])
