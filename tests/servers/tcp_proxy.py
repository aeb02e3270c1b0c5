"""A TCP proxy that misbehaves as told: slow, dripping, silent, cutting, deaf, gone.

It stands between a client and a real server, on a loopback port of its own::

    with TcpProxy(("127.0.0.1", 2379)) as proxy:
        client = connect(proxy.endpoint)
        proxy.to_client = Fault(discard=True)    # requests arrive, answers are lost

A fault may be changed at any time; connections that stand follow at once.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

_CHUNK: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to bytes in one direction. The default: nothing.

    ``hold``: they are kept until the fault changes (a black hole that may open again).
    ``discard``: they are taken and lost. ``cut``: the first of them resets the connection.
    ``endless``: that the sender has closed is not passed on, so that the receiver goes on with its work.
    ``delay``: seconds before each chunk. ``drip``: one byte at a time, so many seconds apart.
    """

    hold: bool = False
    discard: bool = False
    cut: bool = False
    endless: bool = False
    delay: float = 0.0
    drip: float | None = None


NONE: Final = Fault()


class TcpProxy:
    """Forwards ``port`` of ``host`` (an address of ours) to ``target``.

    ``to_server`` and ``to_client`` are the faults of each direction.
    """

    def __init__(self, target: tuple[str, int], *, host: str = "127.0.0.1") -> None:
        self._host = host
        self._target = target
        self._changed = threading.Condition()
        self._faults = {"to_server": NONE, "to_client": NONE}
        self._closed = threading.Event()
        self._connections: set[_Connection] = set()
        self._listener: socket.socket | None = None
        self.accepted = 0  # connections so far
        self.requests_heard = threading.Event()  # set when bytes have gone to the server; clear it yourself
        self.port = 0
        self.listen()

    @property
    def endpoint(self) -> str:
        return f"{self._host}:{self.port}"

    # --- faults

    @property
    def to_server(self) -> Fault:
        return self._faults["to_server"]

    @to_server.setter
    def to_server(self, fault: Fault) -> None:
        self._set("to_server", fault)

    @property
    def to_client(self) -> Fault:
        return self._faults["to_client"]

    @to_client.setter
    def to_client(self, fault: Fault) -> None:
        self._set("to_client", fault)

    def black_hole(self) -> None:
        """Connections are accepted, and nothing passes either way."""
        self.to_server = self.to_client = Fault(hold=True)

    def heal(self) -> None:
        """No fault any more; what was held goes on its way."""
        self.to_server = self.to_client = NONE
        if self._listener is None:
            self.listen()

    def refuse(self) -> None:
        """Nobody listens: the next connection is refused. Those that stand go on."""
        listener, self._listener = self._listener, None
        if listener is not None:
            # close() alone leaves the port open for as long as accept() waits in the other thread
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def listen(self) -> None:
        """The end of `refuse`, on the same port."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self._host, self.port))
        listener.listen(128)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), name=f"proxy-{self.port}", daemon=True).start()

    def cut(self) -> None:
        """Reset every connection that stands now."""
        for connection in list(self._connections):
            connection.reset()

    def strand(self) -> int:
        """Silence the connections that stand now, for good and without closing them; new ones are served. How many."""
        stranded = list(self._connections)
        for connection in stranded:
            connection.stranded = True
        return len(stranded)

    # --- life

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._closed.set()
        self.refuse()
        self.cut()
        with self._changed:
            self._changed.notify_all()

    # --- how

    def _set(self, direction: str, fault: Fault) -> None:
        with self._changed:
            self._faults[direction] = fault
            self._changed.notify_all()

    def fault_now(self, direction: str) -> Fault | None:
        """The fault once nothing is held any more; None when the proxy closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed.is_set() or not self._faults[direction].hold)
            return None if self._closed.is_set() else self._faults[direction]

    def pause(self, seconds: float) -> None:
        self._closed.wait(seconds)

    def forget(self, connection: _Connection) -> None:
        self._connections.discard(connection)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # refuse() or close()
            self.accepted += 1
            try:
                server = socket.create_connection(self._target, timeout=10)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            connection = _Connection(self, client, server)
            self._connections.add(connection)
            if self._closed.is_set():
                connection.reset()
                return
            connection.start()


class _Connection:
    def __init__(self, proxy: TcpProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self.stranded = False

    def start(self) -> None:
        for direction, source, sink in (
            ("to_server", self._client, self._server),
            ("to_client", self._server, self._client),
        ):
            threading.Thread(target=self._pump, args=(direction, source, sink), daemon=True).start()

    def reset(self) -> None:
        for sock in (self._client, self._server):
            _reset(sock)
        self._proxy.forget(self)

    def _pump(self, direction: str, source: socket.socket, sink: socket.socket) -> None:
        try:
            while chunk := source.recv(_CHUNK):
                if self.stranded:
                    continue
                fault = self._proxy.fault_now(direction)
                if fault is None or fault.cut:
                    self.reset()
                    return
                if not fault.discard:
                    self._forward(direction, chunk, sink, fault)
            # the other end says no more; let the sink know, unless the fault swallows that, too
            fault = self._proxy.fault_now(direction)
            if fault is not None and not (fault.discard or fault.endless):
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            self.reset()

    def _forward(self, direction: str, chunk: bytes, sink: socket.socket, fault: Fault) -> None:
        self._proxy.pause(fault.delay)
        if fault.drip is None:
            sink.sendall(chunk)
        else:
            for byte in chunk:
                sink.sendall(bytes([byte]))
                self._proxy.pause(fault.drip)
        if direction == "to_server":
            self._proxy.requests_heard.set()


def _reset(sock: socket.socket) -> None:
    """Close with RST; also wakes a thread that waits in recv()."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RD)
    sock.close()
