"""A double of a Slack workspace with people, groups and dialogs: the Web API that answers who presses, over real HTTP.

It refuses as Slack does: a method without its scope, a trigger that is older than three seconds or was used, a view
over Slack's limits, an answer to an address that was not given. Time is a callable, so that triggers expire at once.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from tests.doubles.http_double import Answer, HttpDouble, Received
from tests.doubles.slack_payloads import ANN, BOB, EVE, TEAM

BOT_TOKEN = "xoxb-workspace-0123456789"
APP_TOKEN = "xapp-1-A0DOUBLE1-0123456789"
GROUP = "S0ONCALL1"
SCOPES = {
    "users.info": "users:read",
    "usergroups.users.list": "usergroups:read",
    "chat.postEphemeral": "chat:write",
    "chat.postMessage": "chat:write",
    "chat.update": "chat:write",
}
TRIGGER_LIVES = 3.0  # seconds


def _document(document: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(document).encode(), {"Content-Type": "application/json; charset=utf-8"})


def _no(code: str) -> Answer:
    return _document({"ok": False, "error": code})


class SlackWorkspace(HttpDouble):
    """``socket_url``: gives the address of the socket, for `apps.connections.open`."""

    def __init__(
        self, *, now: Callable[[], float] = time.monotonic, socket_url: Callable[[], str] | None = None
    ) -> None:
        super().__init__(self._answer)
        self.now = now
        self.socket_url = socket_url
        self.scopes = {"chat:write", "users:read", "usergroups:read", "commands"}
        self.people: dict[str, dict[str, Any]] = {
            user: {"id": user, "team_id": TEAM, "name": name, "deleted": False, "is_bot": False,
                   "profile": {"display_name": name}}
            for user, name in ((ANN, "Ann Lee"), (BOB, "Bob"), (EVE, "Eve"))
        }  # fmt: skip
        self.groups: dict[str, list[str]] = {GROUP: [BOB]}
        self.failing: dict[str, Answer] = {}
        self.views: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        self.posts: list[tuple[str, dict[str, str]]] = []
        self.opened = 0
        self._triggers: dict[str, float] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    @property
    def base_url(self) -> str:
        return f"{self.url}/api/"

    def trigger(self) -> str:
        """A trigger id, as a press brings it: it opens one dialog, within three seconds."""
        with self._lock:
            trigger = f"{next(self._numbers)}.2.abcdef"
            self._triggers[trigger] = self.now()
            return trigger

    def response_url(self) -> str:
        return f"{self.url}/hooks/{next(self._numbers)}"

    def said(self) -> list[str]:
        """The texts of all answers to people, in their order."""
        return [str(answer["text"]) for answer in self.answers]

    def calls(self, method: str) -> list[Received]:
        return [one for one in self.received if one.path == f"/api/{method}"]

    def _answer(self, request: Received) -> Answer:
        if request.path.startswith("/hooks/"):
            return self._answered(request)
        method = request.path.removeprefix("/api/")
        if method in self.failing:
            return self.failing[method]
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token != (APP_TOKEN if method == "apps.connections.open" else BOT_TOKEN):
            return _no("invalid_auth")
        scope = SCOPES.get(method)
        if scope is not None and scope not in self.scopes:
            return _no("missing_scope")
        given = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
        with self._lock:
            return self._do(method, given)

    def _do(self, method: str, given: dict[str, str]) -> Answer:  # noqa: PLR0911  one return for each method
        match method:
            case "auth.test":
                return _document({"ok": True, "team_id": TEAM, "user_id": "U0BOT0001", "bot_id": "B0DOUBLE1"})
            case "users.info":
                user = self.people.get(given.get("user", ""))
                return _document({"ok": True, "user": user}) if user else _no("user_not_found")
            case "usergroups.users.list":
                users = self.groups.get(given.get("usergroup", ""))
                return _no("no_such_subteam") if users is None else _document({"ok": True, "users": users})
            case "views.open":
                return self._open(given)
            case "chat.postEphemeral" | "chat.postMessage":
                self.posts.append((method, given))
                return _document({"ok": True, "ts": "1.2", "message_ts": "1.2"})
            case "apps.connections.open":
                self.opened += 1
                if self.socket_url is None:
                    return _no("not_allowed_token_type")
                return _document({"ok": True, "url": self.socket_url()})
            case _:
                return _no("unknown_method")

    def _open(self, given: dict[str, str]) -> Answer:
        began = self._triggers.pop(given.get("trigger_id", ""), None)
        if began is None:
            return _no("exchanged_trigger_id")
        if self.now() - began > TRIGGER_LIVES:
            return _no("expired_trigger_id")
        view = json.loads(given["view"])
        problem = problem_of_view(view)
        if problem is not None:
            return _document({"ok": False, "error": "invalid_arguments", "response_metadata": {"messages": [problem]}})
        self.views.append(view)
        return _document({"ok": True, "view": {**view, "id": f"V{len(self.views):08d}"}})

    def _answered(self, request: Received) -> Answer:
        if "hooks" in self.failing:
            return self.failing["hooks"]
        self.answers.append(request.json())
        return Answer(200, b"ok", {"Content-Type": "text/plain"})


def problem_of_view(view: dict[str, Any]) -> str | None:
    """What Slack would say is wrong with a modal; None where it would open it."""
    if view.get("type") != "modal":
        return "type must be modal"
    for name in ("title", "submit", "close"):
        if view[name]["type"] != "plain_text" or not 0 < len(view[name]["text"]) <= 24:
            return f"{name} must have 1 to 24 characters"
    if len(view.get("private_metadata", "")) > 3000 or len(view.get("callback_id", "")) > 255:
        return "private_metadata or callback_id is too long"
    if not 0 < len(view["blocks"]) <= 100:
        return "1 to 100 blocks"
    names = [block["block_id"] for block in view["blocks"] if "block_id" in block]
    if len(set(names)) < len(names):
        return "block_ids must be unique"
    return next((said for block in view["blocks"] if (said := _problem_of_block(block)) is not None), None)


def _problem_of_block(block: dict[str, Any]) -> str | None:  # noqa: PLR0911  one return for each of Slack's limits
    if block["type"] == "section":
        return None if 0 < len(block["text"]["text"]) <= 3000 else "a section has 1 to 3000 characters"
    if block["type"] != "input":
        return f"{block['type']} is not expected in this double"
    if not 0 < len(block["label"]["text"]) <= 2000 or block["label"]["type"] != "plain_text":
        return "a label is plain text of at most 2000 characters"
    element = block["element"]
    options = element.get("options", [])
    if element["type"] in ("static_select", "checkboxes"):
        limit = 100 if element["type"] == "static_select" else 10
        if not 0 < len(options) <= limit:
            return "too many options, or none"
        if any(not 0 < len(one["text"]["text"]) <= 75 or not 0 < len(one["value"]) <= 150 for one in options):
            return "an option's text has at most 75 characters and its value 150"
        chosen = element.get("initial_option")
        return None if chosen is None or chosen in options else "initial_option must be one of options"
    if element["type"] == "plain_text_input":
        return None if element.get("max_length", 3000) <= 3000 else "max_length is at most 3000"
    return f"{element['type']} is not expected in this double"
