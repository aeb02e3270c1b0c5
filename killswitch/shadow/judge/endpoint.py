"""Asks a judge's model once: at an OpenAI-compatible chat completions endpoint, or Anthropic's messages endpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import requests

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, BadSettings, Refused, Unavailable
from killswitch.net.bounded_http import BoundedSession, find_no_answer, refusal
from killswitch.net.bounded_http.failures import origin_of
from killswitch.net.credentials import TLS, HttpCredentials, Secret
from killswitch.shadow.judge.prompt import Question

Api = Literal["openai", "anthropic"]
TokensField = Literal["max_tokens", "max_completion_tokens"]

MAX_BODY: Final = 1024 * 1024  # bytes of an answer
ANTHROPIC_VERSION: Final = "2023-06-01"


class SpendLimitReached(Refused):
    """The provider refuses for money: a spend cap, a quota, no credit. Asking again does not help today."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the judge's model answered. ``usage``: the provider's own object. ``model``: what says it answered."""

    text: str
    model: str
    usage: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class AskFailed:
    """One call without a usable reply.

    ``again``: the same call may succeed soon (429, 5xx). ``retry_after``: seconds the provider asks for, or None.
    ``billed``: it may have been paid for all the same, so its reservation is not given back.
    """

    why: str
    again: bool
    billed: bool
    retry_after: float | None = None


class JudgeEndpoint:
    """``url``: the API's base (``https://api.openai.com/v1``), or the endpoint itself, whose query is kept.

    ``key``: read from its file with each call, and never shown. ``timeout``: seconds for one call, in total.
    ``temperature`` None is not sent: some models refuse it. Raises BadSettings.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        protocol: Api = "openai",
        key: Secret | None = None,
        timeout: float = 60.0,
        max_output_tokens: int = 400,
        temperature: float | None = 0.0,
        tokens_field: TokensField = "max_tokens",
        tls: TLS | None = None,
        proxy: str | None = None,
    ) -> None:
        self.url = endpoint_url(url, protocol)
        self.model = model
        self.max_output_tokens = max_output_tokens
        self._protocol = protocol
        self._temperature = temperature
        self._tokens_field = tokens_field if protocol == "openai" else "max_tokens"
        self._session = BoundedSession(
            timeout=timeout, max_body=MAX_BODY, credentials=_credentials(key, protocol), tls=tls, proxy=proxy
        )

    def ask(self, asked: Question, deadline: Deadline) -> Reply | AskFailed:
        """The reply, or why there is none. Never retries.

        Raises what stops the whole judge: SpendLimitReached, AccessDenied (key, permissions, TLS), Refused (a wrong
        address or an unknown model).
        """
        body = json.dumps(self._body(asked)).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._protocol == "anthropic":
            headers["anthropic-version"] = ANTHROPIC_VERSION
        try:
            with self._session.deadline(deadline):
                response = self._session.post(self.url, data=body, headers=headers, allow_redirects=False)
        except (requests.RequestException, ValueError) as error:
            return _no_answer(error)
        failed = _failure(response)
        if failed is not None:
            return failed
        return _reply(response, self._protocol, self.model)

    def _body(self, asked: Question) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.model, self._tokens_field: self.max_output_tokens}
        if self._temperature is not None:
            body["temperature"] = self._temperature
        user = {"role": "user", "content": asked.user}
        if self._protocol == "anthropic":
            return {**body, "system": asked.system, "messages": [user]}
        return {**body, "messages": [{"role": "system", "content": asked.system}, user]}

    def close(self) -> None:
        self._session.close()


_PATHS: Final[Mapping[Api, str]] = {"openai": "/chat/completions", "anthropic": "/messages"}


def endpoint_url(url: str, protocol: Api) -> str:
    """``https://host`` and ``https://host/v1`` -> the endpoint of the protocol. Raises BadSettings."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadSettings(["judge, url: write https://host/v1"])
    if parts.username is not None or parts.password is not None:
        raise BadSettings(["judge, url: it must not hold a user or a password; name a file with `key_file`"])
    path, end = parts.path.rstrip("/"), _PATHS[protocol]
    if not path.endswith(end):
        path += ("" if re.search(r"/v\d+[a-z0-9]*(?:/openai)?\Z", path) else "/v1") + end
    return parts._replace(path=path, fragment="").geturl()


