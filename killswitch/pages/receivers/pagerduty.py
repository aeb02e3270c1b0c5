"""Pages as PagerDuty events (Events API v2).

A trip triggers an alert; a re-arm, a recovery or a step resolves it; an acknowledgement acknowledges it, which ends
PagerDuty's reminders and escalation. What gives a new model to users is a *change event*: it notifies no one, and is
in the service's list of recent changes, where a person on call looks first.
"""

from __future__ import annotations

import json
import logging
from typing import Any

import requests

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, OutcomeUnknown, Refused
from killswitch.net.bounded_http import BoundedSession, excerpt, hiding, refusal
from killswitch.net.credentials import TLS, Secret
from killswitch.pages.page import Page, PageKind
from killswitch.pages.receivers.alert_life import acknowledges, alerts_of, ends, web_links
from killswitch.pages.receivers.named_secrets import PAGERDUTY_KEYS, NamedSecrets
from killswitch.pages.receivers.posting import posting_errors
from killswitch.pages.text import plain_text
from killswitch.wording import plain

_log = logging.getLogger(__name__)

EVENTS_URL = "https://events.pagerduty.com/v2/enqueue"
MAX_SUMMARY = 1024  # characters
MAX_DEDUP_KEY = 255  # characters
MAX_EVENT = 512 * 1024  # bytes
# Users get a new model: a stage raise, a canary let back in, a model for everyone.
CHANGES = frozenset({PageKind.ADVANCED, PageKind.RE_ARMED, PageKind.ROLLED_OUT, PageKind.PROMOTED})
_BODY_REFUSED = frozenset({400, 413})
_MAX_COMPLAINTS = 300  # characters of what PagerDuty says is wrong with an event


