"""PagerDuty's Events API v2 over real HTTP: what it takes, what it answers, and the alerts that are open.

As in https://developer.pagerduty.com/docs/events-api-v2/overview/: 202 for an event that was taken, 400 with
``status``, ``message`` and ``errors`` for one that is invalid, alerts merged by ``dedup_key``.
"""

from __future__ import annotations

import json
import ssl
from collections import deque
from typing import Any, Self

from tests.doubles.http_double import Answer, HttpDouble, Received

KEY = "0123456789abcdef0123456789abcdef"
_SEVERITIES = {"critical", "error", "warning", "info"}
_TOP = {"routing_key", "event_action", "dedup_key", "payload", "images", "links", "client", "client_url"}


def invalid_event(*errors: str) -> Answer:
    document = {"status": "invalid event", "message": "Event object is invalid", "errors": list(errors)}
    return Answer(400, json.dumps(document).encode(), {"Content-Type": "application/json"})


class PagerDutyDouble(HttpDouble):
    """``keys``: the integration keys of its services. ``open``: by key, the dedup keys of alerts that are open."""

    def __init__(self, *keys: str, context: ssl.SSLContext | None = None) -> None:
        super().__init__(self._take, context=context)
        self.keys = keys or (KEY,)
        self.events: list[dict[str, Any]] = []
        self.changes: list[dict[str, Any]] = []
        self.acknowledged: dict[str, set[str]] = {key: set() for key in self.keys}
        self.open: dict[str, set[str]] = {key: set() for key in self.keys}
        self.refuses_details = False
        self.refuses_changes = False
        self._next: deque[Answer] = deque()

    @property
    def events_url(self) -> str:
        return f"{self.url}/v2/enqueue"

    def fail_next(self, *answers: Answer) -> Self:
        """The next events get these answers; one that is ``lost`` is still taken."""
        self._next.extend(answers)
        return self

    def _take(self, request: Received) -> Answer:
        failure = self._next.popleft() if self._next else None
        if failure is not None and not failure.lost:
            return failure
        if request.method != "POST" or request.path not in {"/v2/enqueue", "/v2/change/enqueue"}:
            return Answer(404, b"")
        if len(request.body) > 512 * 1024:
            return Answer(413, b"")
        try:
            event = request.json()
        except ValueError:
            return invalid_event("Event object is not valid JSON")
        if request.path == "/v2/change/enqueue":
            return self._take_change(event, failure)
        return self._take_alert(event, failure)

    def _take_alert(self, event: Any, failure: Answer | None) -> Answer:
        errors = self._errors(event)
        if errors:
            return invalid_event(*errors)
        self.events.append(event)
        opened = self.open[event["routing_key"]]
        if event["event_action"] == "trigger":
            opened.add(event["dedup_key"])
        elif event["event_action"] == "acknowledge" and event["dedup_key"] in opened:
            self.acknowledged[event["routing_key"]].add(event["dedup_key"])
        elif event["event_action"] == "resolve":
            opened.discard(event["dedup_key"])
        document = {"status": "success", "message": "Event processed", "dedup_key": event["dedup_key"]}
        return failure or Answer(202, json.dumps(document).encode())

    def _take_change(self, event: Any, failure: Answer | None) -> Answer:
        """A change event: only a summary is required, and a key that it does not know is refused."""
        if self.refuses_changes:
            return Answer(404, b"")
        payload = event.get("payload", {})
        errors = {
            "'routing_key' is not the key of a service": event.get("routing_key") in self.keys,
            "'payload.summary' is missing or too long": 0 < len(payload.get("summary", "")) <= 1024,
            "unknown keys": set(event) <= {"routing_key", "payload", "links", "images"}
            and set(payload) <= {"summary", "source", "timestamp", "custom_details"},
            "'payload.custom_details' is invalid": not (self.refuses_details and "custom_details" in payload),
        }
        refused = [error for error, holds in errors.items() if not holds]
        if refused:
            return invalid_event(*refused)
        self.changes.append(event)
        return failure or Answer(202, json.dumps({"status": "success", "message": "Change event processed"}).encode())

    def _errors(self, event: Any) -> list[str]:
        payload = event.get("payload", {})
        details = payload.get("custom_details")
        told = {
            "'routing_key' is not the key of a service": event.get("routing_key") in self.keys,
            "'event_action' is invalid": event.get("event_action") in {"trigger", "acknowledge", "resolve"},
            "'dedup_key' is too long": 0 < len(event.get("dedup_key", "")) <= 255,
            "'payload.severity' is invalid": payload.get("severity") in _SEVERITIES,
            "'payload.summary' is missing or too long": 0 < len(payload.get("summary", "")) <= 1024,
            "'payload.source' is missing or blank": bool(payload.get("source")),
            "'links' is invalid (links should be objects)": all(
                isinstance(link, dict) and str(link.get("href", "")).startswith(("http://", "https://"))
                for link in event.get("links", [])
            ),
            "'payload.custom_details' is invalid": not (self.refuses_details and details is not None),
            "unknown keys": set(event) <= _TOP,
        }
        return [error for error, holds in told.items() if not holds]
