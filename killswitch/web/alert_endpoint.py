"""``POST /alerts/alertmanager``: an Alertmanager's webhook, whose alerts hold or trip rollouts.

It needs a bearer token, is asked for it before the body is read, and answers 5xx only where sending the same message
again helps. The daemon speaks no TLS: put a proxy in front where the way to it is not trusted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from killswitch.web.bearer import refused
from killswitch.web.request_limits import ALERTS, LARGER_BODIES, peer_of
from killswitch.web.server import Rate
from killswitch.web.single_file import NoTurn, SingleFile

GUESSES_PER_SECOND = 1.0  # of one peer, five at once
WAIT = 5.0  # seconds that a message waits for its turn
_WITHOUT = "neither alerts_token nor api_token is set, so alerts can change nothing; set KILLSWITCH_ALERTS_TOKEN_FILE"


def alert_routes(take: Callable[[bytes], tuple[int, dict[str, Any]]], token: Callable[[], str | None]) -> list[Route]:
    """``take`` does what a message asks for, and gives status and JSON. ``token``: as in `bearer.refused`."""
    guesses = Rate(GUESSES_PER_SECOND, 5.0, monotonic=time.monotonic)
    line = SingleFile(within=WAIT)

    async def alertmanager(request: Request) -> Response:
        refusal = await run_in_threadpool(refused, request, token, name="alerts_token", without=_WITHOUT)
        if refusal is not None:
            if refusal.status_code == 401 and not guesses.allows(peer_of(request.scope)):
                return PlainTextResponse("too many requests without the token; wait a second\n", 429)
            return refusal
        if line.full:  # before up to 2 MiB are read
            return _again()
        try:
            body = await request.body()
        except ClientDisconnect:  # gone, or cut off for sending more than a body may have
            return JSONResponse({"error": f"a message may have {LARGER_BODIES[ALERTS]} bytes; set max_alerts"}, 413)
        try:
            status, document = await line.run(lambda: take(body))
        except NoTurn:
            return _again()
        return JSONResponse(document, status, {"Retry-After": "5"} if status == 503 else None)

    return [Route(ALERTS, alertmanager, methods=["POST"])]


def _again() -> Response:
    error = {"error": "other messages of alerts are being worked on; send it again"}
    return JSONResponse(error, 503, {"Retry-After": "5"})
