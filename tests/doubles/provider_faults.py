"""What a provider's double sends instead of an answer, each fault as it is on the wire, and what it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

QUOTA: Final = b"quota"  # stands for the provider's own words


@dataclass(frozen=True)
class ProviderFault:
    """What comes instead of an answer.

    ``body`` None: as the provider words an error of this status. ``cut``: bytes of the answer after which the
    connection is closed. ``hang``: no answer until the server closes. ``drip``: seconds between bytes of the answer.
    ``changes``: the answer comes, with these fields; None deletes one. ``billed``: whether tokens count as paid.
    """

    status: int = 200
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    hang: bool = False
    drip: float | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    billed: bool = False


def rate_limited(retry_after: float | str | None = None, **headers: str) -> ProviderFault:
    given = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return ProviderFault(429, headers={**given, **{name.replace("_", "-"): value for name, value in headers.items()}})


def out_of_money() -> ProviderFault:
    return ProviderFault(429, body=QUOTA)


def refused_key() -> ProviderFault:
    return ProviderFault(401)


def server_error(status: int = 500) -> ProviderFault:
    return ProviderFault(status)


def html(status: int = 200) -> ProviderFault:
    return ProviderFault(
        status, b"<html><body>Bad gateway</body></html>", {"Content-Type": "text/html"}, billed=status == 200
    )


def half_json() -> ProviderFault:
    return ProviderFault(body=b'{"id": "chatcmpl-1", "choices": [{"mess', billed=True)


def garbage() -> ProviderFault:
    return ProviderFault(body=b"[1, 2]", billed=True)


def another_model(name: str) -> ProviderFault:
    return ProviderFault(changes={"model": name, "modelVersion": name}, billed=True)


def no_usage() -> ProviderFault:
    return ProviderFault(changes={"usage": None, "usageMetadata": None}, billed=True)


def disconnect(after: int = 0) -> ProviderFault:
    """The connection is closed after this many bytes of the answer's body; 0: before its first byte."""
    return ProviderFault(cut=after, billed=True)


def hang() -> ProviderFault:
    return ProviderFault(hang=True, billed=True)


def drip(seconds: float) -> ProviderFault:
    return ProviderFault(drip=seconds, billed=True)


@dataclass(frozen=True)
class AskedOfProvider:
    """One request as it arrived. ``prompt``: the last message's text."""

    model: str
    prompt: str
    system: str
    body: dict[str, Any]
    headers: Mapping[str, str]
    path: str
