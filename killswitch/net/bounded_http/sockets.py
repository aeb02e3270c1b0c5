"""Sockets, name lookups and connections whose every wait ends at the deadline of the call they serve.

A call lives in one thread, and its sockets find it there (`serving`): between `requests` and the socket
stand three libraries that would not carry it along. The connection pools of urllib3 are told to make
these connections; what is overridden is what urllib3 documents as theirs to override, and `_new_conn`.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NameResolutionError, NewConnectionError

from killswitch.deadline import Deadline
from killswitch.net.name_lookup import look_up


class BodyTooLargeError(Exception):
    """More bytes came than the cap allows. Not an OSError, which urllib3 would take for a lost connection."""


class Call:
    """What the sockets of one call share. A call belongs to one thread."""

    def __init__(self, deadline: Deadline, connect_within: float | None, max_body: int) -> None:
        self.deadline = deadline
        self._connect_by = deadline if connect_within is None else Deadline(min(connect_within, deadline.remaining()))
        self.sent = False
        self.secrets: tuple[str, ...] = ()  # the credentials that were sent; no message repeats them
        # framing and headers add to the body; no honest answer needs twice as much
        self.bytes_left = 2 * max_body + 1024 * 1024

    def remaining(self) -> float:
        """Seconds left; raises TimeoutError instead of returning 0, which means "do not wait" to a socket."""
        left = self.deadline.remaining()
        if left <= 0:
            raise TimeoutError("the call's deadline has passed")
        return left

    def remaining_to_connect(self) -> float:
        """The same for the time until a connection is made, TLS included."""
        left = min(self._connect_by.remaining(), self.remaining())
        if left <= 0:
            raise TimeoutError("no connection in the time set for it")
        return left

    def received(self, size: int) -> None:
        self.bytes_left -= size
        if self.bytes_left < 0:
            raise BodyTooLargeError


_current = threading.local()


def current_call() -> Call | None:
    """This thread's current call."""
    call: Call | None = getattr(_current, "call", None)
    return call


@contextmanager
def serving(call: Call) -> Iterator[Call]:
    """Within the block this thread's sockets serve ``call``."""
    _current.call = call
    try:
        yield call
    finally:
        _current.call = None


class _BoundedReads(socket.socket):
    """Reads end at the current call's deadline, and count towards its size; with TLS those of the open text."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        call = current_call()
        if call is None:
            return super().recv_into(*args, **kwargs)
        self.settimeout(call.remaining())
        size = super().recv_into(*args, **kwargs)
        call.received(size)
        return size


class _BoundedSocket(_BoundedReads):
    """A TCP socket whose every wait ends at the current call's deadline."""

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        call = current_call()
        if call is not None:
            self.settimeout(call.remaining())
        super().sendall(*args, **kwargs)


class BoundedTLSSocket(_BoundedReads, ssl.SSLSocket):
    """The same over TLS. OpenSSL reads in its own loop, which ends when the socket's timeout has passed in total."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002  signature of the base class
        call = current_call()
        if call is not None:
            self.settimeout(call.remaining_to_connect())
        super().do_handshake(block)

    def send(self, *args: Any, **kwargs: Any) -> int:
        call = current_call()
        if call is not None:
            self.settimeout(call.remaining())
        return super().send(*args, **kwargs)


def connect(host: str, port: int, call: Call, socket_options: Any) -> socket.socket:
    """A connected socket; the addresses of a name are tried in turn and share the time left."""
    addresses = look_up(host, port, call.remaining_to_connect())
    last: OSError = TimeoutError("no time left to connect")
    for position, (family, kind, protocol, _, address) in enumerate(addresses):
        left = call.remaining_to_connect()
        sock = _BoundedSocket(family, kind, protocol)
        try:
            for option in socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(left / (len(addresses) - position))
            sock.connect(address)
        except OSError as error:
            sock.close()
            last = error
        else:
            return sock
    raise last


class _BoundedConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        call = current_call()
        assert call is not None, "a bounded connection is used by its session alone"
        try:
            return connect(self._dns_host, self.port, call, self.socket_options)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        call = current_call()
        if call is not None:
            call.sent = True
        super().send(data)


class _BoundedTLSConnection(_BoundedConnection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _BoundedConnection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _BoundedTLSConnection


POOLS: Final = MappingProxyType({"http": _Pool, "https": _TLSPool})
