"""The HTTP server of the daemon: uvicorn, with every connection, request and answer bounded.

The liveness probe comes through the same port as everybody else, so nobody may take all of it: connections are
counted per peer, a request that drips and an answer that nobody reads are cut, and each peer has a rate.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 512
MAX_CONNECTIONS_OF_ONE_PEER = 128
MAX_HEADER_BYTES = 16 * 1024  # request line included
REQUEST_WITHIN = 10.0  # seconds from a request's first moment to its last byte
ANSWER_WITHIN = 30.0  # seconds from there until the peer has taken the answer
IDLE = 5.0  # seconds a connection may wait for its next request
_MAX_PEERS = 4096

# one line for each malformed request would let anybody fill the log; what the application raises is an ERROR
_log = logging.getLogger("killswitch.http_server")
_log.setLevel(logging.ERROR)


class BoundedConnection(H11Protocol):
    """One connection. uvicorn bounds headers and idle time; this adds the number of connections and the deadlines."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.logger = _log
        self.access_log = False  # uvicorn asks whether the logger has handlers, and the root has
        self._answered = 0
        self._phase: tuple[int, bool] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        peer = _host(self)
        of_this_peer = sum(1 for connection in self.connections if _host(connection) == peer)
        if len(self.connections) > MAX_CONNECTIONS or of_this_peer > MAX_CONNECTIONS_OF_ONE_PEER:
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._answered += 1
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """A deadline for each phase of each request; bytes that drip in do not move it."""
        whole = self.conn.their_state not in (h11.IDLE, h11.SEND_BODY)
        if self._phase == (self._answered, whole):
            return
        self._cancel()
        self._phase = (self._answered, whole)
        self._deadline = self.loop.call_later(ANSWER_WITHIN if whole else REQUEST_WITHIN, self.transport.abort)

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _host(connection: Any) -> str:
    return connection.client[0] if connection.client else ""


class Rate:
    """How often each peer may ask: ``per_second`` on the long run, ``burst`` at once. For one thread."""

    def __init__(self, per_second: float, burst: float, *, monotonic: Callable[[], float]) -> None:
        self._per_second = per_second
        self._burst = burst
        self._monotonic = monotonic
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # peer -> (allowance, when)

    def allows(self, peer: str) -> bool:
        """Whether this request of ``peer`` is within its rate; counts it if so."""
        now = self._monotonic()
        left, at = self._left.pop(peer, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._per_second)
        allowed = left >= 1.0
        self._left[peer] = (left - 1.0 if allowed else left, now)
        if len(self._left) > _MAX_PEERS:  # the one that has been silent for longest
            self._left.popitem(last=False)
        return allowed


def server(application: Any, listen: str) -> uvicorn.Server:
    """The server of an ASGI ``application`` on ``listen`` (host:port), not running yet."""
    host, _, port = listen.rpartition(":")
    config = uvicorn.Config(
        application,
        host=host.strip("[]"),
        port=int(port),
        http=BoundedConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who asks is whoever is connected, whatever a header says
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        timeout_keep_alive=int(IDLE),
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)
