"""Was a call refused for money or quota? That says nothing about the model, so it is never an error of the canary.

HTTP 402 and 429, and the providers' spend codes: ``insufficient_quota``, ``billing_hard_limit_reached`` and
``project_spend_limit_exceeded`` (OpenAI), ``budget_exceeded`` (LiteLLM and other gateways), ``rate_limit_error``
(Anthropic). They are read from exceptions of SDKs, and from error objects that come as answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from killswitch.router.payload_fields import field

SPEND_CODES = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "project_spend_limit_exceeded",
        "budget_exceeded",
        "credit_balance_too_low",
    }
)
_RATE_CODES = frozenset({"rate_limit_exceeded", "rate_limit_error", "too_many_requests"})
_NAMES = frozenset({"RateLimitError", "BudgetExceededError"})
# raised before a request was sent: nothing can have been billed
_NEVER_SENT = frozenset({"ConnectionRefusedError", "gaierror", "ConnectError", "ConnectTimeout", "PoolTimeout"})


def status_of(failure: object) -> int | None:
    """The HTTP status of an exception of an SDK (or of an error object), None where it has none."""
    for holder in (failure, _read(failure, "response")):
        for name in ("status_code", "status", "code"):
            value = _read(holder, name)
            if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
                return value
    return None


def codes_of(failure: object) -> frozenset[str]:
    """Every ``code`` and ``type`` that an exception, or its body, or an error object says."""
    body = _read(failure, "body")
    holders = (failure, body, _read(failure, "error"), _read(body, "error"))
    found = (_read(holder, name) for holder in holders for name in ("code", "type"))
    return frozenset(code for code in found if isinstance(code, str))


def is_budget(failure: object) -> bool:
    """Whether the call was refused for money or quota."""
    if status_of(failure) in (402, 429) or codes_of(failure) & (SPEND_CODES | _RATE_CODES):
        return True
    return isinstance(failure, BaseException) and any(kind.__name__ in _NAMES for kind in type(failure).__mro__)


def is_spent(failure: object) -> bool:
    """Whether money has run out, and not only this minute's quota."""
    return status_of(failure) == 402 or bool(codes_of(failure) & SPEND_CODES)


def was_never_sent(error: BaseException) -> bool:
    """Whether the connection failed before anything was sent, by the names of the exception and its causes.

    Only causes that are named as such (``raise … from``) count. ``__context__`` is whatever was handled just then, such
    as a first address that refused before the second took the request.
    """
    one: BaseException | None = error
    for _ in range(10):
        if one is None:
            return False
        if any(kind.__name__ in _NEVER_SENT for kind in type(one).__mro__):
            return True
        one = one.__cause__
    return False


def retry_after(headers: object) -> float | None:
    """Seconds of a ``Retry-After`` header; None without one, or where it is a date."""
    return _seconds(_read(headers, "retry-after") or _read(headers, "Retry-After"))


def retry_after_of(failure: object) -> float | None:
    return retry_after(headers_of(failure))


def headers_of(failure: object) -> object:
    """The headers of the response that an exception of an SDK carries; None without one. Never raises."""
    return _read(_read(failure, "response"), "headers")


def _seconds(text: object) -> float | None:
    try:
        seconds = float(str(text))
    except Exception:  # noqa: BLE001  # a foreign header object
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _read(holder: object, name: str) -> object:
    try:
        get = getattr(holder, "get", None)  # headers of httpx are no Mapping of the plain kind, and have `get`
        if isinstance(holder, Mapping) or ("-" in name and callable(get)):
            return get(name) if callable(get) else None
        return field(holder, name)
    except Exception:  # noqa: BLE001  # a property of a foreign object
        return None
