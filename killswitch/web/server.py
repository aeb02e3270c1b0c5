"""The HTTP server of the daemon: uvicorn, with every connection, request and answer bounded.

Probes use the same port but do not reach this file: `killswitch.web.acceptor` answers them, and hands on requests
whose head is whole. Here connections are counted per peer. A body that arrives too slowly, or an answer that no one
reads, ends its connection. When all places are taken, the peer with the most connections loses one.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from anyio.to_thread import current_default_thread_limiter
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from killswitch.status.html_document import POLICY
from killswitch.web.acceptor import Acceptor

MAX_CONNECTIONS = 512
MAX_CONNECTIONS_OF_ONE_PEER = 128
MAX_HEADER_BYTES = 16 * 1024  # request line included
REQUEST_WITHIN = 10.0  # seconds from a request's first moment to its last byte
ANSWER_WITHIN = 30.0  # seconds from there until the peer has taken the answer
IDLE = 5.0  # seconds a connection may wait for its next request
MAX_HANDED_OVER = 128  # connections that the acceptor has handed over and the web server has not taken yet
THREADS = 8  # for routes that are no coroutines; each more that computes makes a probe wait 5 ms longer for its turn
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
}
_MAX_PEERS = 4096

# one line for each malformed request would let anybody fill the log; what the application raises is an ERROR
_log = logging.getLogger(__name__)
_log.setLevel(logging.ERROR)


class BoundedConnection(H11Protocol):
    """One connection. uvicorn bounds headers and idle time; this adds the number of connections and the deadlines."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.logger = _log
        self.access_log = False  # uvicorn asks whether the logger has handlers, and the root has
        self.began = self.loop.time()
        self._first = b""
        self._answered = 0
        self._phase: tuple[int, bool] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        peers = Counter(map(_host, self.connections))
        peer = _host(self)
        if peers[peer] > MAX_CONNECTIONS_OF_ONE_PEER:
            transport.abort()
            return
        if len(self.connections) > MAX_CONNECTIONS:
            heaviest, _ = max(peers.items(), key=lambda item: item[1])
            if peers[heaviest] <= peers[peer]:
                transport.abort()
                return
            oldest = min((one for one in self.connections if _host(one) == heaviest), key=_began)
            oldest.transport.abort()
        self._watch()
        self.data_received(self._first)  # before anything that is read from here on

    def begin_with(self, received: bytes) -> BoundedConnection:
        """Take ``received``, which the acceptor has read, for the beginning of the first request."""
        self._first = received
        return self

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


def _began(connection: Any) -> float:
    return float(connection.began)


class Server(uvicorn.Server):
    """uvicorn behind an `Acceptor`: it listens on nothing itself."""

    def __init__(self, config: uvicorn.Config, probes: dict[str, Callable[[], str | None]]) -> None:
        super().__init__(config)
        self._probes = probes
        self._acceptor: Acceptor | None = None
        self._places = threading.Semaphore(MAX_HANDED_OVER)
        self._arriving: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        assert sockets is None, "the acceptor listens"
        current_default_thread_limiter().total_tokens = THREADS
        loop = asyncio.get_running_loop()

        def hand_over(connection: socket.socket, received: bytes) -> bool:
            if not self._places.acquire(blocking=False):
                return False
            try:
                loop.call_soon_threadsafe(self._take, connection, received)
            except RuntimeError:  # the loop has ended
                connection.close()
            return True

        try:
            self._acceptor = Acceptor(
                self.config.host,
                self.config.port,
                probes={path: _answering(path, problem) for path, problem in self._probes.items()},
                hand_over=hand_over,
                max_header_bytes=MAX_HEADER_BYTES,
                request_within=lambda: REQUEST_WITHIN,
                headers=SAFE_HEADERS,
            )
        except OSError as error:
            _log.error("the web server cannot listen on %s:%d: %s", self.config.host, self.config.port, error)
            sys.exit(1)
        await super().startup(sockets=[])
        self._acceptor.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._acceptor is not None:
            self._acceptor.close()
        await super().shutdown(sockets=sockets)

    def _take(self, connection: socket.socket, received: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._make(connection, received))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    async def _make(self, connection: socket.socket, received: bytes) -> None:
        def protocol() -> BoundedConnection:
            made = BoundedConnection(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
            return made.begin_with(received)

        try:
            await asyncio.get_running_loop().connect_accepted_socket(protocol, connection)
        except OSError:
            connection.close()
        finally:
            self._places.release()


def _answering(path: str, problem: Callable[[], str | None]) -> Callable[[], tuple[int, str]]:
    def answer() -> tuple[int, str]:
        try:
            said = problem()
        except Exception:  # noqa: BLE001  logged, and the acceptor's thread must live
            _log.exception("the probe %s failed", path)
            said = "unexpected error; see the log"
        return (200, PROBES[path]) if said is None else (503, said)

    return answer


PROBES = {"/-/healthy": "the loop runs", "/-/ready": "ready"}
"""What each probe says when all is well."""


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


def server(application: Starlette, listen: str) -> Server:
    """The server of an ``application`` of `killswitch.web.app` on ``listen`` (host:port), not running yet."""
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
    return Server(config, application.state.probes)
