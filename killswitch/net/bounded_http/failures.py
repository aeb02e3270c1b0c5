"""Failures of HTTP calls: one sentence for each, and what the caller may do about it."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import requests

from killswitch.errors import AccessDenied, KillswitchError, OutcomeUnknown, Refused, Unavailable
from killswitch.net.bounded_http.sockets import Call

_MAX_REPEATED: Final = 64 * 1024  # bytes of an answer that are searched for secrets


class NoAnswer(requests.RequestException):
    """A call ended without a usable response.

    ``failure`` is what to raise outside (Unavailable, or AccessDenied if waiting does not help).
    ``sent`` says that bytes of the request may have reached the server; when false, surely nothing
    was changed there.
    """

    def __init__(self, failure: Unavailable | AccessDenied, *, sent: bool) -> None:
        self.failure = failure
        self.sent = sent
        super().__init__(str(failure))


_CERTIFICATE: Final[Mapping[int, str]] = {
    9: "its certificate is not valid yet (check both clocks)",
    10: "its certificate has expired; renew it on the server",
    18: "its certificate is self-signed; give its CA as the TLS CA file",
    19: "its certificate comes from a CA we do not trust; give that CA as the TLS CA file",
    20: "its certificate comes from a CA we do not trust; give that CA as the TLS CA file",
    21: "its certificate comes from a CA we do not trust; give that CA as the TLS CA file",
    62: "its certificate is for another name; use a name that is in it",
    64: "its certificate is for another address; use a name or address that is in it",
}


def no_answer(error: BaseException, target: str, call: Call) -> NoAnswer:
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = _CERTIFICATE.get(cause.verify_code, cause.verify_message)
            return NoAnswer(AccessDenied(f"TLS with {target} failed: {why}"), sent=False)
        if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
            # With TLS 1.3 the server's view of our certificate comes when the request is under way;
            # a server that says so has not looked at the request.
            alert = re.sub(r".*ALERT_", "", cause.reason or "").replace("_", " ").lower()
            return NoAnswer(
                AccessDenied(f"{target} refuses our TLS certificate or its absence ({alert}); see its TLS settings"),
                sent=False,
            )
        if isinstance(cause, ssl.SSLError) and cause.reason in {
            "WRONG_VERSION_NUMBER",
            "HTTP_REQUEST",
            "RECORD_LAYER_FAILURE",
        }:
            return NoAnswer(AccessDenied(f"{target} does not speak TLS; use http:// or turn TLS on there"), sent=False)
    return NoAnswer(Unavailable(f"{target} {_unavailable_because(chain, call)}"), sent=call.sent)


# (what happened, how to say it before the request was sent, and after)
_WHY: Final[tuple[tuple[type[OSError] | tuple[type[OSError], ...], str, str], ...]] = (
    (socket.gaierror, "cannot be found ({why}); check the name and DNS", "cannot be found ({why})"),
    (ConnectionRefusedError, "refuses the connection; is it running and is the port right?", "refuses the connection"),
    (TimeoutError, "cannot be reached in time (no connection could be made)", "did not answer in time"),
    (
        (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError),
        "cut the connection at once; does this port speak TLS if the URL says so?",
        "cut the connection",
    ),
)


def _unavailable_because(chain: list[BaseException], call: Call) -> str:
    for cause in chain:
        for kinds, before, after in _WHY:
            if isinstance(cause, kinds):
                return (after if call.sent else before).format(why=getattr(cause, "strerror", None))
    if call.deadline.expired:
        return "did not answer in time"
    if any(isinstance(cause, http.client.BadStatusLine) for cause in chain):
        return "gave an answer that is not in HTTP/1.1"
    names = " / ".join(dict.fromkeys(type(cause).__name__ for cause in chain))
    return f"gave no usable HTTP answer ({names})" if call.sent else f"cannot be reached ({names})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all its causes; the libraries nest in ``__cause__``, ``reason`` and ``args``."""
    seen: set[int] = set()
    stack: list[object] = [error]
    while stack:
        item = stack.pop()
        if not isinstance(item, BaseException) or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        stack += [item.__context__, item.__cause__, getattr(item, "reason", None), *item.args]


def origin_of(url: str) -> str:
    """``https://host:port``, for messages and comparisons: no path, no query, no user."""
    parts = urlsplit(url)
    try:
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        port = None
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


@contextmanager
def killswitch_errors(*, change: bool = False) -> Iterator[None]:
    """Turns `NoAnswer`, however deep a client library has wrapped it, into the errors of `killswitch.errors`.

    With ``change`` a request that had been sent and got no answer raises OutcomeUnknown; else, and
    for anything surely not sent, Unavailable or AccessDenied.
    """
    try:
        yield
    except KillswitchError:
        raise
    except Exception as error:
        no_answer = find_no_answer(error)
        if no_answer is None and isinstance(error, (requests.JSONDecodeError, RecursionError)):
            no_answer = NoAnswer(Unavailable("the answer is not JSON; is the address right?"), sent=True)
        if no_answer is None:
            raise
        if change and no_answer.sent:
            raise OutcomeUnknown(f"{no_answer}; the change may have been made: read again") from error
        raise no_answer.failure from error


def find_no_answer(error: BaseException) -> NoAnswer | None:
    """The `NoAnswer` an error was made from, however a client library has wrapped it."""
    return next((cause for cause in _causes(error) if isinstance(cause, NoAnswer)), None)


def refusal(response: requests.Response, *, secrets: Iterable[str] = ()) -> Unavailable | Refused | None:
    """What a status of 400 or more means for the caller, None for any other; a pure look at the status.

    401, 403 and 407 are AccessDenied; 408, 425, 429 and 5xx are Unavailable with ``retry_after``; the
    rest is Refused. The message holds the first 200 printable characters of the body, and none of ``secrets``
    (parts of the address, a key that was sent): servers repeat what they were asked.
    """
    status = response.status_code
    if status < requests.codes.bad_request:
        return None
    where = f"{origin_of(response.url)}{urlsplit(response.url).path}"
    body = hiding(response.content[:_MAX_REPEATED].decode(errors="replace"), secrets)
    reason = hiding((response.reason or "")[:_MAX_REPEATED], secrets)
    said = f"{hiding(where, secrets)} answered {status} {excerpt(reason, 60)}: {excerpt(body)}"
    if status in {401, 403, 407}:
        return AccessDenied(f"{said}; check the credentials and what they permit")
    if status in {408, 425, 429} or status >= requests.codes.server_error:
        return Unavailable(said, retry_after=retry_after(response))
    return Refused(said)


def hiding(text: str, secrets: Iterable[str]) -> str:
    """The text without any of ``secrets``, in each spelling that addresses use."""
    # the longest first: a shorter one that it contains must not leave its end readable
    for secret in sorted(secrets, key=len, reverse=True):
        for spelling in {secret, unquote(secret), quote(secret, safe="")}:
            text = text.replace(spelling, "[hidden]") if spelling else text
    return text


def retry_after(response: requests.Response) -> float | None:
    """The wait in seconds that ``Retry-After`` asks for (a number or a date); None if it is absent or no such value."""
    text = response.headers.get("Retry-After", "").strip()[:64]
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def excerpt(text: str | bytes, length: int = 200) -> str:
    """The beginning of a server's text, on one printable line."""
    if isinstance(text, bytes):
        text = text[: 4 * length].decode(errors="replace")
    flat = " ".join(text.split())
    shown = "".join(character if character.isprintable() else "?" for character in flat[:length])
    return shown + ("…" if len(flat) > length else "")
