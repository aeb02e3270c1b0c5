"""POSTs to etcd's gateway: endpoints in turn, total deadlines, bounded bodies, TLS, logins. Standard library only.

`Gateway.call` asks one question and has one answer; `Gateway.stream` opens an endless one.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import socket
import ssl
import threading
from collections.abc import Callable, Container, Iterator
from typing import Any, TypeVar, cast

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, BadDocument, KillswitchError, Unavailable
from killswitch.net.credentials import RotatingContext, known, without
from killswitch.net.name_lookup import look_up
from killswitch.stores.etcd import wire
from killswitch.stores.reader import Access
from killswitch.stores.url import Endpoint

MAX_BODY = 8 * 1024 * 1024
MAX_LINE = 2 * 1024 * 1024
_CHUNK = 64 * 1024
_T = TypeVar("_T")
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


class _Connection(http.client.HTTPConnection):
    """One connection to one endpoint; in ``alive`` for as long as it holds a socket."""

    auto_open = 0  # http.client would connect by itself, without TLS and without a deadline

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext | None, alive: set[_Connection]) -> None:
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


class Quiet(Unavailable):
    """No line came for as long as was waited: the stream may be well and have no news, or be dead without a word."""


class Stream:
    """An endless answer, line by line."""

    def __init__(self, connection: _Connection, response: http.client.HTTPResponse) -> None:
        self.endpoint = connection.endpoint
        self._connection = connection
        self._response = response

    def lines(self, silence: float) -> Iterator[bytes]:
        """Lines until the stream ends. Raises Quiet when a line takes longer than ``silence`` seconds, Unavailable
        when the stream breaks, LineTooLong over 2 MiB.
        """
        timed = self._connection.timed
        assert timed is not None
        lines = wire.Lines(MAX_LINE)
        timed.deadline = Deadline(silence)
        while True:
            try:
                chunk = self._response.read1(_CHUNK)
            except (OSError, http.client.HTTPException, ValueError) as error:
                if timed.deadline.expired:
                    raise Quiet(f"{self.endpoint}: no news for {silence:g} s") from error
                raise Unavailable(f"{self.endpoint}: the watch broke ({_words(error)})") from error
            if not chunk:
                return
            for line in lines.feed(chunk):
                timed.deadline = Deadline(silence)
                yield line

    def abort(self) -> None:
        self._connection.abort()

    def close(self) -> None:
        self._response.close()
        self._connection.end()


class Gateway:
    """etcd behind several endpoints. Methods may be called from any thread."""

    def __init__(self, endpoints: tuple[Endpoint, ...], access: Access, *, use_tls: bool) -> None:
        self.endpoints = endpoints
        self._access = access
        self._tls = RotatingContext(access.tls) if use_tls else None
        self._token: str | None = None
        self._idle: dict[Endpoint, _Connection] = {}
        self._alive: set[_Connection] = set()
        # the parent's, kept in a child so that their buffers are never finalised
        self._dropped: tuple[_Connection, ...] = ()
        self._preferred = 0
        self._lock = threading.Lock()

    @property
    def preferred(self) -> Endpoint:
        """The endpoint that answered last."""
        return self.endpoints[self._preferred]

    def prefer(self, endpoint_index: int) -> None:
        self._preferred = endpoint_index % len(self.endpoints)

    def call(self, path: str, body: bytes, timeout: float, parse: Callable[[dict[str, Any]], _T]) -> _T:
        """What ``parse`` makes of the first answer it does not refuse, within ``timeout`` seconds over all endpoints.

        Only for what may be asked twice. Raises BadDocument, AccessDenied or Unavailable, in this order of
        precedence where endpoints fail differently.
        """
        deadline = Deadline(timeout)
        failures: dict[Endpoint, KillswitchError] = {}
        first, count = self._preferred, len(self.endpoints)
        for turn in range(count):
            index = (first + turn) % count
            share = Deadline(deadline.remaining() / (count - turn))
            try:
                answer = parse(self._logged_in(self.endpoints[index], share, path, body))
            except (Unavailable, AccessDenied, BadDocument) as error:
                failures[self.endpoints[index]] = error
                continue
            self._preferred = index
            if failures:
                self._leave(failures)
            return answer
        raise _gravest(list(failures.values()))

    def _leave(self, failed: Container[Endpoint]) -> None:
        """Cut the streams that stand on endpoints which fail while another answers: they may be dead silently."""
        for connection in tuple(self._alive):
            if connection.streaming and connection.endpoint in failed:
                connection.abort()

    def stream(self, endpoint: Endpoint, path: str, body: bytes, timeout: float) -> Stream:
        """An endless answer from ``endpoint``, opened within ``timeout`` seconds. Raises as `call`."""
        deadline = Deadline(timeout)
        self._login_if_needed(endpoint, deadline)
        with _translated(endpoint):
            connection = self._new(endpoint)
            try:
                connection.open(deadline)
                response = connection.post(path, body, self._token)
                if response.status == http.client.OK:
                    connection.streaming = True
                    return Stream(connection, response)
                refusal = wire.refusal(response.status, without(_bounded(response), self._secrets(self._token)))
            except BaseException:
                connection.end()
                raise
            connection.end()
        if isinstance(refusal, wire.LoginNeeded):
            self.log_out()
        raise refusal

    def log_out(self) -> None:
        """Forget the token: the next question logs in again."""
        self._token = None

    def forget(self) -> None:
        """Drop every connection and lock; see `Reader.forget`."""
        alive, self._alive, self._idle = self._alive, set(), {}
        self._lock = threading.Lock()
        if self._tls is not None:
            self._tls = RotatingContext(self._access.tls)
        self._dropped += tuple(alive)
        for connection in alive:
            connection.drop()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, {}
        for connection in idle.values():
            connection.end()

    def _new(self, endpoint: Endpoint) -> _Connection:
        return _Connection(endpoint, None if self._tls is None else self._tls.current(), self._alive)

    # --- logins -------------------------------------------------------------------------------

    def _logged_in(self, endpoint: Endpoint, deadline: Deadline, path: str, body: bytes) -> dict[str, Any]:
        self._login_if_needed(endpoint, deadline)
        try:
            return self._ask(endpoint, deadline, path, body, self._token)
        except wire.LoginNeeded:
            if self._access.user is None:
                raise
        self.log_out()  # tokens end after five minutes, at a restart, and when users change
        self._login_if_needed(endpoint, deadline)
        return self._ask(endpoint, deadline, path, body, self._token)

    def _login_if_needed(self, endpoint: Endpoint, deadline: Deadline) -> None:
        if self._access.user is None or self._token is not None:
            return
        assert self._access.password is not None
        question = wire.encode({"name": self._access.user, "password": self._access.password.reveal()})
        try:
            answer = self._ask(endpoint, deadline, "/v3/auth/authenticate", question, None)
        except wire.AuthNotEnabled:
            return  # as etcd's own clients: authentication may be turned on later
        token = answer.get("token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise BadDocument("etcd: the login was answered without a token")
        self._token = token

    # --- one request --------------------------------------------------------------------------

    def _ask(self, endpoint: Endpoint, deadline: Deadline, path: str, body: bytes, token: str | None) -> dict[str, Any]:
        with _translated(endpoint):
            connection = self._borrow(endpoint)
            try:
                try:
                    status, answer, reusable = self._exchange(connection, deadline, path, body, token)
                except (ConnectionError, http.client.BadStatusLine):
                    if not connection.used:
                        raise
                    # the server closed an idle connection; whatever is asked here may be asked twice
                    connection.end()
                    connection = self._new(endpoint)
                    status, answer, reusable = self._exchange(connection, deadline, path, body, token)
            except BaseException:
                connection.end()
                raise
        if reusable:
            self._give_back(connection)
        else:
            connection.end()
        if status == http.client.OK:
            with contextlib.suppress(BadDocument):
                return wire.parse_object(answer)
        answer = without(answer, self._secrets(token))
        if status != http.client.OK:
            raise wire.refusal(status, answer)
        return wire.parse_object(answer)

    def _secrets(self, token: str | None) -> tuple[str, ...]:
        """What no failure may repeat."""
        return known(token, self._access.password)

    def _exchange(
        self, connection: _Connection, deadline: Deadline, path: str, body: bytes, token: str | None
    ) -> tuple[int, bytes, bool]:
        connection.open(deadline)
        response = connection.post(path, body, token)
        answer = _bounded(response)
        return response.status, answer, not response.will_close

    def _borrow(self, endpoint: Endpoint) -> _Connection:
        fresh = self._new(endpoint)
        with self._lock:
            connection = self._idle.pop(endpoint, None)
        if connection is None:
            return fresh
        connection.used = True
        return connection

    def _give_back(self, connection: _Connection) -> None:
        with self._lock:
            previous = self._idle.get(connection.endpoint)
            self._idle[connection.endpoint] = connection
        if previous is not None:
            previous.end()


def _bounded(response: http.client.HTTPResponse) -> bytes:
    body = response.read(MAX_BODY + 1)
    if len(body) > MAX_BODY:
        raise BadDocument(f"etcd: an answer over {MAX_BODY} bytes")
    if response.length:  # read(n) keeps silent about a body that ends too soon
        raise http.client.IncompleteRead(body, response.length)
    return body


@contextlib.contextmanager
def _translated(endpoint: Endpoint) -> Iterator[None]:
    """What the socket and http.client raise, in this project's words."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise AccessDenied(
            f"{endpoint}: its certificate is refused ({error.verify_message}); check the CA file and the host name"
        ) from error
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError) as error:
        raise Unavailable(f"{endpoint}: {_words(error)}") from error
    except ssl.SSLError as error:
        raise AccessDenied(
            f"{endpoint}: TLS failed ({error.reason or _words(error)}); check both certificates"
        ) from error
    except (http.client.BadStatusLine, http.client.UnknownProtocol, http.client.LineTooLong) as error:
        if isinstance(error, ConnectionError):  # closed before a single byte
            raise Unavailable(f"{endpoint}: hung up without an answer (TLS on one side only?)") from error
        raise BadDocument(f"{endpoint}: the answer is not HTTP/1.1; {wire.NO_GATEWAY}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        # ValueError: http.client on a garbled chunk size or header
        raise Unavailable(f"{endpoint}: {_words(error)}") from error


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {error}"[:200] if str(error) else type(error).__name__


def _gravest(failures: list[KillswitchError]) -> KillswitchError:
    for kind in (BadDocument, AccessDenied):
        for failure in failures:
            if isinstance(failure, kind):
                return failure
    return Unavailable("; ".join(dict.fromkeys(map(str, failures))))
