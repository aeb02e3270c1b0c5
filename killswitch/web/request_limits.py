"""What every request is held to: its peer's rate, the name it asks for, the size of its head and body."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from killswitch.web.server import MAX_HEADER_BYTES, PROBES, SAFE_HEADERS, Rate

MAX_BODY = 64 * 1024
ALERTS = "/alerts/alertmanager"
# a group of alerts that is refused for its size would be a missed kill; its body is read only with the token
LARGER_BODIES: Mapping[str, int] = {ALERTS: 2 * 1024 * 1024}
REQUESTS_PER_SECOND = 200.0  # of one peer, twice as many at once
_ALWAYS = frozenset(PROBES)  # no peer's rate and no Host header may cost the daemon its life
_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Bounded:
    """Refuses who asks too often or under a foreign name, and bodies that are too large; adds the safe headers.

    The name: a page of an attacker's own site can let its name mean 127.0.0.1, and then read whatever answers there as
    if it were its own (DNS rebinding). The browser still says the attacker's name in ``Host``.
    """

    def __init__(
        self, app: Callable[[Scope, Receive, Send], Awaitable[None]], *, host_names: Sequence[str] = ()
    ) -> None:
        self._app = app
        self._host_names = frozenset(name.lower().rstrip(".") for name in host_names)
        self._rate = Rate(REQUESTS_PER_SECOND, 2 * REQUESTS_PER_SECOND, monotonic=time.monotonic)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = 0
        most = LARGER_BODIES.get(scope["path"], MAX_BODY)

        async def bounded_receive() -> dict[str, Any]:
            nonlocal received
            event = await receive()
            received += len(event.get("body", b""))
            if received > most:
                return {"type": "http.disconnect"}
            return event

        async def safe_send(event: dict[str, Any]) -> None:
            if event["type"] == "http.response.start":
                present = {name.lower() for name, _ in event["headers"]}
                event["headers"] = [
                    *event["headers"],
                    *(
                        (name.encode(), value.encode())
                        for name, value in SAFE_HEADERS.items()
                        if name.lower().encode() not in present
                    ),
                ]
            await send(event)

        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        host = headers.get(b"host", b"").decode("latin-1")
        if scope["path"] not in _ALWAYS and not self._rate.allows(peer_of(scope)):
            await _refuse(safe_send, 429, "too many requests; ask less often")
        elif scope["path"] not in _ALWAYS and not self._known(host):
            await _refuse(safe_send, 421, f"this daemon is not called {host!r:.80}; name it in KILLSWITCH_HOST_NAMES")
        elif _header_bytes(scope) > MAX_HEADER_BYTES:  # what came in one piece has passed the parser's own bound
            await _refuse(safe_send, 431, f"a request's line and headers may have {MAX_HEADER_BYTES} bytes")
        elif not length.isdigit() or int(length[:20]) > most:
            await _refuse(safe_send, 413, f"a body may have {most} bytes")
        else:
            await self._app(scope, bounded_receive, safe_send)

    def _known(self, host: str) -> bool:
        """Whether ``Host`` is an address, a name of this machine to itself, or a name from the settings.

        An address cannot be rebound, and HTTP/1.0 without ``Host`` is no browser.
        """
        name = _without_port(host).lower().rstrip(".")
        if not host or name in _LOOPBACK_NAMES or name.endswith(".localhost") or name in self._host_names:
            return True
        try:
            ipaddress.ip_address(name.strip("[]").partition("%")[0])
        except ValueError:
            return False
        return True


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


async def _refuse(send: Send, status: int, why: str) -> None:
    body = json.dumps({"error": why}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 429:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _header_bytes(scope: Any) -> int:
    return len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(n) + len(v) for n, v in scope["headers"])


def peer_of(scope: Any) -> str:
    client = scope.get("client")
    return client[0] if client else ""
