"""A double of Slack's Socket Mode server: a real WebSocket, single-use addresses, hello, envelopes, disconnects.

An envelope must be acknowledged within three seconds, else the press has failed for the person.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

ACKNOWLEDGED_WITHIN = 3.0  # seconds
_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA


@dataclass(slots=True)
class Envelope:
    """One delivery. ``payload``: what its acknowledgement held."""

    id: str
    acknowledged: threading.Event = field(default_factory=threading.Event)
    count: int = 0
    payload: Mapping[str, Any] | None = None

    def wait(self) -> bool:
        """Whether it was acknowledged in time."""
        return self.acknowledged.wait(ACKNOWLEDGED_WITHIN)


class _Connection:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._lock = threading.Lock()

    def send(self, document: Mapping[str, Any]) -> None:
        self.frame(_TEXT, json.dumps(document).encode())

    def frame(self, opcode: int, data: bytes) -> None:
        if len(data) < 126:
            head = struct.pack("!BB", 0x80 | opcode, len(data))
        elif len(data) < 1 << 16:
            head = struct.pack("!BBH", 0x80 | opcode, 126, len(data))
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 127, len(data))
        with self._lock:
            self.sock.sendall(head + data)

    def exactly(self, count: int) -> bytes:
        parts = b""
        while len(parts) < count:
            part = self.sock.recv(count - len(parts))
            if not part:
                raise ConnectionError
            parts += part
        return parts

    def read(self) -> tuple[int, bytes]:
        first, second = self.exactly(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self.exactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.exactly(8))
        if not second & 0x80:
            raise ConnectionError("a client must mask its frames")
        mask = self.exactly(4)
        return first & 0x0F, bytes(byte ^ mask[place % 4] for place, byte in enumerate(self.exactly(length)))


class SlackSocketDouble:
    """Use as a context manager; `url` gives a new address for each connection."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections: list[_Connection] = []
        self.refused = 0
        self._tickets: set[str] = set()
        self._envelopes: dict[str, Envelope] = {}
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def url(self) -> str:
        ticket = f"ticket-{next(self._numbers)}"
        self._tickets.add(ticket)
        return f"ws://127.0.0.1:{self.port}/link/?ticket={ticket}&app_id=A0DOUBLE1"

    def wait_for(self, connections: int, within: float = 20.0) -> bool:
        """Whether there are so many connections."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.connections) == connections, within)

    def deliver(self, kind: str, payload: Mapping[str, Any], *, to: int = 0, again: Envelope | None = None) -> Envelope:
        """Send an envelope to one connection; ``again``: the same envelope once more."""
        envelope = again or Envelope(f"envelope-{next(self._numbers)}")
        self._envelopes[envelope.id] = envelope
        document = {
            "type": kind,
            "envelope_id": envelope.id,
            "payload": payload,
            "accepts_response_payload": kind != "events_api",
        }
        self.connections[to].send(document)
        return envelope

    def send(self, document: Mapping[str, Any], *, to: int = 0) -> None:
        self.connections[to].send(document)

    def raw(self, text: str, *, to: int = 0) -> None:
        self.connections[to].frame(_TEXT, text.encode())

    def ask_to_reconnect(self, reason: str = "refresh_requested", *, to: int = 0) -> None:
        self.send({"type": "disconnect", "reason": reason, "debug_info": {"host": "wss-double"}}, to=to)

    def cut(self, *, to: int = 0) -> None:
        """The connection ends without a word."""
        self.connections[to].sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for connection in list(self.connections):
            connection.sock.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        connection = _Connection(sock)
        if not self._shake_hands(connection):
            self.refused += 1
            sock.close()
            return
        connection.send({"type": "hello", "num_connections": len(self.connections) + 1,
                         "connection_info": {"app_id": "A0DOUBLE1"},
                         "debug_info": {"host": "wss-double", "approximate_connection_time": 18060}})  # fmt: skip
        with self._changed:
            self.connections.append(connection)
            self._changed.notify_all()
        try:
            while True:
                opcode, data = connection.read()
                if opcode == _CLOSE:
                    break
                if opcode == _PING:
                    connection.frame(_PONG, data)
                elif opcode == _TEXT:
                    self._acknowledged(json.loads(data))
        except OSError:
            pass
        finally:
            with self._changed:
                self.connections.remove(connection)
                self._changed.notify_all()
            sock.close()

    def _shake_hands(self, connection: _Connection) -> bool:
        head = b""
        while b"\r\n\r\n" not in head:
            part = connection.sock.recv(4096)
            if not part:
                return False
            head += part
        line, *lines = head.decode().split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
        ticket = line.split()[1].partition("ticket=")[2].partition("&")[0]
        if ticket not in self._tickets:
            connection.sock.sendall(b"HTTP/1.1 401 Unauthorized\r\n\r\n")
            return False
        self._tickets.remove(ticket)
        key = hashlib.sha1((headers["sec-websocket-key"] + _MAGIC).encode()).digest()
        connection.sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(key) + b"\r\n\r\n"
        )
        return True

    def _acknowledged(self, document: Mapping[str, Any]) -> None:
        envelope = self._envelopes.get(str(document.get("envelope_id")))
        if envelope is not None:
            envelope.count += 1
            envelope.payload = document.get("payload")
            envelope.acknowledged.set()
