"""Where Slack posts presses and slash commands, if the app has a request URL: nothing is read before its signature.

Without a signing secret both addresses answer 404, and say which setting opens them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from killswitch.web.request_limits import peer_of
from killswitch.web.server import Rate

REQUESTS_PER_SECOND = 20.0  # of one peer, twice as many at once
_CLOSED = "no slack_signing_secret is set, so Slack may not post here; use Socket Mode, or set it (docs/slack.md)"


class SignedReply(Protocol):
    """What goes back: ``document`` as JSON where there is one, else ``text``."""

    @property
    def status(self) -> int: ...

    @property
    def text(self) -> str: ...

    @property
    def document(self) -> Any: ...


class SignedRequests(Protocol):
    """Checks the signature over the raw body, and takes what was sent. Never waits for a server."""

    def interactions(self, body: bytes, timestamp: str | None, signature: str | None) -> SignedReply: ...

    def commands(self, body: bytes, timestamp: str | None, signature: str | None) -> SignedReply: ...


_Take = Callable[[bytes, str | None, str | None], SignedReply]


def slack_routes(signed: SignedRequests | None) -> list[Route]:
    """``signed``: None without a signing secret."""
    if signed is None:
        return [Route(path, _closed, methods=["POST"]) for path in ("/slack/interactions", "/slack/commands")]
    rate = Rate(REQUESTS_PER_SECOND, 2 * REQUESTS_PER_SECOND, monotonic=time.monotonic)

    def route(path: str, take: _Take) -> Route:
        async def received(request: Request) -> Response:
            if not rate.allows(peer_of(request.scope)):
                return _plain("too many requests; wait a second", 429)
            names = ("x-slack-request-timestamp", "x-slack-signature")
            headers = [request.headers.getlist(name) for name in names]
            if any(len(values) > 1 for values in headers):
                return _plain("this is no request of Slack: a header is there twice", 401)
            try:
                body = await request.body()
            except ClientDisconnect:
                return _plain("the body is too large, or did not arrive", 413)
            timestamp, signature = (values[0] if values else None for values in headers)
            return _response(await run_in_threadpool(take, body, timestamp, signature))

        return Route(path, received, methods=["POST"])

    return [route("/slack/interactions", signed.interactions), route("/slack/commands", signed.commands)]


def _response(reply: SignedReply) -> Response:
    if reply.document is not None:
        return JSONResponse(reply.document, reply.status)
    return PlainTextResponse(reply.text, reply.status)


async def _closed(_: Request) -> Response:
    return _plain(_CLOSED, 404)


def _plain(text: str, status: int) -> Response:
    return PlainTextResponse(text + "\n", status)