class PagerDutyPager:
    """Sends events to the PagerDuty services whose integration keys ``keys`` has; a single secret is the default key.

    The dedup key is the page's id, so a repeated copy opens no second alert. A page that continues another has the key
    of that, and adds to its alert or resolves it. A control that drowns is an alert of its own, because PagerDuty
    notifies no one of what it adds to an alert; the re-arm resolves both. Each page is one event (a re-arm two), never
    part of a digest: PagerDuty groups alerts itself, takes 120 events a minute, and resolves only the alert that has
    the same key.

    A page of `CHANGES` is a change event as well. PagerDuty drops no second copy of one, and a copy notifies no one.
    """

    name = "pagerduty"
    gathers = False

    def __init__(
        self, keys: NamedSecrets | Secret, *, url: str = EVENTS_URL, tls: TLS | None = None, proxy: str | None = None
    ) -> None:
        self._keys = NamedSecrets(PAGERDUTY_KEYS, keys) if isinstance(keys, Secret) else keys
        self._url = url
        self._change_url = f"{url.removesuffix('/enqueue')}/change/enqueue"
        self._session = BoundedSession(tls=tls, proxy=proxy, max_body=256 * 1024)

    def address(self, page: Page) -> str | None:
        """The name of the integration key, "" for the default key; None for a page that is neither alert nor change."""
        if page.good_news and page.kind not in CHANGES and not ends(page) and not acknowledges(page):
            return None  # an event would open an alert about good news
        return page.pagerduty if page.pagerduty is not None else "" if self._keys.has_default else None

    def problem_of(self, name: str | None) -> str | None:
        """As `NamedSecrets.problem_of`, of the key of this name."""
        return self._keys.problem_of(name)

    def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:
        """The dedup key of the page's own alert. Raises as `killswitch.pages.receivers.Pager.send`.

        If PagerDuty refuses the form of an event, the bare event follows at once: a summary, without details and
        links. The dedup key is the same, so at most one alert is open.
        """
        alerts = [key[:MAX_DEDUP_KEY] for key in alerts_of(page)] if page.kind not in CHANGES or ends(page) else []
        event = self._event(page, possible_repeat=possible_repeat) if alerts else {}
        for key in alerts:
            self._deliver({**event, "dedup_key": key}, page, deadline)
        if page.kind in CHANGES:
            self._send_change(page, deadline, needed=not alerts)
        return alerts[-1] if alerts else ""

    def _send_change(self, page: Page, deadline: Deadline, *, needed: bool) -> None:
        """Send the change event. If the page's alert is resolved already (not ``needed``), a refusal is only logged."""
        change = self._change(page)
        try:
            refused = self._post(self._change_url, change, deadline)
            if refused is not None:
                bare = {**change, "payload": {name: change["payload"][name] for name in ("summary", "timestamp")}}
                bare.pop("links", None)
                refused = self._post(self._change_url, bare, deadline)
            if refused is not None:
                raise refused
        except Refused as error:
            if needed:
                raise
            _log.warning("page %s: its alert is resolved, but the change event is refused: %s", page.id, error)

    def _deliver(self, event: dict[str, Any], page: Page, deadline: Deadline) -> None:
        refused = self._post(self._url, event, deadline)
        if refused is not None:
            _log.warning("page %s: %s; sending the bare event instead", page.id, refused)
            refused = self._post(self._url, _bare(event), deadline)
        if refused is not None:
            raise Refused(f"{refused}; check the integration key")

    def _post(self, url: str, event: dict[str, Any], deadline: Deadline) -> Refused | None:
        """What PagerDuty says is wrong with the event itself; None if it was taken. Raises any other problem."""
        body = json.dumps(event, allow_nan=False).encode()
        if len(body) > MAX_EVENT:
            return Refused(f"the event has {len(body)} bytes, over PagerDuty's {MAX_EVENT}")
        with posting_errors(), self._session.deadline(deadline):
            response = self._session.post(
                url, data=body, headers={"Content-Type": "application/json"}, allow_redirects=False
            )
        if response.status_code == requests.codes.gateway_timeout:
            raise OutcomeUnknown("PagerDuty's gateway gave up waiting (504): the event may have been taken")
        problem = refusal(response, secrets=[event["routing_key"]])
        if isinstance(problem, Refused) and response.status_code in _BODY_REFUSED:
            return Refused(f"PagerDuty refused the event ({response.status_code}): {_complaints(response, event)}")
        if isinstance(problem, Refused) and not isinstance(problem, AccessDenied):
            raise Refused(f"{problem}; check the integration key") from None
        if problem is not None:
            raise problem
        if response.status_code != requests.codes.accepted:
            raise OutcomeUnknown(f"PagerDuty answered {response.status_code}, not 202: the event may have been taken")
        return None

    def _event(self, page: Page, *, possible_repeat: bool) -> dict[str, Any]:
        event: dict[str, Any] = {
            "routing_key": self._keys.key(page.pagerduty),
            "event_action": _action(page),
            "client": "canary kill-switch",
            **({"client_url": page.link} if page.link else {}),
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
        return {**event, **_links(page)}

    def _change(self, page: Page) -> dict[str, Any]:
        return {
            "routing_key": self._keys.key(page.pagerduty),
            "payload": {
                "summary": plain(page.headline, MAX_SUMMARY),
                "source": page.rollout or "canary kill-switch",
                "timestamp": page.payload.get("ts"),
                "custom_details": {**page.payload, "text": plain_text(page)},
            },
            **_links(page),
        }


def _action(page: Page) -> str:
    return "acknowledge" if acknowledges(page) else "resolve" if ends(page) else "trigger"


def _links(page: Page) -> dict[str, Any]:
    links = [{"href": link, "text": name} for name, link in web_links(page)]
    return {"links": links} if links else {}


def _bare(event: dict[str, Any]) -> dict[str, Any]:
    """The event with its required fields only."""
    kept = {name: event[name] for name in ("routing_key", "event_action", "dedup_key")}
    return {**kept, "payload": {name: event["payload"][name] for name in ("summary", "source", "severity")}}


def _complaints(response: requests.Response, event: dict[str, Any]) -> str:
    """PagerDuty's list of errors, or the beginning of its answer; bounded, without the integration key."""
    try:
        said = response.json()
    except ValueError:
        said = None
    errors = said.get("errors") if isinstance(said, dict) else None
    texts = [one for one in errors[:5] if isinstance(one, str)] if isinstance(errors, list) else []
    text = "; ".join(texts) or response.content[:2000].decode(errors="replace")
    return excerpt(hiding(text, [event["routing_key"]]), _MAX_COMPLAINTS) or "no reason was given"
