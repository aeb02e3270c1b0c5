"""A receiver of JSON pages over real HTTP; it can be told to misbehave."""

from __future__ import annotations

import json
import ssl
from collections import deque
from typing import Any

from tests.doubles.http_double import Answer, HttpDouble, Received


class WebhookDouble(HttpDouble):
    def __init__(self, *, context: ssl.SSLContext | None = None) -> None:
        super().__init__(self._take, context=context)
        self.pages: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self._next: deque[Answer] = deque()
        self._always: Answer | None = None

    def fail_next(self, *answers: Answer) -> None:
        """The next posts get these answers; one that is ``lost`` is still taken."""
        self._next.extend(answers)

    def fail_always(self, failure: Answer | None) -> None:
        self._always = failure

    def _take(self, request: Received) -> Answer:
        failure = self._next.popleft() if self._next and request.method == "POST" else self._always
        if failure is not None and not failure.lost:
            return failure
        if request.method != "POST":
            return Answer(204, b"")
        self.pages.append(request.json())
        self.keys.append(request.headers.get("idempotency-key", ""))
        return failure or Answer(200, json.dumps({"id": f"hook-{len(self.pages)}"}).encode())
