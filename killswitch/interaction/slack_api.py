"""Slack's Web API, and the addresses that it gives for answers: every call bounded, no redirect followed.

Arguments are sent as a form, which every method takes. What Slack refuses is an error with its code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, KillswitchError, Refused, Unavailable
from killswitch.net.bounded_http import BoundedSession, excerpt, killswitch_errors, retry_after
from killswitch.net.credentials import TLS, Secret
from killswitch.pages.receivers.slack_codes import CODE, DENIED, LATER, MAYBE

MAX_BODY = 4 * 1024 * 1024  # a user group of an enterprise has many members
_ANSWERING = frozenset({"hooks.slack.com", "hooks.slack-gov.com"})


class SlackRefusal(Refused):
    """Slack answered, and said no. ``code`` as Slack names it, such as ``expired_trigger_id``."""

    def __init__(self, message: str, code: str) -> None:
        self.code = code
        super().__init__(message)


class SlackApi:
    """``base_url`` ends with a slash. Thread-safe."""

    def __init__(self, *, base_url: str, tls: TLS | None = None) -> None:
        self._base_url = base_url
        self._session = BoundedSession(tls=tls, max_body=MAX_BODY)

    def call(self, method: str, token: Secret, deadline: Deadline, **arguments: str) -> Mapping[str, Any]:
        """The answer's document. Raises SlackRefusal, AccessDenied, Unavailable; OutcomeUnknown is never raised."""
        headers = {"Authorization": f"Bearer {token.reveal()}"}
        with killswitch_errors(), self._session.deadline(deadline):
            response = self._session.post(
                f"{self._base_url}{method}", data=arguments, headers=headers, allow_redirects=False
            )
        try:
            document = json.loads(response.content)
        except (ValueError, RecursionError):
            document = None
        said = _said(document)
        if response.status_code == 429 or said in LATER | MAYBE:
            raise Unavailable(f"Slack {method}: {said or 'too many requests'}", retry_after=retry_after(response))
        if not isinstance(document, dict) or (response.status_code != 200 and said not in DENIED):
            raise Unavailable(f"Slack {method} answered {response.status_code} without a document")
        if document.get("ok") is not True:
            raise _refusal(method, said)
        return document

    def respond(self, url: str, message: Mapping[str, Any], deadline: Deadline) -> None:
        """Send an answer to the address that Slack gave for it. Raises Refused for any address but Slack's own."""
        if not self.may_answer(url):
            raise Refused("the address for the answer is none of Slack's; nothing was sent there")
        with killswitch_errors(change=True), self._session.deadline(deadline):
            response = self._session.post(url, json=dict(message), allow_redirects=False)
        if response.status_code != 200:
            raise Unavailable(f"Slack took no answer: {response.status_code} {excerpt(response.text, 80)}")

    def may_answer(self, url: str) -> bool:
        """Whether answers may be sent there: to Slack's own host, or, with another `base_url`, to its origin."""
        try:
            there, base = urlsplit(url), urlsplit(self._base_url)
            port = there.port
        except ValueError:
            return False
        if there.username is not None or there.password is not None or not url.isascii() or not url.isprintable():
            return False
        if there.scheme == "https" and there.hostname in _ANSWERING and port in (None, 443):
            return True
        foreign = not (base.hostname or "").endswith(("slack.com", "slack-gov.com"))
        return foreign and (there.scheme, there.hostname, port) == (base.scheme, base.hostname, base.port)

    def close(self) -> None:
        self._session.close()


def _said(document: object) -> str:
    code = document.get("error") if isinstance(document, dict) else None
    return code if isinstance(code, str) and CODE.match(code) else ""


def _refusal(method: str, code: str) -> KillswitchError:
    if code in DENIED:
        return AccessDenied(f"Slack {method}: {code}; check the token and its scopes (docs/slack.md)")
    return SlackRefusal(f"Slack {method}: {code or 'refused without a reason'}", code)
