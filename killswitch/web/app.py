"""The daemon over HTTP: health, metrics, reload, status, and flags for other languages.

Liveness never depends on etcd or Prometheus being up: a restart would not bring them back. Whatever
changes state needs the bearer token of ``api_token``; reads show what rule files, metrics and flags
say, and never a secret. Bodies and headers are bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from killswitch.flags.flag import Flag
from killswitch.flags.incident import Incident
from killswitch.roles.seen import RolesSeen
from killswitch.status.document import explain_document, status_document, status_json
from killswitch.status.reports import CycleReport
from killswitch.status.web_page import status_page
from killswitch.web.bearer import refused
from killswitch.web.rendered import InPieces, Rendered
from killswitch.web.request_limits import Bounded, peer_of
from killswitch.web.server import PROBES, Rate

RELOADS_PER_SECOND = 1.0  # of one peer, five at once; guesses of the token count
_WITHOUT = "no api_token is set, so nothing can be changed over HTTP; send SIGHUP instead"


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

    def roles(self) -> RolesSeen:
        """The roles as last read. Never raises."""
        ...

    def reload(self) -> list[str]:
        """Take over the rule files, all or nothing; the problems where they are refused."""
        ...

    def api_token(self) -> str | None:
        """The bearer token that may change state; None: no one may over HTTP. Raises AccessDenied."""
        ...


_Shown = TypeVar("_Shown")


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

    def shown(
        how: Callable[[str, CycleReport | None, float | None, Mapping[str, Incident], RolesSeen], _Shown],
    ) -> _Shown:
        report = served.latest
        return how(served.controller_id, report, served.age(), tripped_on(report), served.roles())

    renderer = ThreadPoolExecutor(1, thread_name_prefix="pages")  # one: pages together take one processor at most
    as_json = Rendered(lambda: shown(status_json), renderer)
    as_page = Rendered(lambda: status_page(shown(status_document)).encode(errors="replace"), renderer)
    as_metrics = Rendered(lambda: generate_latest(served.registry), renderer)

    async def metrics(_: Request) -> Response:
        return InPieces(await as_metrics.of(served.latest), media_type=CONTENT_TYPE_LATEST)

    async def status(_: Request) -> Response:
        return InPieces(await as_json.of(served.latest), media_type="application/json")

    async def page(_: Request) -> Response:
        return InPieces(await as_page.of(served.latest), media_type="text/html")

    routes = [
        Route("/", page),
        Route("/-/healthy", healthy),
        Route("/-/ready", ready),
        _reload_route(served),
        Route("/metrics", metrics),
        Route("/api/v1/status", status),
        _explain_route(served),
        *(more_routes or []),
    ]
    app = Starlette(routes=routes)
    app.state.probes = {"/-/healthy": served.unhealthy, "/-/ready": served.unready}
    app.add_middleware(Bounded, host_names=host_names)
    return app


def _probed(path: str, problem: str | None) -> Response:
    return _plain(problem or PROBES[path], 503 if problem else 200)


def _explain_route(served: WebContent) -> Route:
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
        return JSONResponse(
            explain_document(report, name, served.tripped_on([flag] if flag is not None else []), served.roles())
        )

    return Route("/api/v1/explain/{rollout}", explain)


def _reload_route(served: WebContent) -> Route:
    reloads = Rate(RELOADS_PER_SECOND, 5.0, monotonic=time.monotonic)

    async def reload(request: Request) -> Response:
        if not reloads.allows(peer_of(request.scope)):
            return _plain("too many requests; wait a second", 429)
        refusal = await run_in_threadpool(refused, request, served.api_token, name="api_token", without=_WITHOUT)
        if refusal is not None:
            return refusal
        problems = await run_in_threadpool(served.reload)
        if problems:
            return _plain("rules refused, the last good set stays in force:\n" + "\n".join(problems), 422)
        return _plain("rules reloaded", 200)

    return Route("/-/reload", reload, methods=["POST"])


def _plain(text: str, status: int) -> Response:
    return PlainTextResponse(text + "\n", status)
