"""The daemon over HTTP: health, metrics, reload, status, and flags for other languages.

Liveness never depends on etcd or Prometheus being up: a restart would not bring them back. Whatever
changes state needs the bearer token of ``api_token``; reads show what rule files, metrics and flags
say, and never a secret. Bodies and headers are bounded.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from killswitch.errors import KillswitchError
from killswitch.flags.flag import Flag
from killswitch.flags.incident import Incident
from killswitch.status.document import explain_document, status_document, status_json
from killswitch.status.reports import CycleReport
from killswitch.status.web_page import status_page
from killswitch.web.server import MAX_HEADER_BYTES, PROBES, SAFE_HEADERS, Rate

log = logging.getLogger(__name__)
MAX_BODY = 64 * 1024
REQUESTS_PER_SECOND = 200.0  # of one peer, twice as many at once
RELOADS_PER_SECOND = 1.0  # of one peer, five at once; guesses of the token count
RENDERED_FOR = 0.5  # seconds at least that one page serves everyone
RENDERING_SHARE = 0.2  # of one processor at most, for each kind of page, however many ask
PIECE = 64 * 1024  # bytes of an answer that may wait in memory for a peer that reads slowly
_ALWAYS = frozenset(PROBES)  # no peer's rate and no Host header may cost the daemon its life
_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})


class WebContent(Protocol):
    """What the pages are made of; the daemon is one."""

    registry: CollectorRegistry
    controller_id: str

    @property
    def latest(self) -> CycleReport | None: ...

    def age(self) -> float | None:
        """Seconds since the latest cycle finished, None before the first."""
        ...

    def unhealthy(self) -> str | None:
        """Why the loop counts as hung, or None."""
        ...

    def unready(self) -> str | None:
        """Why no verdicts are to be expected yet, or None."""
        ...

    def tripped_on(self, flags: Sequence[Flag]) -> Mapping[str, Incident]:
        """The incidents of those that are tripped, by rollout, as far as they are known. Never raises."""
        ...

    def reload(self) -> list[str]:
        """Take over the rule files, all or nothing; the problems where they are refused."""
        ...

    def api_token(self) -> str | None:
        """The bearer token that may change state; None: nobody may over HTTP. Raises AccessDenied."""
        ...


_Told = TypeVar("_Told")


def application(
    served: WebContent, more_routes: list[Route] | None = None, *, host_names: Sequence[str] = ()
) -> Starlette:
    """The ASGI application. ``host_names``: names to be asked under, besides loopback names and IP addresses."""

    async def healthy(_: Request) -> Response:
        return _probed("/-/healthy", served.unhealthy())

    async def ready(_: Request) -> Response:
        return _probed("/-/ready", served.unready())

    def tripped_on(report: CycleReport | None) -> Mapping[str, Incident]:
        reports = report.reports.values() if report is not None else ()
        return served.tripped_on([one.flag for one in reports if one.flag is not None])

    def told(how: Callable[[str, CycleReport | None, float | None, Mapping[str, Incident]], _Told]) -> _Told:
        report = served.latest
        return how(served.controller_id, report, served.age(), tripped_on(report))

    renderer = ThreadPoolExecutor(1, thread_name_prefix="pages")  # one: pages together take one processor at most
    as_json = _Rendered(lambda: told(status_json), renderer)
    as_page = _Rendered(lambda: status_page(told(status_document)).encode(errors="replace"), renderer)
    as_metrics = _Rendered(lambda: generate_latest(served.registry), renderer)

    async def metrics(_: Request) -> Response:
        return _InPieces(await as_metrics.of(served.latest), media_type=CONTENT_TYPE_LATEST)

    async def status(_: Request) -> Response:
        return _InPieces(await as_json.of(served.latest), media_type="application/json")

    def explain(request: Request) -> Response:
        report = served.latest
        name = request.path_params["rollout"]
        if report is None:
            return _plain("no cycle has finished yet; ask again", 503)
        if name not in report.reports:
            if report.store_problem is not None:  # it may have been armed since flags were last read
                return _plain(f"flags cannot be read, so whether there is a rollout {name!r} is UNKNOWN", 503)
            return JSONResponse({"error": f"no rollout is called {name!r}", "known": sorted(report.reports)}, 404)
        flag = report.reports[name].flag
        return JSONResponse(explain_document(report, name, served.tripped_on([flag] if flag is not None else [])))

    async def page(_: Request) -> Response:
        return _InPieces(await as_page.of(served.latest), media_type="text/html")

    routes = [
        Route("/", page),
        Route("/-/healthy", healthy),
        Route("/-/ready", ready),
        _reload_route(served),
        Route("/metrics", metrics),
        Route("/api/v1/status", status),
        Route("/api/v1/explain/{rollout}", explain),
        *(more_routes or []),
    ]
    app = Starlette(routes=routes)
    app.state.probes = {"/-/healthy": served.unhealthy, "/-/ready": served.unready}
    app.add_middleware(_Bounded, host_names=host_names)
    return app


def _probed(path: str, problem: str | None) -> Response:
    return _plain(problem or PROBES[path], 503 if problem else 200)


def _reload_route(served: WebContent) -> Route:
    reloads = Rate(RELOADS_PER_SECOND, 5.0, monotonic=time.monotonic)

    async def reload(request: Request) -> Response:
        if not reloads.allows(_peer(request.scope)):
            return _plain("too many requests; wait a second", 429)
        refusal = await run_in_threadpool(_refused, served, request)
        if refusal is not None:
            return refusal
        problems = await run_in_threadpool(served.reload)
        if problems:
            return _plain("rules refused, the last good set stays in force:\n" + "\n".join(problems), 422)
        return _plain("rules reloaded", 200)

    return Route("/-/reload", reload, methods=["POST"])


class _Rendered:
    """What a report looks like, made once for everyone who asks: while it is made, all wait for the one result.

    It serves for `RENDERED_FOR` seconds, and longer where it took long to make: metrics of 1,000 rollouts take a
    second, and whoever asks for them all the time must not slow the cycle. A new report is shown at once.
    """

    def __init__(self, render: Callable[[], bytes], renderer: ThreadPoolExecutor) -> None:
        self._render = render
        self._renderer = renderer
        self._made: tuple[CycleReport | None, float, bytes] | None = None  # until when it serves
        self._making: asyncio.Future[bytes] | None = None

    async def of(self, report: CycleReport | None) -> bytes:
        if self._made is not None and self._made[0] is report and time.monotonic() <= self._made[1]:
            return self._made[2]
        loop = asyncio.get_running_loop()
        if self._making is None or self._making.get_loop() is not loop:
            self._making = loop.run_in_executor(self._renderer, self._make, report)
            self._making.add_done_callback(self._finished)
        return await asyncio.shield(self._making)  # who hangs up takes it from nobody else

    def _make(self, report: CycleReport | None) -> bytes:
        began = time.monotonic()
        body = self._render()
        ended = time.monotonic()
        self._made = (report, ended + max(RENDERED_FOR, (ended - began) / RENDERING_SHARE), body)
        return body

    def _finished(self, making: asyncio.Future[bytes]) -> None:
        if self._making is making:
            self._making = None


class _InPieces(Response):
    """A large answer, sent piece by piece as the peer takes it.

    Whole, it would be copied into the connection's buffer: 5 MB of metrics for each of 512 peers that read slowly.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002  as Starlette calls it
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = memoryview(self.body)
        for begin in range(0, len(body), PIECE):
            piece = bytes(body[begin : begin + PIECE])
            await send({"type": "http.response.body", "body": piece, "more_body": begin + PIECE < len(body)})
        if not body:
            await send({"type": "http.response.body", "body": b""})


