"""Calls of Slack's Web API, and what each of its refusals means.

slack-sdk builds requests and checks answers. It would send them with urllib, which follows redirects with the token,
accepts bodies of any size, and has no total deadline; so `BoundedSession` sends them instead. slack-sdk does not retry,
because those who call do.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import Any
from urllib.request import Request

import requests
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web import SlackResponse, WebClient

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, KillswitchError, OutcomeUnknown, Refused, Unavailable
from killswitch.net.bounded_http import BoundedSession, excerpt, hiding, killswitch_errors
from killswitch.net.credentials import TLS, Secret
from killswitch.pages.receivers import MessageFixed, MessageGone
from killswitch.pages.receivers.posting import posting_errors
from killswitch.pages.receivers.slack_codes import CODE, DENIED, FIXED, LATER, MAYBE, NO_THREAD, PLACE

BASE_URL = WebClient.BASE_URL
# The status of a proxy in front of Slack that does not let a body through.
_BODY_REFUSED = frozenset({400, 413, 422})
_MAX_SAID = 300  # characters of what Slack says is wrong with a message


class WrongForm(Refused):
    """Slack refuses the form of the message, not its channel: a plainer message may be taken."""


class NoThread(Refused):
    """Slack refuses the reply, not the message."""


class _BoundedClient(WebClient):
    """slack-sdk's client, sending over `BoundedSession`; `test_slack.py` fails if a new release bypasses it."""

    def __init__(self, session: BoundedSession, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._session = session

    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:
        body = req.data if isinstance(req.data, bytes) else b""
        sent = dict(req.header_items())
        response = self._session.post(url, data=body, headers=sent, allow_redirects=False)
        headers = {name.lower(): value for name, value in response.headers.items()}
        # a proxy, or any other server at a wrong address, may repeat the token
        token = sent.get("Authorization", "").removeprefix("Bearer ")
        said = hiding(response.content.decode(errors="replace"), [token])
        return {"status": response.status_code, "headers": headers, "body": _json_object(said)}


def _json_object(text: str) -> str:
    """The body if it is a JSON object, else a text: slack-sdk raises AttributeError for any other JSON."""
    try:
        return text if isinstance(json.loads(text), dict) else f"no JSON object: {excerpt(text, 80)}"
    except (ValueError, RecursionError):
        return f"no JSON: {excerpt(text, 80)}"


class SlackCalls:
    """``token`` is read again for every call, so that a rotated token is used. ``base_url`` is Slack's Web API."""

    def __init__(
        self, token: Secret, *, base_url: str = BASE_URL, tls: TLS | None = None, proxy: str | None = None
    ) -> None:
        self._token = token
        self.base_url = base_url
        quiet = logging.getLogger("killswitch.pages.receivers.slack.sdk")
        quiet.setLevel(logging.CRITICAL)  # it would log bodies, and would log each failure that it raises
        self.session = BoundedSession(tls=tls, proxy=proxy, max_body=1024 * 1024)
        self._client = _BoundedClient(self.session, base_url=base_url, retry_handlers=[], logger=quiet)

    def call(
        self,
        method: str,
        body: Mapping[str, Any],
        deadline: Deadline,
        *,
        change: bool,
        form: bool = False,
    ) -> Mapping[str, Any]:
        """The answer to one call of ``method``.

        ``change``: the call posts or changes something, so an answer that is lost leaves the outcome unknown.
        ``form``: send ``body`` as a form, because not every method takes JSON. Raises Unavailable, OutcomeUnknown,
        AccessDenied, `WrongForm`, `NoThread`, `MessageGone`, `MessageFixed` or another Refused.
        """
        answer = self._answer(method, body, deadline, change=change, form=form)
        return answer.data if isinstance(answer.data, dict) else {}

    def scopes(self, deadline: Deadline) -> frozenset[str] | None:
        """What the token may do, as Slack says with each answer; None if it does not say. Raises as `call`."""
        headers = self._answer("auth.test", {}, deadline, change=False, form=False).headers
        given = headers.get("x-oauth-scopes") if isinstance(headers, dict) else None
        return frozenset(one.strip() for one in given.split(",")) if isinstance(given, str) else None

    def _answer(
        self, method: str, body: Mapping[str, Any], deadline: Deadline, *, change: bool, form: bool
    ) -> SlackResponse:
        headers = {"Authorization": f"Bearer {self._token.reveal()}"}
        sent = {"data" if form else "json": dict(body)}
        try:
            with posting_errors() if change else killswitch_errors(), self.session.deadline(deadline):
                return self._client.api_call(method, headers=headers, **sent)  # type: ignore[arg-type]  # one of two
        except SlackApiError as error:
            raise _meaning(method, error, change=change) from None  # its text has the whole answer
        except SlackClientError as error:
            raise Refused(f"Slack {method}: {type(error).__name__}") from None
        except requests.RequestException as error:
            raise Refused(f"Slack {method} could not be asked: {type(error).__name__}; check its base URL") from error


def _meaning(method: str, error: SlackApiError, *, change: bool) -> KillswitchError:
    """The error that an answer other than "ok" means: retry it, fix it, or outcome unknown."""
    response = error.response
    status: int = response.status_code
    given = str(response.data.get("error") if isinstance(response.data, dict) else None)
    code = given if CODE.match(given) else None
    said = f"Slack {method} answered {status} {excerpt(given, 80)}"
    if status == requests.codes.too_many_requests or code in LATER:
        return Unavailable(said, retry_after=_seconds(response.headers.get("retry-after")))
    if code in DENIED or status in {401, 403}:
        return AccessDenied(f"{said}; check the token and its scopes ({_needed(response.data)})")
    gateway_gave_up = status == requests.codes.gateway_timeout
    unsaid = status == requests.codes.ok and code is None
    if change and (code in MAYBE or gateway_gave_up or unsaid):
        return OutcomeUnknown(f"{said}; the message may have been posted")
    if status >= requests.codes.server_error or code in MAYBE or unsaid:
        return Unavailable(said, retry_after=_seconds(response.headers.get("retry-after")))
    return _final(said, code, status, response.data)


def _final(said: str, code: str | None, status: int, answer: object) -> Refused:
    """The error of a message that is refused for good: because of the reply, the channel, or the form."""
    if code in NO_THREAD:
        return NoThread(said)
    if code == "message_not_found":
        return MessageGone(said)
    if code in FIXED:
        return MessageFixed(said)
    if code in PLACE or (code is None and status not in _BODY_REFUSED):
        hint = "; invite the app to the channel or correct its name" if "channel" in str(code) else ""
        return Refused(f"{said}{hint}")
    return WrongForm(said + _complaints(answer))


def _needed(answer: object) -> str:
    """The scope that Slack says is missing; what pages need where it says nothing."""
    needed = answer.get("needed") if isinstance(answer, dict) else None
    return needed if isinstance(needed, str) and re.fullmatch(r"[a-z.:_,]{1,80}", needed) else "chat:write"


def _complaints(answer: object) -> str:
    """What Slack says is wrong with the message, such as ``[ERROR] … [json-pointer:/blocks/1/text]``; bounded."""
    metadata = answer.get("response_metadata") if isinstance(answer, dict) else None
    messages = metadata.get("messages") if isinstance(metadata, dict) else None
    if not isinstance(messages, list):
        return ""
    texts = [excerpt(one, 150) for one in messages[:5] if isinstance(one, str)]
    return f": {excerpt('; '.join(texts), _MAX_SAID)}" if texts else ""


def _seconds(text: object) -> float | None:
    return float(text) if isinstance(text, str) and re.fullmatch(r"[0-9]{1,9}", text.strip()) else None
