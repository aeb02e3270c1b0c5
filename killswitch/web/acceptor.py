"""The daemon's listening sockets: probes are answered here, and every other whole request is handed on.

A liveness probe that fails ends the daemon, so it may wait for no one. It is answered on a thread that does nothing
else: no page, no metric and no flag is made here, and no other request has a place that a probe could need.

* A connection waits here until the head of its request is whole. Only then may it take one of the web server's places,
  so peers that send half a request, however many addresses they have, hold nothing up.
* When too many wait, the oldest of the peer with the most goes. Newcomers are never refused: a probe sends its request
  with its connection, and is answered before it could become the oldest.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

log = logging.getLogger(__name__)
MAX_WAITING = 256  # connections whose request is not whole yet, or whose answer is on its way
BACKLOG = 2048
AT_ONCE = 64  # connections taken before those that wait are looked at again
LINGER = 1.0  # seconds for a peer to take its answer; closing sooner would reset what it has not read
PAUSE = 0.05  # seconds without new connections when there are no file descriptors left
_SWEEP = 0.25
_READ = 64 * 1024
_REQUEST_LINE = re.compile(rb"(GET|HEAD) (/[^ ?]*)(?:\?[^ ]*)? HTTP/1\.[01]\r?\n")
_HEAD_ENDS = re.compile(rb"\n\r?\n")
_WORDS = {
    200: "OK",
    400: "Bad Request",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}

Probe = Callable[[], tuple[int, str]]
"""The status and the words of one probe. Called on the acceptor's thread: it must neither block nor raise."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A connection whose request is not whole yet; ``answered``: it only has to take its answer."""

    socket: socket.socket
    peer: str
    until: float
    received: bytearray = field(default_factory=bytearray)
    answered: bool = False


