"""POSTs to etcd's gateway: endpoints in turn, total deadlines, bounded bodies, logins. Standard library only.

`Gateway.call` sends one request and returns its answer. `Gateway.stream` opens an endless answer.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Callable, Container
from typing import Any, TypeVar

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, BadDocument, KillswitchError, Unavailable
from killswitch.net.credentials import RotatingContext, known, without
from killswitch.stores.access import Access
from killswitch.stores.etcd import wire
from killswitch.stores.etcd.connection import Connection, translated
from killswitch.stores.etcd.stream import Stream
from killswitch.stores.url import Endpoint

MAX_BODY = 8 * 1024 * 1024
_T = TypeVar("_T")


class Gateway:
    """etcd behind several endpoints. Methods may be called from any thread."""

    def __init__(self, endpoints: tuple[Endpoint, ...], access: Access, *, use_tls: bool) -> None:
        self.endpoints = endpoints
        self._access = access
        self._tls = RotatingContext(access.tls) if use_tls else None
        self._token: str | None = None
        self._idle: dict[Endpoint, Connection] = {}
        self._alive: set[Connection] = set()
        # the parent's connections, kept in a forked child so that their buffers are never finalised
        self._dropped: tuple[Connection, ...] = ()
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

        Only for requests that may be repeated. Raises BadDocument, AccessDenied or Unavailable, in this order of
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
        """Cut the streams of endpoints that fail while another answers: they may be dead without a sign."""
        for connection in tuple(self._alive):
            if connection.streaming and connection.endpoint in failed:
                connection.abort()

    def stream(self, endpoint: Endpoint, path: str, body: bytes, timeout: float) -> Stream:
        """An endless answer from ``endpoint``, opened within ``timeout`` seconds. Raises as `call`."""
        deadline = Deadline(timeout)
        self._login_if_needed(endpoint, deadline)
        with translated(endpoint):
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
        """Forget the token: the next request logs in again."""
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

    def _new(self, endpoint: Endpoint) -> Connection:
        return Connection(endpoint, None if self._tls is None else self._tls.current(), self._alive)

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
            return  # as etcd's own clients do: authentication may be turned on later
        token = answer.get("token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise BadDocument("etcd: the answer to the login has no token")
        self._token = token

    # --- one request --------------------------------------------------------------------------

    def _ask(self, endpoint: Endpoint, deadline: Deadline, path: str, body: bytes, token: str | None) -> dict[str, Any]:
        with translated(endpoint):
            connection = self._borrow(endpoint)
            try:
                try:
                    status, answer, reusable = self._exchange(connection, deadline, path, body, token)
                except (ConnectionError, http.client.BadStatusLine):
                    if not connection.used:
                        raise
                    # the server closed an idle connection; requests made here may be repeated
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
        """The secrets that no error may repeat."""
        return known(token, self._access.password)

    def _exchange(
        self, connection: Connection, deadline: Deadline, path: str, body: bytes, token: str | None
    ) -> tuple[int, bytes, bool]:
        connection.open(deadline)
        response = connection.post(path, body, token)
        answer = _bounded(response)
        return response.status, answer, not response.will_close

    def _borrow(self, endpoint: Endpoint) -> Connection:
        fresh = self._new(endpoint)
        with self._lock:
            connection = self._idle.pop(endpoint, None)
        if connection is None:
            return fresh
        connection.used = True
        return connection

    def _give_back(self, connection: Connection) -> None:
        with self._lock:
            previous = self._idle.get(connection.endpoint)
            self._idle[connection.endpoint] = connection
        if previous is not None:
            previous.end()


def _bounded(response: http.client.HTTPResponse) -> bytes:
    body = response.read(MAX_BODY + 1)
    if len(body) > MAX_BODY:
        raise BadDocument(f"etcd: the answer is over {MAX_BODY} bytes")
    if response.length:  # read(n) does not report a body that ends too soon
        raise http.client.IncompleteRead(body, response.length)
    return body


def _gravest(failures: list[KillswitchError]) -> KillswitchError:
    for kind in (BadDocument, AccessDenied):
        for failure in failures:
            if isinstance(failure, kind):
                return failure
    return Unavailable("; ".join(dict.fromkeys(map(str, failures))))
