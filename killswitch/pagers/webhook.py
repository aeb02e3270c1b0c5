"""Pages as JSON, posted to a URL: for anything that can take an HTTP request."""

from __future__ import annotations

import json

import requests

from killswitch.bounded_http import BoundedSession, killswitch_errors, refusal
from killswitch.credentials import TLS, HttpCredentials, Secret
from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, OutcomeUnknown, Refused, Unavailable
from killswitch.message import Page
from killswitch.pagers.posting import posting_errors

_MAX_REFERENCE = 200
_GATEWAY_TIMEOUT = 504


class WebhookPager:
    """Posts each page's payload to the URL that ``url`` holds (a secret: such URLs often carry a token).

    ``Idempotency-Key`` is the page's id, the same for every copy; ``X-Killswitch-Possible-Repeat`` says
    that an earlier copy may have arrived. Only an answer of 2xx counts as taken.
    """

    name = "webhook"

    def __init__(
        self,
        url: Secret,
        *,
        credentials: HttpCredentials | None = None,
        tls: TLS | None = None,
        proxy: str | None = None,
    ) -> None:
        self._url = url
        self._session = BoundedSession(credentials=credentials, tls=tls, proxy=proxy, max_body=1024 * 1024)

    def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:
        """The ``id`` of a JSON answer, or "". Raises as `killswitch.pagers.Pager.send`."""
        payload = {**page.payload, "possible_repeat": possible_repeat}
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": _header_text(page.id),
            "X-Killswitch-Possible-Repeat": "true" if possible_repeat else "false",
        }
        # ASCII escapes, so that no receiver has to guess an encoding.
        body = json.dumps(payload, allow_nan=False).encode()
        with posting_errors(), self._session.deadline(deadline):
            response = self._session.post(self._checked_url(), data=body, headers=headers, allow_redirects=False)
        if response.status_code == _GATEWAY_TIMEOUT:
            raise OutcomeUnknown("the webhook's gateway gave up waiting (504): it may have been taken all the same")
        problem = refusal(response)
        if problem is not None:
            raise problem
        if not response.ok or response.is_redirect or response.status_code >= requests.codes.multiple_choices:
            raise Refused(f"the webhook answered {response.status_code}, not 2xx; give its final address")
        return _reference(response)

    def answers(self, deadline: Deadline) -> None:
        """Whether anything answers there; asks OPTIONS, which changes nothing."""
        with killswitch_errors(), self._session.deadline(deadline):
            response = self._session.options(self._checked_url(), allow_redirects=False)
        problem = refusal(response)
        if isinstance(problem, Unavailable) and response.status_code != requests.codes.not_implemented:
            raise problem

    def _checked_url(self) -> str:
        url = self._url.reveal()
        if not url.startswith(("https://", "http://")):
            raise AccessDenied(f"the webhook's URL in {self._url} must begin with https:// or http://")
        return url


def _header_text(text: str) -> str:
    return "".join(character if " " < character <= "~" else "_" for character in text[:_MAX_REFERENCE])


def _reference(response: requests.Response) -> str:
    try:
        answer = response.json()
    except ValueError:
        return ""
    reference = answer.get("id") if isinstance(answer, dict) else None
    return _header_text(str(reference)) if isinstance(reference, str | int) else ""
