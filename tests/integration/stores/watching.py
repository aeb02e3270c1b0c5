"""A reader of etcd, its keys, and a watch whose events a test can wait for."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Self

from killswitch.stores.access import Access
from killswitch.stores.etcd.reader import EtcdReader, EtcdWatch
from killswitch.stores.reader import Change, WatchEvent
from killswitch.stores.url import StoreUrl
from tests.servers.etcd import EtcdMember, wait_until

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


@contextlib.contextmanager
def hanging_up(*, reset: bool) -> Iterator[int]:
    """Reads each request and ends the connection without a word: by closing it in order, or by a reset."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client = listener.accept()[0]
                client.recv(65536)
                if reset:  # closing with no time to linger sends RST in place of FIN
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


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
