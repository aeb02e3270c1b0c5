"""Asking a controller over HTTP what it thinks; the flag store alone knows no verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from killswitch.bounded_http import BoundedSession, killswitch_errors
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
            f"what answers at {(url or DEFAULT_URL).rstrip('/')} is not a controller of this version "
            f"({type(error).__name__}); give its address with --url"
        ) from error


def ask(url: str | None, path: str) -> dict[str, Any] | None:
    """The controller's JSON answer, None for 404. Raises Unavailable, AccessDenied."""
    base = (url or DEFAULT_URL).rstrip("/")
    session = BoundedSession(timeout=TIMEOUT)
    with killswitch_errors():
        response = session.get(f"{base}{path}")
    if response.status_code == requests.codes.not_found:
        return None
    if not response.ok:
        raise Unavailable(f"the controller at {base} answered {response.status_code}")
    try:
        document = response.json()
    except ValueError as error:
        raise Unavailable(f"what answers at {base} is not a controller; give its address with --url") from error
    if not isinstance(document, dict):
        raise Unavailable(f"what answers at {base} is not a controller; give its address with --url")
    return document
