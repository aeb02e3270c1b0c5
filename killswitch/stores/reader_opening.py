"""Opens the reader that a URL names, for routers; apart from `opening`, whose adapters need more than the SDK has."""

from __future__ import annotations

from pathlib import Path

from killswitch.stores.access import Access
from killswitch.stores.reader import READ_TIMEOUT, Reader
from killswitch.stores.url import StoreUrl


def open_reader(url: str, access: Access | None = None, *, timeout: float = READ_TIMEOUT) -> Reader:
    """The reader for a store's URL (see `killswitch.stores.url`). Nothing is connected yet.

    ``access`` is for etcd and defaults to the environment's. Raises BadSettings for a URL that names no store.
    """
    where = StoreUrl.parse(url)
    if where.kind == "etcd":
        # Only users of etcd pay for the import of http.client and ssl.
        from killswitch.stores.etcd.reader import EtcdReader  # noqa: PLC0415

        allowed = access if access is not None else Access.from_environment()
        return EtcdReader(where.endpoints, allowed, use_tls=where.tls, timeout=timeout)
    if where.kind == "file":
        from killswitch.stores.file import FileReader  # noqa: PLC0415  # as above

        return FileReader(Path(where.path))
    from killswitch.stores.sqlite.reader import SqliteReader  # noqa: PLC0415  # as above

    return SqliteReader(Path(where.path), timeout=timeout)
