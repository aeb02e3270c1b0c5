"""One HTTP connection to one endpoint of etcd, TLS included, with a deadline for every wait. Standard library only."""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Any, cast

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, BadDocument, Unavailable
from killswitch.net.name_lookup import look_up
from killswitch.stores.etcd import wire
from killswitch.stores.url import Endpoint

# a dead host or a forgotten NAT entry is noticed after 5 + 3 x 3 s, whoever is silent
_KEEPALIVE = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 3), ("TCP_KEEPCNT", 3))


class _Receiver(io.RawIOBase):
    """Receives until a deadline, however slowly the bytes drip in."""

    def __init__(self, connected: _Timed) -> None:
        self._connected = connected
        self._raw = connected.plain.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._connected.set_timeout()
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Timed:
    """What http.client needs of a socket, with every wait bounded by ``deadline``, which may be replaced."""

    def __init__(self, plain: socket.socket, deadline: Deadline) -> None:
        self.plain = plain
        self.deadline = deadline

    def set_timeout(self) -> None:
        remaining = self.deadline.remaining()
        if remaining <= 0.0:
            raise TimeoutError("the deadline has passed")
        self.plain.settimeout(remaining)

    def makefile(self, *_mode: object) -> io.BufferedReader:
        return io.BufferedReader(_Receiver(self))

    def sendall(self, data: bytes) -> None:
        self.set_timeout()
        self.plain.sendall(data)

    def close(self) -> None:
        self.plain.close()


class Connection(http.client.HTTPConnection):
    """One connection to one endpoint; in ``alive`` for as long as it holds a socket."""

    auto_open = 0  # http.client would connect by itself, without TLS and without a deadline

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext | None, alive: set[Connection]) -> None:
        super().__init__(endpoint.host, endpoint.port)
        self.endpoint = endpoint
        self.timed: _Timed | None = None
        self.used = False
        self.streaming = False
        self._context = context
        self._alive = alive

    def open(self, deadline: Deadline) -> None:
        """Connect, name look-up and TLS included; the first address that answers wins. Raises OSError."""
        if self.timed is not None:
            self.timed.deadline = deadline
            return
        plain = self._connect_plain(deadline)
        try:
            if self._context is not None:
                plain.settimeout(max(0.001, deadline.remaining()))
                plain = self._context.wrap_socket(plain, server_hostname=self.endpoint.host)
        except BaseException:
            plain.close()
            raise
        self.timed = _Timed(plain, deadline)
        self.sock = cast("socket.socket", self.timed)
        self._alive.add(self)

    def _connect_plain(self, deadline: Deadline) -> socket.socket:
        failure: OSError | None = None
        addresses = look_up(self.endpoint.host, self.endpoint.port, deadline.remaining())
        for position, (family, kind, protocol, _, address) in enumerate(addresses):
            plain = socket.socket(family, kind, protocol)
            try:
                # an address that is silent leaves its share of the time to the others
                plain.settimeout(max(0.001, deadline.remaining() / (len(addresses) - position)))
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for option, value in _KEEPALIVE:
                    if hasattr(socket, option):
                        plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
                plain.connect(address)
            except OSError as error:
                plain.close()
                failure = error
            else:
                return plain
        raise failure if failure is not None else OSError(f"{self.endpoint.host} has no address")

    def post(self, path: str, body: bytes, token: str | None) -> http.client.HTTPResponse:
        # a member without a leader says so at once instead of answering from what it remembers
        headers = {"Content-Type": "application/json", "Grpc-Metadata-hasleader": "true"}
        if token is not None:
            headers["Authorization"] = token  # no "Bearer": etcd takes the bare token
        self.request("POST", path, body, headers)
        return self.getresponse()

    def end(self) -> None:
        self.close()
        self._alive.discard(self)

    def drop(self) -> None:
        """Let go of the socket alone. After a fork the buffers' locks may be held by a thread that is no more."""
        if self.timed is not None:
            with contextlib.suppress(OSError):
                os.close(self.timed.plain.detach())

    def abort(self) -> None:
        """Wake whoever waits on this connection; callable from any thread."""
        if self.timed is not None:
            with contextlib.suppress(OSError):
                # the plain method: SSLSocket's own would take the TLS state away from under the reading thread
                socket.socket.shutdown(self.timed.plain, socket.SHUT_RDWR)


@contextlib.contextmanager
def translated(endpoint: Endpoint) -> Iterator[None]:
    """What the socket and http.client raise, in this project's words."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise AccessDenied(
            f"{endpoint}: its certificate is refused ({error.verify_message}); check the CA file and the host name"
        ) from error
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError) as error:
        raise Unavailable(f"{endpoint}: {describe(error)}") from error
    except ssl.SSLError as error:
        raise AccessDenied(
            f"{endpoint}: TLS failed ({error.reason or describe(error)}); check both certificates"
        ) from error
    except (http.client.BadStatusLine, http.client.UnknownProtocol, http.client.LineTooLong) as error:
        if isinstance(error, ConnectionError):  # closed before a single byte
            raise Unavailable(f"{endpoint}: hung up without an answer (TLS on one side only?)") from error
        raise BadDocument(f"{endpoint}: the answer is not HTTP/1.1; {wire.NO_GATEWAY}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        # ValueError: http.client on a garbled chunk size or header
        raise Unavailable(f"{endpoint}: {describe(error)}") from error


def describe(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {error}"[:200] if str(error) else type(error).__name__
