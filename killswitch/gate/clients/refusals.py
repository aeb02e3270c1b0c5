"""What a provider's error response means: OpenAI's, Anthropic's and Gemini's forms, and those of what imitates them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

from killswitch.gate.call_failures import CallFailure, FailedCall
from killswitch.net.bounded_http.failures import hiding
from killswitch.roles.absence import Absence, absence_of
from killswitch.shadow.judge.endpoint import refused_for_money
from killswitch.wording import plain

MAX_BODY: Final = 64 * 1024  # characters of an error's body that are looked at
LONGEST_SAID: Final = 200  # characters of it that are shown
_NO_ACCESS: Final = frozenset({401, 403, 407})
_NOT_BILLED: Final = frozenset({503, 529})  # refused before any work
_BUSY: Final = frozenset({408, 425, 409})
# Gemini answers 400 to a wrong key
_WRONG_KEY: Final = re.compile(r"API_KEY_INVALID|API key not valid|API key expired|API_KEY_EXPIRED")
_NOT_TAKEN: Final = re.compile(
    r"unsupported|not support|unknown (?:name|parameter|field)|unrecogni[sz]ed|extra inputs|not permitted|deprecated"
    r"|cannot both|can ?not be (?:used|specified|set)|cannot find field|not allowed|not enabled|no longer"
    r"|only the default",
    re.IGNORECASE,
)
_NOT_TAKEN_CODES: Final = frozenset({"unsupported_parameter", "unsupported_value", "unknown_parameter"})
# OpenAI's 429 for a prompt over the limit a minute: no wait helps, and each try holds all other rows up
_TOO_LARGE: Final = re.compile(r"request too large|tokens must be reduced", re.IGNORECASE)
_CUT_SHORT: Final = re.compile(r"max_tokens or model output limit was reached", re.IGNORECASE)


def failed_response(
    status: int,
    body: str,
    headers: Mapping[str, str],
    *,
    model: str,
    sent: Iterable[str],
    secrets: Iterable[str] = (),
    where: str = "the provider",
) -> FailedCall:
    """What an HTTP status of 400 or more with this body says. ``sent``: the names of the parameters of the request."""
    body = body[:MAX_BODY]
    errors = tuple(_errors(body))
    said = _said(errors, body)
    shown = plain(hiding(said, secrets), LONGEST_SAID)
    sentence = f"{where} answered {status} for {plain(model, 80)}" + (f": {shown.rstrip('.')}" if shown else "")
    if refused_for_money(status, body):
        return FailedCall(
            CallFailure.NO_MONEY, f"{sentence}; the account has no money or quota: raise its limit", False
        )
    if status in _NO_ACCESS or (status == 400 and _WRONG_KEY.search(body)):
        fix = "check the role's `key_file`, and what the key permits"
        return FailedCall(CallFailure.NO_ACCESS, f"{sentence}; {fix}", False)
    absence = absence_of(status, body, model)
    if absence is not None or status in (404, 410):
        fix = (
            "is the model's id right? If it is asked at another provider, name that under `models` in the role file"
            if absence is Absence.CLEAR
            else "are the role's `url` and the model's id right?"
        )
        return FailedCall(CallFailure.UNKNOWN_MODEL, f"{sentence}; {fix}", False, absence=absence)
    if status == 429 and not _TOO_LARGE.search(said):
        wait = retry_after(headers, errors)
        return FailedCall(CallFailure.RATE_LIMITED, sentence, False, retry_after=wait)
    if status >= 500 or status in _BUSY:
        billed = status >= 500 and status not in _NOT_BILLED
        return FailedCall(CallFailure.TRANSIENT, sentence, billed, retry_after=retry_after(headers, errors))
    refused = refused_parameter(errors, said, tuple(sent)) if status in (400, 422) else None
    cut_short = _CUT_SHORT.search(said) is not None
    return FailedCall(CallFailure.BAD_REQUEST, sentence, cut_short, refused=refused, cut_short=cut_short)


def refused_parameter(errors: Iterable[Mapping[str, Any]], said: str, sent: tuple[str, ...]) -> str | None:
    """The parameter of the request that the model does not take; None where the error is about something else.

    A value out of range is the role file's mistake and no parameter that the model refuses.
    """
    errors = tuple(errors)
    codes = {str(error.get("code")) for error in errors} | {str(error.get("type")) for error in errors}
    if not codes & _NOT_TAKEN_CODES and not _NOT_TAKEN.search(said):
        return None
    named = [str(error.get("param")).partition(".")[0] for error in errors if error.get("param")]
    places = {name: found.start() for name in sent if (found := _mention(name, said)) is not None}
    by_place = sorted(places, key=lambda name: places[name])
    for name in named:
        if name in sent:
            return name
    if not by_place:
        return None
    return by_place[-1] if re.search(r"\bboth\b", said) else by_place[0]


def _mention(name: str, said: str) -> re.Match[str] | None:
    """The name as a whole word: in snake case, or as Gemini's JSON spells it."""
    camel = re.sub(r"_([a-z])", lambda found: found[1].upper(), name)
    return re.search(rf"(?<![\w.])(?:{re.escape(name)}|{re.escape(camel)})(?![\w])", said)


def retry_after(headers: Mapping[str, str], errors: Iterable[Mapping[str, Any]] = ()) -> float | None:
    """Seconds to wait: ``retry-after-ms``, ``Retry-After`` (seconds or a date), or Gemini's RetryInfo."""
    lower = {name.lower(): value.strip()[:64] for name, value in headers.items()}
    if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", lower.get("retry-after-ms", ""), re.ASCII):
        return float(lower["retry-after-ms"]) / 1000.0
    text = lower.get("retry-after", "")
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return _retry_info(errors)


def _retry_info(errors: Iterable[Mapping[str, Any]]) -> float | None:
    for error in errors:
        details = error.get("details")
        for detail in details if isinstance(details, list) else ():
            delay = detail.get("retryDelay") if isinstance(detail, dict) else None
            if isinstance(delay, str) and re.fullmatch(r"\d{1,6}(\.\d{1,9})?s", delay, re.ASCII):
                return float(delay[:-1])
    return None


def _errors(body: str) -> Iterator[Mapping[str, Any]]:
    """The error objects of a body: wrapped in ``error`` (OpenAI, Anthropic, Gemini), in a list, or in nothing."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return
    for one in document[:1] if isinstance(document, list) else [document]:
        if isinstance(one, dict):
            wrapped = one.get("error")
            yield wrapped if isinstance(wrapped, dict) else one


def _said(errors: Iterable[Mapping[str, Any]], body: str) -> str:
    """The error's own message. A page of HTML and other bodies are not repeated: they may repeat the request."""
    for error in errors:
        for name in ("message", "detail", "error"):
            if isinstance(message := error.get(name), str):
                return message
        if error.get("detail") is not None:  # FastAPI's list of what is wrong, as vLLM and others send it
            return json.dumps(error["detail"])[:2000]
    return "a page of HTML, not an API's answer" if body.lstrip()[:1] == "<" else ""
