"""Pages as Adaptive Cards in Microsoft Teams, posted to a Workflow ("When a Teams webhook request is received").

The connectors of Office 365, whose URLs were at ``webhook.office.com``, are retired: such a URL is refused here. A
Workflow answers 202 before it posts the card, so Teams' own refusals are seen only in the Workflow's run history.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

import requests

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, OutcomeUnknown, Refused
from killswitch.net.bounded_http import BoundedSession, refusal
from killswitch.net.credentials import TLS
from killswitch.pages.page import Page
from killswitch.pages.receivers.named_secrets import NamedSecrets
from killswitch.pages.receivers.posting import posting_errors
from killswitch.pages.receivers.secret_urls import secret_parts, unspoken
from killswitch.pages.receivers.teams_card import message

_MAX_BODY_REFUSED = frozenset({400, 413})


class TeamsPager:
    """Posts each page to the Workflow whose URL ``urls`` has. The URL carries its own key (``sig=``): it is a secret.

    Teams has no threads for Workflows and no ids of messages: what continues a page is a message of its own.
    """

    name = "teams"

    def __init__(self, urls: NamedSecrets, *, tls: TLS | None = None, proxy: str | None = None) -> None:
        self._urls = urls
        self._session = BoundedSession(tls=tls, proxy=proxy, max_body=256 * 1024)

    def address(self, page: Page) -> str | None:
        """The channel's name in the file of URLs, "" for the default; None without either."""
        return page.addresses.teams or ("" if self._urls.has_default else None)

    def problem_of(self, name: str | None) -> str | None:
        """As `NamedSecrets.problem_of`, of the URL of this name."""
        return self._urls.problem_of(name, check=_checked)

    def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:
        """Nothing, because a Workflow gives no id. Raises as `killswitch.pages.receivers.Pager.send`."""
        url = _checked(self._urls.key(page.addresses.teams))
        response = self._post(url, message(page, possible_repeat=possible_repeat), deadline)
        if response.status_code in _MAX_BODY_REFUSED:
            response = self._post(url, message(page, possible_repeat=possible_repeat, short=True), deadline)
        if response.status_code == requests.codes.gateway_timeout:
            raise OutcomeUnknown("the Workflow's gateway gave up waiting (504): the card may have been posted")
        problem = refusal(response, secrets=secret_parts(url))
        if problem is not None:
            raise problem
        if response.status_code not in {requests.codes.ok, requests.codes.accepted}:
            raise Refused(f"the Workflow answered {response.status_code}, not 202; copy its URL again")
        return ""

    def _post(self, url: str, document: dict[str, Any], deadline: Deadline) -> requests.Response:
        body = json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
        headers = {"Content-Type": "application/json; charset=utf-8"}
        with unspoken("the Teams URL"), posting_errors(), self._session.deadline(deadline):
            return self._session.post(url, data=body, headers=headers, allow_redirects=False)


def _checked(url: str) -> str:
    """Raises AccessDenied for what is no Workflow's URL, without showing it."""
    parts = urlsplit(url)
    if not re.match(r"https?://[^/]", url):
        raise AccessDenied("the Teams URL must begin with https://; copy it from the Workflow")
    if (parts.hostname or "").endswith("webhook.office.com"):
        raise AccessDenied(
            "the Teams URL is of an Office 365 connector, which Microsoft has retired; make a Workflow with "
            "`When a Teams webhook request is received`, and use its URL"
        )
    return url
