"""The bearer token that a request must have to change anything."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from killswitch.errors import KillswitchError

log = logging.getLogger(__name__)


def refused(request: Request, token: Callable[[], str | None], *, name: str, without: str) -> Response | None:
    """Why the request may change nothing; None if it has the token. May wait for a file: not for the event loop.

    ``token`` gives it, None where none is set, and raises AccessDenied. ``name``: of its setting. ``without``: what is
    said where none is set.
    """
    try:
        wanted = token()
    except KillswitchError as error:
        log.error("nothing can be changed over HTTP: %s", error)  # noqa: TRY400  it says where the secret should be
        return _plain(f"the {name} cannot be read, so nothing can be changed over HTTP; see the log", 503)
    if wanted is None:
        return _plain(without, 403)
    given = request.headers.get("authorization", "")
    if not hmac.compare_digest(given.encode(), f"Bearer {wanted}".encode()):
        return _plain(f"needs the header `Authorization: Bearer …` with the {name}", 401)
    return None


def _plain(text: str, status: int) -> Response:
    return PlainTextResponse(text + "\n", status)
