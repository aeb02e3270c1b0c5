"""Pages as JSON, posted to a URL, for any receiver that takes HTTP requests."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

import requests

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, OutcomeUnknown, Refused, Unavailable
from killswitch.net.bounded_http import BoundedSession, hiding, killswitch_errors, refusal
from killswitch.net.credentials import TLS, HttpCredentials, Secret
from killswitch.pages.page import Page
from killswitch.pages.receivers.posting import posting_errors
from killswitch.pages.receivers.secret_urls import secret_parts, unspoken
from killswitch.pages.receivers.slack_markup import message_text
from killswitch.pages.receivers.webhook_signature import Signer

_log = logging.getLogger(__name__)
# The receiver understood the request and refuses its body.
_BODY_REFUSED = frozenset({400, 413, 415, 422})
SHORT_NAMES = (
    *("alert", "reason", "stage", "ts", "samples_new", "samples_old", "auto_action"),
    *("page", "kind", "rollout", "generation", "severity", "good_news", "headline"),
)
_MAX_REFERENCE = 200
_LONG = 8
_GATEWAY_TIMEOUT = 504


class WebhookPager:
    """Posts each page's payload to the URL that ``url`` holds (a secret: such URLs often carry a token).

    ``Idempotency-Key`` is the page's id, the same for every copy. ``X-Killswitch-Possible-Repeat`` says that an earlier
    copy may have arrived. Only an answer of 2xx counts as taken. A receiver that refuses the document (400, 413, 415,
    422) gets `short_document` at once, under the same key. With a ``signer`` every request is signed.
    """

    name = "webhook"

    def __init__(
        self,
        url: Secret,
        *,
        signer: Signer | None = None,
        credentials: HttpCredentials | None = None,
        tls: TLS | None = None,
        proxy: str | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._signer = signer
        self._wall = wall
        self._session = BoundedSession(credentials=credentials, tls=tls, proxy=proxy, max_body=1024 * 1024)

    def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:
        """The ``id`` of a JSON answer, or "". Raises as `killswitch.pages.receivers.Pager.send`."""
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": _header_text(page.id),
            "X-Killswitch-Possible-Repeat": "true" if possible_repeat else "false",
        }
        url = self._checked_url()
        response = self._post(url, {**page.payload, "possible_repeat": possible_repeat}, headers, deadline)
        if response.status_code in _BODY_REFUSED:
            problem = refusal(response, secrets=secret_parts(url))
            _log.warning("page %s: %s; sending the short document instead", page.id, problem)
            response = self._post(url, short_document(page, possible_repeat=possible_repeat), headers, deadline)
        if response.status_code == _GATEWAY_TIMEOUT:
            raise OutcomeUnknown("the webhook's gateway gave up waiting (504): the page may have been taken")
        problem = refusal(response, secrets=secret_parts(url))
        if problem is not None:
            raise problem
        if not response.ok or response.is_redirect or response.status_code >= requests.codes.multiple_choices:
            raise Refused(f"the webhook answered {response.status_code}, not 2xx; give its final address")
        # The reference is logged and stored. A short word of the path is no secret, and may be part of it.
        long = [part for part in secret_parts(url) if len(part) >= _LONG]
        return _header_text(hiding(self._session.showable(_reference(response).encode()).decode(), long))

    def _post(
        self, url: str, document: dict[str, Any], headers: dict[str, str], deadline: Deadline
    ) -> requests.Response:
        # ASCII escapes, so that no receiver has to guess an encoding.
        body = json.dumps(document, allow_nan=False).encode()
        if self._signer is not None:
            headers = {**headers, **self._signer.headers(headers["Idempotency-Key"], self._wall(), body)}
        with unspoken(self._url), posting_errors(), self._session.deadline(deadline):
            return self._session.post(url, data=body, headers=headers, allow_redirects=False)

    def answers(self, deadline: Deadline) -> None:
        """Ask whether the receiver answers, with OPTIONS, which changes nothing."""
        url = self._checked_url()
        with unspoken(self._url), killswitch_errors(), self._session.deadline(deadline):
            response = self._session.options(url, allow_redirects=False)
        problem = refusal(response, secrets=secret_parts(url))
        if isinstance(problem, Unavailable) and response.status_code != requests.codes.not_implemented:
            raise problem

    def _checked_url(self) -> str:
        url = self._url.reveal()
        if not url.startswith(("https://", "http://")):
            raise AccessDenied(f"the webhook's URL in {self._url} must begin with https:// or http://")
        return url


def short_document(page: Page, *, possible_repeat: bool) -> dict[str, Any]:
    """The document for a receiver that refuses the whole one: flat, small, and with ``text``.

    ``text`` is the page in words with Slack's escapes, its mention first. So the URL of a Slack incoming webhook works
    as well: it needs ``text`` and ignores the other names.
    """
    kept = {name: page.payload.get(name) for name in SHORT_NAMES}
    return {
        **kept,
        "text": message_text(page, possible_repeat=possible_repeat),
        "possible_repeat": possible_repeat,
    }


def _header_text(text: str) -> str:
    return "".join(character if " " < character <= "~" else "_" for character in text[:_MAX_REFERENCE])


def _reference(response: requests.Response) -> str:
    try:
        answer = response.json()
    except ValueError:
        return ""
    reference = answer.get("id") if isinstance(answer, dict) else None
    return str(reference) if isinstance(reference, str | int) else ""
