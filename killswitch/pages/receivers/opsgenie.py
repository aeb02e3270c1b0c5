"""Pages as Opsgenie alerts (Alert API v2): a trip creates one, a re-arm closes it, an acknowledgement is one.

The API answers 202 with a request's id before it has looked at the request. So after a create its status is asked: an
alert that Opsgenie throws away later is no delivered page.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import requests

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError, OutcomeUnknown, Refused
from killswitch.net.bounded_http import BoundedSession, hiding, killswitch_errors, refusal
from killswitch.net.credentials import TLS
from killswitch.pages.page import Page
from killswitch.pages.receivers.alert_life import acknowledges, alerts_of, ends, web_links
from killswitch.pages.receivers.named_secrets import NamedSecrets
from killswitch.pages.receivers.posting import posting_errors
from killswitch.pages.text import plain_text
from killswitch.wording import plain

_log = logging.getLogger(__name__)

API_URL = "https://api.opsgenie.com"
MAX_MESSAGE = 130  # characters; these are Opsgenie's own limits
MAX_ALIAS = 512
MAX_DESCRIPTION = 15_000
MAX_NOTE = 25_000
_PRIORITIES: Mapping[str, str] = {"critical": "P1", "error": "P2", "warning": "P3", "info": "P5"}
_BODY_REFUSED = frozenset({400, 413, 422})
_LOOKS = 4  # at the status of a request that was taken
_BETWEEN_LOOKS = 0.5  # seconds
_ID = re.compile(r"[A-Za-z0-9-]{1,80}\Z")


class OpsgeniePager:
    """Sends alerts with the API key that the page names, else with the default key.

    The alias is the id of the page that began it, so a repeated copy adds to the alert's count and opens no second one.
    ``url``: ``https://api.eu.opsgenie.com`` for accounts in the EU. ``sleep`` waits between two looks at a request.
    """

    name = "opsgenie"
    gathers = False

    def __init__(
        self,
        keys: NamedSecrets,
        *,
        url: str = API_URL,
        tls: TLS | None = None,
        proxy: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._keys = keys
        self._url = url.rstrip("/")
        self._session = BoundedSession(tls=tls, proxy=proxy, max_body=256 * 1024)
        self._sleep = sleep

    def address(self, page: Page) -> str | None:
        """The name of the key, "" for the default key; None for a page that opens and ends no alert."""
        if page.good_news and not ends(page) and not acknowledges(page):
            return None
        return page.addresses.opsgenie or ("" if self._keys.has_default else None)

    def problem_of(self, name: str | None) -> str | None:
        """As `NamedSecrets.problem_of`, of the key of this name."""
        return self._keys.problem_of(name)

    def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:
        """The request's id. Raises as `killswitch.pages.receivers.Pager.send`."""
        key = self._keys.key(page.addresses.opsgenie)
        if ends(page) or acknowledges(page):
            return self._follow_up("close" if ends(page) else "acknowledge", page, key, deadline)
        alert = create(page, possible_repeat=possible_repeat)
        bare = {name: alert[name] for name in ("message", "alias", "priority")}
        request = self._post("/v2/alerts", alert, key, deadline, bare=bare)
        self._confirm(request, key, deadline)
        return request

    def _follow_up(self, action: str, page: Page, key: str, deadline: Deadline) -> str:
        note = {"source": "canary kill-switch", "note": plain_text(page)[:MAX_NOTE]}
        request = ""
        for alias in alerts_of(page):
            path = f"/v2/alerts/{quote(alias[:MAX_ALIAS], safe='')}/{action}?identifierType=alias"
            request = self._post(path, note, key, deadline, bare={})
        return request

    def _post(
        self, path: str, body: Mapping[str, Any], key: str, deadline: Deadline, *, bare: Mapping[str, Any]
    ) -> str:
        """The id of the request. If Opsgenie refuses the form of ``body``, ``bare`` follows at once."""
        response = self._ask("POST", path, body, key, deadline)
        if response.status_code in _BODY_REFUSED:
            problem = refusal(response, secrets=[key])
            _log.warning("opsgenie: %s; sending less instead", problem)
            response = self._ask("POST", path, bare, key, deadline)
        if response.status_code == requests.codes.gateway_timeout:
            raise OutcomeUnknown("Opsgenie's gateway gave up waiting (504): the request may have been taken")
        problem = refusal(response, secrets=[key])
        if problem is not None:
            raise problem
        if response.status_code != requests.codes.accepted:
            raise OutcomeUnknown(f"Opsgenie answered {response.status_code}, not 202: the request may have been taken")
        return _request_id(response)

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None, key: str, deadline: Deadline
    ) -> requests.Response:
        headers = {"Authorization": f"GenieKey {key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        errors = posting_errors() if method == "POST" else killswitch_errors()
        with errors, self._session.deadline(deadline):
            url = f"{self._url}{path}"
            return self._session.request(method, url, data=data, headers=headers, allow_redirects=False)

    def _confirm(self, request: str, key: str, deadline: Deadline) -> None:
        """Raise Refused if Opsgenie says that it took the request and made no alert of it.

        What cannot be learned in time is not held against the page: the request was taken.
        """
        for _ in range(_LOOKS if request else 0):
            if deadline.remaining() <= _BETWEEN_LOOKS:
                return
            try:
                response = self._ask("GET", f"/v2/alerts/requests/{request}", None, key, deadline)
            except KillswitchError:
                return
            data = _data(response)
            if response.ok and isinstance(data.get("isSuccess"), bool):
                if not data["isSuccess"]:
                    status = hiding(plain(str(data.get("status")), 200), [key])
                    raise Refused(f"Opsgenie took the request and made no alert of it: {status}; see its integration")
                return
            self._sleep(_BETWEEN_LOOKS)  # 404: it has not come to the request yet


def create(page: Page, *, possible_repeat: bool) -> dict[str, Any]:
    """The body of the request that creates the alert."""
    details = {
        "kind": page.kind.value,
        "generation": str(page.generation),
        **{name.lower(): link for name, link in web_links(page)},
    }
    return {
        "message": plain(page.headline, MAX_MESSAGE),
        "alias": alerts_of(page)[-1][:MAX_ALIAS],
        "description": plain_text(page, possible_repeat=possible_repeat)[:MAX_DESCRIPTION],
        "priority": _PRIORITIES[page.severity],
        "source": "canary kill-switch",
        "entity": page.rollout or "canary kill-switch",
        "tags": ["canary-kill-switch", page.kind.value],
        "details": details,
    }


def _data(response: requests.Response) -> Mapping[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        return {}
    data = answer.get("data") if isinstance(answer, dict) else None
    return data if isinstance(data, dict) else {}


def _request_id(response: requests.Response) -> str:
    try:
        answer = response.json()
    except ValueError:
        return ""
    request = answer.get("requestId") if isinstance(answer, dict) else None
    return request if isinstance(request, str) and _ID.match(request) else ""
