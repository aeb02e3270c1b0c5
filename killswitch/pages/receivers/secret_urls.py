"""Addresses that are secrets: a webhook's URL often carries its key. No error, log line or reference may show one."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import requests
from requests.utils import get_auth_from_url

from killswitch.errors import AccessDenied, KillswitchError


@contextmanager
def unspoken(secret: object) -> Iterator[None]:
    """No error shows the URL, neither in its text nor in its cause. ``secret``: what messages call it."""
    try:
        yield
    except KillswitchError as error:
        raise error from None
    except (requests.RequestException, ValueError):
        raise AccessDenied(f"{secret} has no valid URL; write https://host/path there") from None


def secret_parts(url: str) -> list[str]:
    """The parts of a URL that must not be shown: path, query, each longer piece of them, and the user info as sent."""
    parts = urlsplit(url)
    user, password = get_auth_from_url(url)
    sent = base64.b64encode(f"{user}:{password}".encode("latin-1", "replace")).decode() if user or password else ""
    pieces = [piece for piece in re.split(r"[/?&=;]", f"{parts.path}?{parts.query}") if len(piece) >= 4]
    return [part for part in (parts.path.rstrip("/"), parts.query, *pieces, sent, password) if part]
