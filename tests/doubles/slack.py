"""A double of Slack's Web API over real HTTP: chat.postMessage, chat.update, auth.test.

It refuses what Slack refuses (token, channel, sizes of blocks), gives each message a ``ts`` of its own,
and can be told to misbehave: `fail_next`, `hang`.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from tests.doubles.http_double import Answer, HttpDouble, Received

TOKEN = "xoxb-double-0123456789"


@dataclass(frozen=True, slots=True)
class Message:
    """One message as people would see it; ``thread_ts`` is set for replies."""

    channel: str
    ts: str
    text: str
    blocks: list[dict[str, Any]]
    thread_ts: str | None
    body: dict[str, Any]


def answer(document: object, status: int = 200, **headers: str) -> Answer:
    return Answer(status, json.dumps(document).encode(), {"Content-Type": "application/json; charset=utf-8", **headers})


def error(code: str, status: int = 200) -> Answer:
    return answer({"ok": False, "error": code}, status)


def rate_limited(seconds: int) -> Answer:
    return answer({"ok": False, "error": "ratelimited"}, 429, **{"Retry-After": str(seconds)})


def bad_gateway(status: int = 503) -> Answer:
    return Answer(status, b"<html><body>upstream is unwell</body></html>", {"Content-Type": "text/html"})


LOST_ANSWER = Answer(lost=True)  # posted, but nobody is told


class SlackDouble(HttpDouble):
    def __init__(
        self, *, channels: Iterable[str] = ("#llm-oncall",), token: str = TOKEN, context: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(self._slack, context=context)
        self.token = token
        self.channels = {name: f"C{index:08d}" for index, name in enumerate(channels, 1)}
        self.messages: list[Message] = []
        # a release of Slack that refuses our blocks (its code, and what it says of the block), or replies
        self.takes_no_blocks: tuple[str, str] | None = None
        self.no_threads = False
        self.updates: list[dict[str, Any]] = []
        self._next: dict[str, deque[Answer]] = {}
        self._always: dict[str, Answer] = {}
        self._lock = threading.Lock()
        self._count = 0

    @property
    def base_url(self) -> str:
        return f"{self.url}/api/"

    def fail_next(self, *answers: Answer, method: str = "chat.postMessage") -> Self:
        """The next calls of the method get these answers; `LOST_ANSWER` still posts the message."""
        self._next.setdefault(method, deque()).extend(answers)
        return self

    def fail_always(self, failure: Answer | None, *methods: str) -> None:
        """Every call of the methods fails so until told otherwise by None. Default: all methods."""
        for method in methods or ("chat.postMessage", "chat.update", "auth.test"):
            if failure is None:
                self._always.pop(method, None)
            else:
                self._always[method] = failure

    def calls(self, method: str) -> list[Received]:
        return [request for request in self.received if request.path == f"/api/{method}"]

    def _slack(self, request: Received) -> Answer:
        method = request.path.removeprefix("/api/")
        with self._lock:
            scripted = self._next.get(method)
            failure = scripted.popleft() if scripted else self._always.get(method)
            if failure is not None and not failure.lost:
                return failure
            done = self._do(method, request)
            return failure or done

    def _do(self, method: str, request: Received) -> Answer:  # noqa: PLR0911  one return per way Slack refuses
        if request.method != "POST" or not request.path.startswith("/api/"):
            return error("unknown_method", 404)
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return error("invalid_auth" if request.headers.get("authorization") else "not_authed")
        if method == "auth.test":
            return answer({"ok": True, "team": "double", "user": "killswitch"})
        if method not in ("chat.postMessage", "chat.update"):
            return error("unknown_method")
        try:
            body = request.json()
        except ValueError:
            return error("invalid_json")
        channel = self.channels.get(body.get("channel"), body.get("channel"))
        if channel not in self.channels.values():
            return error("channel_not_found")
        problem = _problem(body)
        if problem is None and self.takes_no_blocks and "blocks" in body:
            problem = self.takes_no_blocks
        if problem is not None:
            code, said = problem
            return refused_form(code, *([said] if said else []))
        thread = body.get("thread_ts")
        if thread is not None and self.no_threads:
            return error("cannot_reply_to_message")
        if method == "chat.update":
            if not any(message.ts == body.get("ts") for message in self.messages):
                return error("message_not_found")
            self.updates.append(body)
            return answer({"ok": True, "channel": channel, "ts": body["ts"]})
        self._count += 1
        ts = f"{1776608531 + self._count}.{self._count:06d}"
        self.messages.append(
            Message(channel, ts, body.get("text", ""), body.get("blocks", []), body.get("thread_ts"), body)
        )
        return answer({"ok": True, "channel": channel, "ts": ts, "message": {"text": body.get("text", "")}})


# Slack counts the characters of all blocks together; its limit is not documented (12,000 and a little for the blocks
# themselves, as measured in https://github.com/slackapi/bolt-js/issues/2509).
MAX_BLOCK_CHARACTERS = 13_200


def refused_form(code: str, *messages: str) -> Answer:
    """As Slack refuses what a message looks like: what is wrong stands in ``response_metadata.messages``."""
    document: dict[str, Any] = {"ok": False, "error": code}
    if messages:
        document |= {
            "errors": list(messages),
            "response_metadata": {"messages": [f"[ERROR] {one}" for one in messages]},
        }
    return answer(document)


def problem_of(body: dict[str, Any]) -> str | None:
    """What Slack would say of the message's content, None when it would take it."""
    problem = _problem(body)
    return None if problem is None else problem[0]


def _problem(body: dict[str, Any]) -> tuple[str, str] | None:  # noqa: PLR0911  one return per way Slack refuses
    """The error's code, and what is said of the block it is about ("" where Slack says nothing)."""
    blocks = body.get("blocks", [])
    if not body.get("text") and not blocks:
        return "no_text", ""
    if len(body.get("text", "")) > 40_000:
        return "msg_too_long", ""
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        return "invalid_blocks_format", ""
    if len(blocks) > 50:
        return "invalid_blocks", "no more than 50 items allowed [json-pointer:/blocks]"
    for number, block in enumerate(blocks):
        if not _good_block(block):
            return "invalid_blocks", f"failed to match all allowed schemas [json-pointer:/blocks/{number}]"
    if sum(map(_characters, blocks)) > MAX_BLOCK_CHARACTERS:
        return "msg_blocks_too_long", ""
    return None


def _characters(node: Any) -> int:
    """Of every ``text`` in a block."""
    if isinstance(node, dict):
        own = sum(len(value) for name, value in node.items() if name == "text" and isinstance(value, str))
        return own + sum(map(_characters, node.values()))
    return sum(map(_characters, node)) if isinstance(node, list) else 0


def _good_block(block: dict[str, Any]) -> bool:
    match block.get("type"):
        case "header":
            text = block["text"]
            return text["type"] == "plain_text" and 0 < len(text["text"]) <= 150
        case "section":
            texts = [*([block["text"]] if "text" in block else []), *block.get("fields", [])]
            limit = 3000 if "text" in block else 2000
            return (
                bool(texts) and len(block.get("fields", [])) <= 10 and all(0 < len(t["text"]) <= limit for t in texts)
            )
        case "context":
            return 0 < len(block["elements"]) <= 10 and all(0 < len(t["text"]) <= 3000 for t in block["elements"])
        case "rich_text":
            return all(
                element["type"] in {"rich_text_preformatted", "rich_text_section", "rich_text_list"}
                and all(part["type"] in {"text", "link"} and part.get("text") != "" for part in element["elements"])
                for element in block["elements"]
            )
        case "divider":
            return True
        case _:
            return False
