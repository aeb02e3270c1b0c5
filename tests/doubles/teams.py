"""A Teams Workflow over real HTTP: 202 and no body, about 28 kB a message, one Adaptive Card in it."""

from __future__ import annotations

from collections import deque
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.doubles.http_double import Answer, HttpDouble, Received

SIGNATURE = "Xq3-very-secret-signature"
MOST = 28 * 1024
_TYPES = {"AdaptiveCard", "RichTextBlock", "TextRun", "Action.OpenUrl"}


class TeamsDouble(HttpDouble):
    """``cards``: those that it posted into the channel."""

    def __init__(self) -> None:
        super().__init__(self._take)
        self.cards: list[dict[str, Any]] = []
        self._next: deque[Answer] = deque()

    @property
    def workflow(self) -> str:
        """The URL as Teams shows it, with its key."""
        return f"{self.url}/workflows/0a1b/triggers/manual/paths/invoke?api-version=1&sp=%2Ftriggers&sig={SIGNATURE}"

    def fail_next(self, *answers: Answer) -> None:
        """The next posts get these answers; one that is ``lost`` is still taken."""
        self._next.extend(answers)

    def _take(self, request: Received) -> Answer:
        failure = self._next.popleft() if self._next else None
        if failure is not None and not failure.lost:
            return failure
        if parse_qs(urlsplit(request.path).query).get("sig") != [SIGNATURE]:
            return Answer(401, b'{"error": {"code": "DirectApiAuthorizationRequired"}}')
        if len(request.body) > MOST:
            return Answer(413, b"Request Entity too large")
        (attachment,) = request.json()["attachments"]
        if attachment["contentType"] != "application/vnd.microsoft.card.adaptive" or not _valid(attachment["content"]):
            return Answer(400, b'{"error": {"code": "TriggerInputSchemaMismatch"}}')
        self.cards.append(attachment["content"])
        return failure or Answer(202, b"")


def _valid(card: Any) -> bool:
    """Only elements that Teams knows, and no empty text: it would drop the whole card."""
    if isinstance(card, list):
        return all(map(_valid, card))
    if not isinstance(card, dict):
        return True
    known = card.get("type") in _TYPES or "type" not in card
    return known and card.get("text") != "" and all(map(_valid, card.values()))
