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

# a dead host or a lost NAT entry is noticed after 5 + 3 x 3 s
_KEEPALIVE = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 3), ("TCP_KEEPCNT", 3))


class _Receiver(io.RawIOBase):
    """Receives until a deadline, however slowly bytes arrive."""

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
    """The socket methods that http.client needs; each wait ends at ``deadline``, which may be replaced."""

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
    """One connection to one endpoint. It is in ``alive`` while it holds a socket."""

    auto_open = 0  # else http.client connects by itself, without TLS and without a deadline

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
                # each address gets a share of the time, so that a silent one leaves time for the others
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
        # a member without a leader then refuses at once, instead of answering with old data
        headers = {"Content-Type": "application/json", "Grpc-Metadata-hasleader": "true"}
        if token is not None:
            headers["Authorization"] = token  # no "Bearer": etcd takes the bare token
        try:
            self.request("POST", path, body, headers)
            return self.getresponse()
        except ConnectionError as error:
            # whether a server that hangs up on unread bytes closes or resets the connection is a race
            raise http.client.RemoteDisconnected(str(error)) from error

    def end(self) -> None:
        self.close()
        self._alive.discard(self)

    def drop(self) -> None:
        """Close the socket only. After a fork, a thread that no longer exists may hold the buffers' locks."""
        if self.timed is not None:
            with contextlib.suppress(OSError):
                os.close(self.timed.plain.detach())

    def abort(self) -> None:
        """Wake the thread that waits on this connection; callable from any thread."""
        if self.timed is not None:
            with contextlib.suppress(OSError):
                # SSLSocket's own shutdown would drop the TLS state while another thread reads
                socket.socket.shutdown(self.timed.plain, socket.SHUT_RDWR)


@contextlib.contextmanager
def translated(endpoint: Endpoint) -> Iterator[None]:
    """Turns what the socket and http.client raise into this project's errors."""
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
        if isinstance(error, ConnectionError):  # closed before the first byte
            raise Unavailable(
                f"{endpoint}: closed the connection without an answer; is TLS on at one side only?"
            ) from error
        raise BadDocument(f"{endpoint}: the answer is not HTTP/1.1; {wire.NO_GATEWAY}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        # ValueError: http.client on a garbled chunk size or header
        raise Unavailable(f"{endpoint}: {describe(error)}") from error


def describe(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {error}"[:200] if str(error) else type(error).__name__
