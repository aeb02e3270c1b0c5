"""A judge's model behind real HTTP: speaks the chat completions and the messages API, and can be told to misbehave.

Unless told otherwise it prefers the answer that says GOOD. What it is asked is taken apart as a receiver can.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable
from typing import Any

from tests.doubles.http_double import Answer, HttpDouble, Received

USAGE = {
    "chat": {"prompt_tokens": 900, "completion_tokens": 40},
    "messages": {"input_tokens": 900, "output_tokens": 40},
}


class JudgeServer(HttpDouble):
    """``asked``: the request and the answers shown as A and B, in order. ``tell``: called before each answer."""

    def __init__(self, *, model: str = "claude-judge-1") -> None:
        super().__init__(self._judge)
        self.model = model
        self.asked: list[tuple[str, str, str]] = []
        self.tell: Callable[[int], None] = lambda _: None
        self.verdict: Callable[[str, str], str] = prefers_good
        self._next: deque[Answer] = deque()

    def answer_next(self, *answers: Answer) -> None:
        self._next.extend(answers)

    def _judge(self, request: Received) -> Answer:
        body = request.json()
        shown = _blocks(body["messages"][-1]["content"])
        self.asked.append(shown)
        self.tell(len(self.asked))
        if self._next:
            return self._next.popleft()
        choice = self.verdict(shown[1], shown[2])
        return self.reply(request, json.dumps({"verdict": choice, "reason": "it says so"}))

    def reply(self, request: Received, text: str) -> Answer:
        """In the words of the API that was asked."""
        document: dict[str, Any]
        if request.path.endswith("/messages"):
            document = {"type": "message", "content": [{"type": "text", "text": text}], "usage": USAGE["messages"]}
        else:
            document = {"choices": [{"message": {"content": text}}], "usage": USAGE["chat"]}
        return Answer(body=json.dumps({**document, "model": self.model}).encode())


def prefers_good(first: str, second: str) -> str:
    good = ("GOOD" in first, "GOOD" in second)
    return "tie" if good[0] == good[1] else "A" if good[0] else "B"


def _blocks(text: str) -> tuple[str, str, str]:
    found = re.findall(r"===== BEGIN [A-Z ]+ ([0-9a-f]+) =====\n(.*?)\n===== END [A-Z ]+ \1 =====", text, re.DOTALL)
    (_, request), (_, first), (_, second) = found
    return request, first, second