class Acceptor:
    """Accepts connections on ``host``:``port`` on a thread of its own, from `start` to `close`.

    ``probes``: by path. ``hand_over`` gets a socket and what was read of it; False: no place for it now, and the
    acceptor answers 503. ``headers`` go with the acceptor's own answers. ``request_within``: seconds that a
    request's head may take; asked for each connection. Raises OSError from the constructor when the address cannot
    be had.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        probes: Mapping[str, Probe],
        hand_over: Callable[[socket.socket, bytes], bool],
        max_header_bytes: int,
        request_within: Callable[[], float],
        headers: Mapping[str, str],
    ) -> None:
        self._probes = {path.encode(): probe for path, probe in probes.items()}
        self._hand_over = hand_over
        self._max_header_bytes = max_header_bytes
        self._request_within = request_within
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._by_peer: dict[str, dict[_Waiting, None]] = {}  # oldest first, in both
        self._waiting = 0
        self._paused_until: float | None = None
        self._closing = False
        self._selector = selectors.DefaultSelector()
        self._listeners = _listening(host, port)
        self._spare = _spare()  # given up to refuse politely when there are no descriptors
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)
        for listener in self._listeners:
            self._selector.register(listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="acceptor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop listening and drop all that wait; from any thread, within a second."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._wake_sender.send(b"x")
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _run(self) -> None:
        try:
            swept = 0.0
            while not self._closing:
                for key, _ in self._selector.select(_SWEEP):
                    self._look_at(key)
                now = time.monotonic()
                if now - swept >= _SWEEP:
                    swept = now
                    self._sweep(now)
        finally:
            self._release()

    def _look_at(self, key: selectors.SelectorKey) -> None:
        if key.fileobj in self._listeners:
            assert isinstance(key.fileobj, socket.socket)
            self._accept(key.fileobj)
        elif isinstance(key.data, _Waiting) and key.data.socket.fileno() != -1:  # else dropped meanwhile
            self._read(key.data)

    def _accept(self, listener: socket.socket) -> None:
        if self._paused_until is not None:
            return
        for _ in range(AT_ONCE):
            try:
                connection, address = listener.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # gone before it was taken
            except OSError:
                self._out_of_descriptors(listener)
                return
            self._take(connection, str(address[0]))
            while self._waiting > MAX_WAITING:
                heaviest = max(self._by_peer, key=lambda peer: len(self._by_peer[peer]))
                self._drop(next(iter(self._by_peer[heaviest])))

    def _take(self, connection: socket.socket, peer: str) -> None:
        connection.setblocking(False)
        waiting = _Waiting(connection, peer, time.monotonic() + self._request_within())
        self._remember(waiting)
        self._read(waiting)  # a probe's request has come with its connection

    def _out_of_descriptors(self, listener: socket.socket) -> None:
        """Make room, and take no newcomers for a moment: the listener would wake this thread at once, again and again.

        The spare descriptor lets one probe be answered all the same.
        """
        for peer in list(self._by_peer.values()):
            for waiting in list(peer)[: len(peer) // 2 + 1]:
                self._drop(waiting)
        log.warning("no file descriptors are left for connections to the web server; raise `ulimit -n`")
        if self._spare is not None:
            os.close(self._spare)
        try:
            connection, address = listener.accept()
        except OSError:
            pass
        else:
            self._take(connection, str(address[0]))
        self._spare = _spare()
        self._paused_until = time.monotonic() + PAUSE
        for each in self._listeners:
            self._selector.unregister(each)

    def _read(self, waiting: _Waiting) -> None:
        try:
            data = waiting.socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(waiting)
        elif not waiting.answered:  # else what still comes after the answer is read and thrown away
            waiting.received += data
            self._consider(waiting)

    def _consider(self, waiting: _Waiting) -> None:
        received = waiting.received
        end = _HEAD_ENDS.search(received)
        if (len(received) if end is None else end.start()) > self._max_header_bytes:
            self._answer(waiting, 431, f"a request's line and headers may have {self._max_header_bytes} bytes")
        elif not 65 <= received[0] <= 90:  # no method: another protocol, TLS for example
            self._answer(waiting, 400, "this port speaks HTTP/1.1, without TLS")
        elif end is not None:
            line = _REQUEST_LINE.match(received)
            probe = self._probes.get(line.group(2)) if line is not None else None
            if line is None or probe is None:
                self._pass_on(waiting)
            else:
                status, words = probe()
                self._answer(waiting, status, words, body=line.group(1) != b"HEAD")

    def _pass_on(self, waiting: _Waiting) -> None:
        self._forget(waiting)
        if self._hand_over(waiting.socket, bytes(waiting.received)):
            return
        self._remember(waiting)
        self._answer(waiting, 503, "too many requests wait; ask again in a second")

    def _answer(self, waiting: _Waiting, status: int, words: str, *, body: bool = True) -> None:
        text = (words + "\n").encode()
        head = (
            f"HTTP/1.1 {status} {_WORDS[status]}\r\n"
            f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(text)}\r\nConnection: close\r\n"
            f"{self._headers}\r\n"
        )
        waiting.answered = True
        waiting.until = time.monotonic() + LINGER
        try:
            waiting.socket.send(head.encode() + (text if body else b""))  # a new connection has room for this much
            waiting.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(waiting)

    def _sweep(self, now: float) -> None:
        for waiting in [one for peer in self._by_peer.values() for one in peer if one.until <= now]:
            self._drop(waiting)
        if self._paused_until is not None and now >= self._paused_until:
            self._paused_until = None
            for listener in self._listeners:
                self._selector.register(listener, selectors.EVENT_READ)

    def _drop(self, waiting: _Waiting) -> None:
        self._forget(waiting)
        waiting.socket.close()

    def _remember(self, waiting: _Waiting) -> None:
        self._by_peer.setdefault(waiting.peer, {})[waiting] = None
        self._waiting += 1
        self._selector.register(waiting.socket, selectors.EVENT_READ, waiting)

    def _forget(self, waiting: _Waiting) -> None:
        self._selector.unregister(waiting.socket)
        of_this_peer = self._by_peer[waiting.peer]
        del of_this_peer[waiting]
        if not of_this_peer:
            del self._by_peer[waiting.peer]
        self._waiting -= 1

    def _release(self) -> None:
        for waiting in [one for peer in self._by_peer.values() for one in peer]:
            self._drop(waiting)
        for each in (*self._listeners, self._wake_receiver, self._wake_sender):
            each.close()
        self._selector.close()
        if self._spare is not None:
            os.close(self._spare)


def _spare() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return None


def _listening(host: str, port: int) -> list[socket.socket]:
    """A socket for each address of ``host`` (empty: every interface), as asyncio makes them. Raises OSError."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                listener = socket.socket(family, kind, protocol)
            except OSError:
                continue  # a family that this machine was built without
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                listener.bind(address)
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL and len(found) > 1:  # `localhost` without IPv6
                    listeners.remove(listener)
                    listener.close()
                    continue
                raise
            listener.listen(BACKLOG)
            listener.setblocking(False)
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    if not listeners:
        raise OSError(f"no address of {host} can be listened on")
    return listeners
