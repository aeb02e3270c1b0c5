"""Pages as PagerDuty events (Events API v2): a trip triggers an alert, a re-arm or recovery resolves it."""

from __future__ import annotations

import json
from typing import Any

import requests

from killswitch.bounded_http import BoundedSession, refusal
from killswitch.credentials import TLS, Secret
from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, OutcomeUnknown, Refused
from killswitch.message import Page, PageKind, plain, plain_text
from killswitch.pagers.posting import posting_errors

EVENTS_URL = "https://events.pagerduty.com/v2/enqueue"
MAX_SUMMARY = 1024  # characters
MAX_DEDUP_KEY = 255  # characters
MAX_EVENT = 512 * 1024  # bytes
_RESOLVING = frozenset({PageKind.RECOVERED, PageKind.RE_ARMED})


class PagerDutyPager:
    """Sends events to the service whose integration key ``routing_key`` holds.

    The dedup key is the page's id, so that a repeated copy opens no second alert; a page that continues
    an earlier one bears that one's key and resolves it.
    """

    name = "pagerduty"

    def __init__(
        self, routing_key: Secret, *, url: str = EVENTS_URL, tls: TLS | None = None, proxy: str | None = None
    ) -> None:
        self._routing_key = routing_key
        self._url = url
        self._session = BoundedSession(tls=tls, proxy=proxy, max_body=256 * 1024)

    def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:
        """The alert's dedup key. Raises as `killswitch.pagers.Pager.send`."""
        event = self._event(page, possible_repeat=possible_repeat)
        body = json.dumps(event, allow_nan=False).encode()
        if len(body) > MAX_EVENT:  # a digest of many: the words are enough
            event["payload"]["custom_details"] = {"text": event["payload"]["custom_details"]["text"]}
            body = json.dumps(event, allow_nan=False).encode()
        with posting_errors(), self._session.deadline(deadline):
            response = self._session.post(
                self._url, data=body, headers={"Content-Type": "application/json"}, allow_redirects=False
            )
        if response.status_code == requests.codes.gateway_timeout:
            raise OutcomeUnknown("PagerDuty's gateway gave up waiting (504): the event may have been taken")
        problem = refusal(response, secrets=[event["routing_key"]])
        if isinstance(problem, Refused) and not isinstance(problem, AccessDenied):
            raise Refused(f"{problem}; check the integration key") from None
        if problem is not None:
            raise problem
        if response.status_code != requests.codes.accepted:
            raise OutcomeUnknown(f"PagerDuty answered {response.status_code}, not 202: the event may have been taken")
        return str(event["dedup_key"])

    def _event(self, page: Page, *, possible_repeat: bool) -> dict[str, Any]:
        event: dict[str, Any] = {
            "routing_key": self._routing_key.reveal(),
            "event_action": "resolve" if page.kind in _RESOLVING and page.follows else "trigger",
            "dedup_key": (page.follows or page.id)[:MAX_DEDUP_KEY],
            "client": "canary kill-switch",
            "payload": {
                "summary": plain(page.headline, MAX_SUMMARY),
                "source": page.rollout or "canary kill-switch",
                "severity": page.severity,
                "timestamp": page.payload.get("ts"),
                "component": page.rollout or None,
                "class": page.kind.value,
                "custom_details": {**page.payload, "text": plain_text(page, possible_repeat=possible_repeat)},
            },
        }
        links = [
            {"href": link, "text": name}
            for name, link in (("Runbook", page.runbook), ("Dashboard", page.dashboard))
            if link and link.startswith(("https://", "http://"))
        ]
        return {**event, "links": links} if links else event
