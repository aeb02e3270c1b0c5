"""Asks a controller for its verdicts over HTTP, because the flag store has none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from killswitch.daemon.settings import without_secrets
from killswitch.errors import BadSettings, Unavailable

DEFAULT_URL = "http://127.0.0.1:8080"
TIMEOUT = 5.0
_ADDRESS = re.compile(r"https?://(?:[^\s/@]*@)?(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?(?:/\S*)?\Z")


class Misunderstood(Unavailable):
    """The server that answers is not a controller, or has another version."""


@contextmanager
def understood(url: str | None) -> Iterator[None]:
    """Raises Misunderstood if an answer has another shape than ours: anything may listen on a port."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise Misunderstood(
            f"the server at {shown(url)} is not a controller of this version "
            f"({type(error).__name__}); give the controller's address with --url"
        ) from error


def shown(url: str | None) -> str:
    """The controller's address without secrets, for messages."""
    return without_secrets(url or DEFAULT_URL).rstrip("/")


def no_answer(url: str | None) -> str:
    """That the controller does not answer, and how to name another."""
    return f"no controller answers at {shown(url)} (name another with --url or KILLSWITCH_URL)"


def ask(url: str | None, path: str) -> dict[str, Any] | None:
    """The controller's JSON answer, None if it does not know the rollout.

    Raises Unavailable, AccessDenied, or BadSettings for what is no address.
    """
    from killswitch.net.bounded_http import BoundedSession, killswitch_errors  # noqa: PLC0415  not every command asks

    base = (url or DEFAULT_URL).rstrip("/")
    if not _ADDRESS.match(base):
        raise BadSettings([f"--url {shown(url)}: write the controller's address, such as {DEFAULT_URL}"])
    session = BoundedSession(timeout=TIMEOUT)
    with killswitch_errors():
        response = session.get(f"{base}{path}")
    if response.status_code == 404 and _names_the_known(response.text):
        return None
    if response.status_code == 404:
        raise Unavailable(f"the server at {shown(url)} is not a controller; give the controller's address with --url")
    if not response.ok:
        why = response.text if response.status_code in (421, 503) else ""
        raise Unavailable(f"the controller at {shown(url)} answered {response.status_code} {why:.300}".rstrip())
    try:
        document = response.json()
    except ValueError as error:
        raise Unavailable(
            f"the server at {shown(url)} is not a controller; give the controller's address with --url"
        ) from error
    if not isinstance(document, dict):
        raise Unavailable(f"the server at {shown(url)} is not a controller; give the controller's address with --url")
    return document


def _names_the_known(body: str) -> bool:
    """Whether a 404 is from a controller: any server answers 404 for an unknown path."""
    try:
        return "known" in json.loads(body)
    except (ValueError, TypeError):
        return False