def _refused(served: WebContent, request: Request) -> Response | None:
    try:
        token = served.api_token()
    except KillswitchError as error:
        log.error("nothing can be changed over HTTP: %s", error)  # noqa: TRY400  it says where the secret should be
        return _plain("the api_token cannot be read, so nothing can be changed over HTTP; see the log", 503)
    if token is None:
        return _plain("no api_token is set, so nothing can be changed over HTTP; send SIGHUP instead", 403)
    given = request.headers.get("authorization", "")
    if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        return _plain("needs the header `Authorization: Bearer …` with the api_token", 401)
    return None


def _plain(text: str, status: int) -> Response:
    return PlainTextResponse(text + "\n", status)


Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class _Bounded:
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

        async def bounded_receive() -> dict[str, Any]:
            nonlocal received
            event = await receive()
            received += len(event.get("body", b""))
            if received > MAX_BODY:
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
        if scope["path"] not in _ALWAYS and not self._rate.allows(_peer(scope)):
            await _refuse(safe_send, 429, "too many requests; ask less often")
        elif scope["path"] not in _ALWAYS and not self._known(host):
            await _refuse(safe_send, 421, f"this daemon is not called {host!r:.80}; name it in KILLSWITCH_HOST_NAMES")
        elif _header_bytes(scope) > MAX_HEADER_BYTES:  # what came in one piece has passed the parser's own bound
            await _refuse(safe_send, 431, f"a request's line and headers may have {MAX_HEADER_BYTES} bytes")
        elif not length.isdigit() or int(length[:20]) > MAX_BODY:
            await _refuse(safe_send, 413, f"a body may have {MAX_BODY} bytes")
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


def _peer(scope: Any) -> str:
    client = scope.get("client")
    return client[0] if client else ""
