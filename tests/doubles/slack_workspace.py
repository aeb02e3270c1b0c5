"""A double of a Slack workspace with people, groups and dialogs: the Web API that answers who presses, over real HTTP.

It refuses as Slack does: a method without its scope, a trigger that is older than three seconds or was used, a view
over Slack's limits, an answer to an address that was not given. Time is a callable, so that triggers expire at once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl

from tests.doubles.http_double import Answer, Received
from tests.doubles.slack import TOKEN, SlackDouble, answer, error
from tests.doubles.slack_payloads import ANN, BOB, EVE, TEAM

BOT_TOKEN = TOKEN
APP_TOKEN = "xapp-1-A0DOUBLE1-0123456789"
GROUP = "S0ONCALL1"
SCOPES = frozenset({"chat:write", "files:write", "commands", "users:read", "usergroups:read"})
_NEEDS = {"users.info": "users:read", "usergroups.users.list": "usergroups:read", "chat.postEphemeral": "chat:write"}


class SlackWorkspace(SlackDouble):
    """``socket_url`` gives an address of the socket each time it is called, for `apps.connections.open`."""

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.monotonic,
        socket_url: Callable[[], str] | None = None,
        scopes: Iterable[str] = SCOPES,
    ) -> None:
        super().__init__(scopes=scopes)
        self.time = now  # of triggers; messages have no limit of rate here
        self.socket_url = socket_url
        self.people: dict[str, dict[str, Any]] = {
            user: {"id": user, "team_id": TEAM, "name": name, "deleted": False, "is_bot": False,
                   "profile": {"display_name": name}}
            for user, name in ((ANN, "Ann Lee"), (BOB, "Bob"), (EVE, "Eve"))
        }  # fmt: skip
        self.groups: dict[str, list[str]] = {GROUP: [BOB]}
        self.failing: dict[str, Answer] = {}
        self.answers: list[dict[str, Any]] = []
        self.posts: list[tuple[str, dict[str, str]]] = []
        self.opened = 0
        self._pressed: dict[str, float] = {}

    def trigger(self) -> str:
        """A trigger id, as a press brings it: it opens one dialog, within three seconds."""
        trigger = self.new_trigger()
        self._pressed[trigger] = self.time()
        return trigger

    def response_url(self) -> str:
        return f"{self.url}/hooks/{next(self._numbers)}"

    def said(self) -> list[str]:
        """The texts of all answers to people, in their order."""
        return [str(one["text"]) for one in self.answers]

    def _slack(self, request: Received) -> Answer:
        if request.path.startswith("/hooks/"):
            return self._answered(request)
        method = request.path.removeprefix("/api/")
        if method in self.failing:
            return self.failing[method]
        form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        given = dict(parse_qsl(request.body.decode(errors="replace"), keep_blank_values=True)) if form else {}
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if method == "apps.connections.open":
            return self._connections(token)
        if method in _NEEDS or (form and method in {"views.open", "chat.postMessage"}):
            with self._lock:
                return self._of_a_form(method, token, given)
        return super()._slack(request)

    def _connections(self, token: str) -> Answer:
        self.opened += 1
        if token != APP_TOKEN:
            return error("invalid_auth")
        return error("internal_error") if self.socket_url is None else answer({"ok": True, "url": self.socket_url()})

    def _of_a_form(self, method: str, token: str, given: dict[str, str]) -> Answer:  # noqa: PLR0911  one a method
        if token != self.token:
            return error("invalid_auth")
        if method in _NEEDS and _NEEDS[method] not in self.scopes:
            return error("missing_scope", needed=_NEEDS[method])
        match method:
            case "users.info":
                user = self.people.get(given.get("user", ""))
                return answer({"ok": True, "user": user}) if user else error("user_not_found")
            case "usergroups.users.list":
                users = self.groups.get(given.get("usergroup", ""))
                return error("no_such_subteam") if users is None else answer({"ok": True, "users": users})
            case "views.open":
                if self.time() - self._pressed.get(given.get("trigger_id", ""), -1e9) > 3.0:
                    return error("expired_trigger_id")
                return self._open({"trigger_id": given["trigger_id"], "view": json.loads(given["view"])})
            case _:
                self.posts.append((method, given))
                return answer({"ok": True, "ts": self._ts(), "message_ts": self._ts()})

    def _test(self, request: Received) -> Answer:
        said = super()._test(request)
        return Answer(200, json.dumps({**json.loads(said.body), "team_id": TEAM}).encode(), said.headers)

    def _answered(self, request: Received) -> Answer:
        if "hooks" in self.failing:
            return self.failing["hooks"]
        self.answers.append(request.json())
        return Answer(200, b"ok", {"Content-Type": "text/plain"})
