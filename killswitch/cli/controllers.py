"""Asking a controller over HTTP what it thinks; the flag store alone knows no verdicts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from killswitch.daemon.settings import without_secrets
from killswitch.errors import Unavailable

DEFAULT_URL = "http://127.0.0.1:8080"
TIMEOUT = 5.0


class Misunderstood(Unavailable):
    """What answers is no controller, or one of another version."""


@contextmanager
def understood(url: str | None) -> Iterator[None]:
    """Reading an answer of another shape than ours raises Misunderstood: anything may listen on a port."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise Misunderstood(
            f"what answers at {shown(url)} is not a controller of this version "
            f"({type(error).__name__}); give its address with --url"
        ) from error


def shown(url: str | None) -> str:
    """The controller's address as messages may repeat it."""
    return without_secrets(url or DEFAULT_URL).rstrip("/")


def ask(url: str | None, path: str) -> dict[str, Any] | None:
    """The controller's JSON answer, None where it knows no such rollout. Raises Unavailable, AccessDenied."""
    from killswitch.net.bounded_http import BoundedSession, killswitch_errors  # noqa: PLC0415  commands that ask nobody

    base = (url or DEFAULT_URL).rstrip("/")
    session = BoundedSession(timeout=TIMEOUT)
    with killswitch_errors():
        response = session.get(f"{base}{path}")
    if response.status_code == 404 and _names_the_known(response.text):
        return None
    if response.status_code == 404:
        raise Unavailable(f"what answers at {shown(url)} is not a controller; give its address with --url")
    if not response.ok:
        why = response.text if response.status_code in (421, 503) else ""
        raise Unavailable(f"the controller at {shown(url)} answered {response.status_code} {why:.300}".rstrip())
    try:
        document = response.json()
    except ValueError as error:
        raise Unavailable(f"what answers at {shown(url)} is not a controller; give its address with --url") from error
    if not isinstance(document, dict):
        raise Unavailable(f"what answers at {shown(url)} is not a controller; give its address with --url")
    return document


def _names_the_known(body: str) -> bool:
    """Whether a 404 is a controller's: any server has one for a path that it does not serve."""
    try:
        return "known" in json.loads(body)
    except (ValueError, TypeError):
        return False
