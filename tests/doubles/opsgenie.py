"""Opsgenie's Alert API v2 over real HTTP: it answers 202 first, and looks at the request when its status is asked.

As in https://docs.opsgenie.com/docs/alert-api: ``GenieKey`` in the Authorization header, alerts merged by alias, limits
of 130, 512 and 15,000 characters, requests whose status is 404 until they were looked at.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.doubles.http_double import Answer, HttpDouble, Received

KEY = "eb243592-faa2-4ba2-a551-1afdf565c889"


class OpsgenieDouble(HttpDouble):
    """``alerts``: by key and alias, ``open``, ``acknowledged`` or ``closed``. ``slow``: looks that come too early.

    ``drops``: what it says of creates that it takes and throws away.
    """

    def __init__(self, *keys: str) -> None:
        super().__init__(self._take)
        self.alerts: dict[tuple[str, str], str] = {}
        self.created: list[dict[str, Any]] = []
        self.slow = 0
        self.drops = ""
        self._keys = keys or (KEY,)
        self._requests: dict[str, dict[str, Any]] = {}
        self._next: deque[Answer] = deque()

    def fail_next(self, *answers: Answer) -> None:
        """The next posts get these answers; one that is ``lost`` is still taken."""
        self._next.extend(answers)

    def _take(self, request: Received) -> Answer:
        failure = self._next.popleft() if self._next and request.method == "POST" else None
        if failure is not None and not failure.lost:
            return failure
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme != "GenieKey" or key not in self._keys:
            return _said(401, {"message": "Could not authenticate"})
        url = urlsplit(request.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        if request.method == "GET" and parts[:3] == ["v2", "alerts", "requests"]:
            return self._status(parts[3])
        answer = Answer(404, b"{}")
        if request.method == "POST" and parts == ["v2", "alerts"]:
            answer = self._create(key, request)
        elif request.method == "POST" and parse_qs(url.query) == {"identifierType": ["alias"]}:
            answer = self._change(key, parts[2], parts[3])
        return failure or answer

    def _create(self, key: str, request: Received) -> Answer:
        alert = request.json()
        sizes = {"message": 130, "alias": 512, "description": 15_000, "source": 100, "entity": 512}
        wrong = [name for name, most in sizes.items() if len(alert.get(name, "")) > most]
        wrong += [] if alert.get("message") else ["message"]
        wrong += [] if alert.get("priority") in {"P1", "P2", "P3", "P4", "P5"} else ["priority"]
        wrong += [name for name, value in alert.get("details", {}).items() if not isinstance(value, str)]
        if wrong:
            return _said(422, {"message": "Request body is not processable", "errors": dict.fromkeys(wrong, "wrong")})
        self.created.append(alert)
        if not self.drops:
            self.alerts[key, alert["alias"]] = "open"
        status = self.drops or "Created alert"
        return self._later({"isSuccess": not self.drops, "success": not self.drops, "status": status})

    def _change(self, key: str, alias: str, action: str) -> Answer:
        state = {"acknowledge": "acknowledged", "close": "closed"}.get(action)
        if state is None:
            return Answer(404, b"{}")
        if self.alerts.get((key, alias)) in {None, "closed"}:
            return self._later({"isSuccess": False, "success": False, "status": "Alert does not exist"})
        self.alerts[key, alias] = state
        return self._later({"isSuccess": True, "success": True, "status": "done"})

    def _later(self, data: dict[str, Any]) -> Answer:
        request = f"00000000-0000-0000-0000-{len(self._requests):012d}"
        self._requests[request] = data
        return _said(202, {"result": "Request will be processed", "took": 0.302, "requestId": request})

    def _status(self, request: str) -> Answer:
        if self.slow:
            self.slow -= 1
            return _said(404, {"message": "Request not found. It might not be processed, yet."})
        return _said(200, {"data": self._requests[request], "took": 0.1, "requestId": request})


def _said(status: int, document: dict[str, Any]) -> Answer:
    return Answer(status, json.dumps(document).encode(), {"Content-Type": "application/json"})