def _credentials(key: Secret | None, protocol: Api) -> HttpCredentials | None:
    if key is None:
        return None
    return HttpCredentials(extra={"x-api-key": key}) if protocol == "anthropic" else HttpCredentials(bearer=key)


def _no_answer(error: Exception) -> AskFailed:
    """Raises AccessDenied if waiting does not help."""
    no_answer = find_no_answer(error)
    if no_answer is None:
        raise error
    if isinstance(no_answer.failure, AccessDenied):
        raise no_answer.failure from error
    # A call that was sent and brought no answer is not asked again: it may have been answered, and paid for.
    return AskFailed(str(no_answer), again=False, billed=no_answer.sent)


_SPEND_STATUS: Final = frozenset({400, 402, 403, 429})
# codes and sentences by which providers and gateways refuse for money
_SPEND: Final = re.compile(
    r"insufficient_quota|spend(?:ing)?[ _](?:limit|cap)|credits are depleted|billing_(?:hard_)?limit"
    r"|billing_not_active|billing_error"
    r"|credit balance|insufficient (?:credits?|balance|funds)|insufficient_(?:credits?|balance|funds)"
    r"|budget_exceeded|budget has been exceeded|exceeded budget|payment required",
    re.IGNORECASE,
)
_BUSY: Final = frozenset({503, 529})  # refused before any work
_HINTS: Final[Mapping[str, str]] = {
    "temperature": "the model refuses `temperature`: set `temperature: null`",
    "max_completion_tokens": "the model wants `max_completion_tokens`: set `tokens_field: max_completion_tokens`",
}


def refused_for_money(status: int, body: str) -> bool:
    """Whether an answer says that the account has no money or quota left, so that asking again does not help."""
    return status == requests.codes.payment_required or (
        status in _SPEND_STATUS and _SPEND.search(body[:MAX_BODY]) is not None
    )


def _failure(response: requests.Response) -> AskFailed | None:
    """None if the call was answered. Raises what stops the judge."""
    status = response.status_code
    said = response.content[:MAX_BODY].decode(errors="replace")
    problem = refusal(response)
    if refused_for_money(status, said):
        raise SpendLimitReached(f"{problem}; the judge's account is out of money or quota: raise its limit")
    if isinstance(problem, AccessDenied):
        raise problem
    if status == requests.codes.not_found:
        raise Refused(f"{problem}; check the judge's `url` and `model`")
    if isinstance(problem, Unavailable):
        billed = status >= requests.codes.server_error and status not in _BUSY
        return AskFailed(_without_body(response), again=True, billed=billed, retry_after=problem.retry_after)
    if isinstance(problem, Refused):
        hint = next((hint for word, hint in _HINTS.items() if word in said), None)
        if hint is not None:
            raise Refused(f"{problem}; {hint}")
        return AskFailed(_without_body(response), again=False, billed=False)  # too long, or refused by a filter
    if status != requests.codes.ok:
        raise Refused(f"{urlsplit(response.url).netloc} answered {status}; put the final address into `url`")
    return None


def _without_body(response: requests.Response) -> str:
    """The status and the error's code. Why a call failed is kept, and a body may repeat the answers."""
    try:
        error = json.loads(response.content)["error"]
        code = next((error[name] for name in ("code", "type") if isinstance(error.get(name), str)), "")
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        code = ""
    named = f" ({code})" if re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", code, re.ASCII) else ""
    return f"{origin_of(response.url)} answered {response.status_code}{named}"


def _reply(response: requests.Response, protocol: Api, asked: str) -> Reply | AskFailed:
    try:
        document = json.loads(response.content)
        usage, model = document.get("usage"), document.get("model")
        text = _text_of(document, protocol)
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
        return AskFailed(
            "the answer has not the form of the protocol; check `url` and `protocol`", again=False, billed=True
        )
    return Reply(text, model if isinstance(model, str) else asked, usage if isinstance(usage, dict) else None)


def _text_of(document: Mapping[str, Any], protocol: Api) -> str:
    """The reply's text; "" for a refusal, which is no verdict. Raises KeyError, TypeError … for any other form."""
    if protocol == "anthropic":
        blocks = document["content"]
        return "".join(str(block["text"]) for block in blocks if block["type"] == "text")
    content = document["choices"][0]["message"]["content"]
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(str(part["text"]) for part in content if part["type"] == "text")
