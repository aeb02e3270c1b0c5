"""A double of Slack's Web API over real HTTP, which enforces Slack's own rules.

It refuses what Slack refuses: tokens, scopes, channels that the app is not in, sizes of blocks and dialogs, changes of
others' messages, trigger ids that are used twice or after three seconds, and, with a clock, too many calls. It can be
told to misbehave: `fail_next`, `fail_always`, `hang`.
"""

from __future__ import annotations

import itertools
import json
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Self

from tests.doubles.http_double import Answer, HttpDouble, Received
from tests.doubles.slack_files import Uploads
from tests.doubles.slack_limits import Problem, problem_of_message, problem_of_view

TOKEN = "xoxb-double-0123456789"
BOT = "U0000BOT1"
SCOPES = frozenset({"chat:write", "files:write"})
_NEEDS = {
    "chat.postMessage": "chat:write",
    "chat.update": "chat:write",
    "files.getUploadURLExternal": "files:write",
    "files.completeUploadExternal": "files:write",
}
# calls in a minute, for each method; messages have a limit of their own: one a second in each channel
_TIERS = {"chat.update": 50, "files.getUploadURLExternal": 100, "files.completeUploadExternal": 100, "views.open": 100}
TRIGGER_LIVES = 3.0  # seconds


@dataclass(frozen=True, slots=True)
class Message:
    """One message as people would see it; ``thread_ts`` is set for replies. ``files``: ids of what it shares.

    ``body``: as it was last sent. ``by``: who wrote it. ``broadcast``: a reply that the channel shows as well.
    """

    channel: str
    ts: str
    text: str
    blocks: list[dict[str, Any]]
    thread_ts: str | None
    body: dict[str, Any]
    by: str = BOT
    broadcast: bool = False
    files: tuple[str, ...] = ()


def answer(document: object, status: int = 200, **headers: str) -> Answer:
    return Answer(status, json.dumps(document).encode(), {"Content-Type": "application/json; charset=utf-8", **headers})


def error(code: str, status: int = 200, **said: Any) -> Answer:
    return answer({"ok": False, "error": code, **said}, status)


def rate_limited(seconds: int) -> Answer:
    return answer({"ok": False, "error": "ratelimited"}, 429, **{"Retry-After": str(seconds)})


def bad_gateway(status: int = 503) -> Answer:
    return Answer(status, b"<html><body>upstream is unwell</body></html>", {"Content-Type": "text/html"})


LOST_ANSWER = Answer(lost=True)  # posted, but nobody is told


class SlackDouble(HttpDouble):
    """``channels``: names; the app is in all of them but those of ``outside``. ``now``: a clock in seconds.

    Without a clock no rate is limited and no trigger id expires.
    """

    def __init__(
        self,
        *,
        channels: Iterable[str] = ("#llm-oncall",),
        outside: Iterable[str] = (),
        token: str = TOKEN,
        scopes: Iterable[str] = SCOPES,
        now: Callable[[], float] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(self._slack, context=context)
        self.token = token
        self.scopes = set(scopes)
        self.channels = {name: f"C{index:08d}" for index, name in enumerate((*channels, *outside), 1)}
        self.outside = set(outside)
        self.messages: list[Message] = []
        # a release of Slack that refuses our blocks (its code, and what it says of the block), or replies
        self.takes_no_blocks: tuple[str, str] | None = None
        self.no_threads = False
        self.edit_window_closed = False
        self.updates: list[dict[str, Any]] = []
        self.uploads = Uploads()
        self.views: list[dict[str, Any]] = []
        self.limited = 0  # calls that were refused because they came too fast
        self._now = now
        self._triggers: dict[str, float | None] = {}
        self._next: dict[str, deque[Answer]] = {}
        self._always: dict[str, Answer] = {}
        self._called: dict[str, deque[float]] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._bare = {"auth.test": self._test, "files.getUploadURLExternal": self._ticket}
        self._with_json: dict[str, Callable[[dict[str, Any]], Answer]] = {
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "files.completeUploadExternal": self._share,
            "views.open": self._open,
        }

    @property
    def in_channel(self) -> list[Message]:
        """What was posted outside threads."""
        return [message for message in self.messages if message.thread_ts is None]

    @property
    def pages(self) -> list[Message]:
        """What was posted, without what only adds to a page: its detail and its picture."""
        return [one for one in self.messages if not one.files and not one.text.startswith("Every rule of ")]

    @property
    def base_url(self) -> str:
        return f"{self.url}/api/"

    def thread(self, ts: str) -> list[Message]:
        return [message for message in self.messages if message.thread_ts == ts]

    # --- what tests do to it --------------------------------------------------------------------

    def fail_next(self, *answers: Answer, method: str = "chat.postMessage") -> Self:
        """The next calls of the method get these answers; `LOST_ANSWER` still posts the message."""
        self._next.setdefault(method, deque()).extend(answers)
        return self

    def fail_always(self, failure: Answer | None, *methods: str) -> None:
        """Every call of the methods fails so until told otherwise by None. Default: all methods."""
        for method in methods or (*self._bare, *self._with_json):
            if failure is None:
                self._always.pop(method, None)
            else:
                self._always[method] = failure

    def calls(self, method: str) -> list[Received]:
        return [request for request in self.received if request.path == f"/api/{method}"]

    def delete(self, ts: str) -> None:
        """A person deletes a message. One with replies leaves a placeholder, so that its thread goes on."""
        with self._lock:
            self.messages = [message for message in self.messages if message.ts != ts]

    def say(self, text: str, channel: str = "#llm-oncall") -> str:
        """A person writes a message; returns its ``ts``."""
        with self._lock:
            return self._add(Message(self.channels[channel], self._ts(), text, [], None, {"text": text}, by="U0ANN")).ts

    def new_trigger(self) -> str:
        """A trigger id, as it comes with a press of a button."""
        with self._lock:
            trigger = f"{next(self._numbers)}.0123456789.abcdef"
            self._triggers[trigger] = self._now() if self._now is not None else 0.0
            return trigger

    # --- answering ------------------------------------------------------------------------------

    def _slack(self, request: Received) -> Answer:
        method = "upload" if request.path.startswith("/upload/v1/") else request.path.removeprefix("/api/")
        with self._lock:
            scripted = self._next.get(method)
            failure = scripted.popleft() if scripted else self._always.get(method)
            if failure is not None and not failure.lost:
                return failure
            done = self.uploads.take(request) if method == "upload" else self._do(method, request)
            return failure or done

    def _do(self, method: str, request: Received) -> Answer:
        refused = self._refused(method, request)
        if refused is not None:
            return refused
        if method in self._bare:
            return self._bare[method](request)
        try:
            return self._with_json[method](request.json())
        except ValueError:
            return error("invalid_json")

    def _test(self, _: Received) -> Answer:
        said = json.dumps({"ok": True, "team": "double", "user": "killswitch", "user_id": BOT}).encode()
        scopes = ",".join(sorted(self.scopes))
        return Answer(200, said, {"Content-Type": "application/json; charset=utf-8", "x-oauth-scopes": scopes})

    def _ticket(self, request: Received) -> Answer:
        ticket = self.uploads.ticket(request, self.url)
        return error(ticket) if isinstance(ticket, str) else answer(ticket)

    def _refused(self, method: str, request: Received) -> Answer | None:
        if request.method != "POST" or not request.path.startswith("/api/"):
            return error("unknown_method", 404)
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return error("invalid_auth" if request.headers.get("authorization") else "not_authed")
        if method not in self._bare and method not in self._with_json:
            return error("unknown_method")
        needed = _NEEDS.get(method)
        if needed is not None and needed not in self.scopes:
            return error("missing_scope", needed=needed, provided=",".join(sorted(self.scopes)))
        return self._too_fast(method, _TIERS.get(method, 0), 60.0) if method in _TIERS else None

    def _too_fast(self, what: str, most: int, seconds: float) -> Answer | None:
        """A refusal if this was done ``most`` times within the last seconds; else it is counted."""
        if self._now is None:
            return None
        now = self._now()
        done = self._called.setdefault(what, deque())
        while done and now - done[0] >= seconds:
            done.popleft()
        if len(done) >= most:
            self.limited += 1
            return rate_limited(max(1, round(seconds - (now - done[0]))))
        done.append(now)
        return None

    def _channel(self, given: object) -> str | None:
        """The id of a channel's name or id; None for a channel that is not there."""
        found = self.channels.get(given, given) if isinstance(given, str) else None
        return found if found in self.channels.values() else None

    def _is_outside(self, channel: str) -> bool:
        return any(self.channels[name] == channel for name in self.outside)

    def _post(self, body: dict[str, Any]) -> Answer:
        channel = self._channel(body.get("channel"))
        if channel is None:
            return error("channel_not_found")
        if self._is_outside(channel) and "chat:write.public" not in self.scopes:
            return error("not_in_channel")
        problem = self._problem(body)
        if problem is not None:
            return refused_form(problem[0], *problem[1])
        thread = body.get("thread_ts")
        if thread is not None and self.no_threads:
            return error("cannot_reply_to_message")
        too_fast = self._too_fast(f"messages in {channel}", 1, 1.0)
        if too_fast is not None:
            return too_fast
        if thread is not None and not any(thread in {one.ts, one.thread_ts} for one in self.messages):
            thread = None  # its parent was deleted, and had no replies: Slack posts it into the channel, and says so
        message = Message(
            channel, self._ts(), body.get("text", ""), body.get("blocks", []), thread, body,
            broadcast=thread is not None and body.get("reply_broadcast") is True,
        )  # fmt: skip
        self._add(message)
        said = {"text": message.text} if thread is None else {"text": message.text, "thread_ts": thread}
        return answer({"ok": True, "channel": channel, "ts": message.ts, "message": said})

    def _update(self, body: dict[str, Any]) -> Answer:
        channel = body.get("channel")
        if channel not in self.channels.values():
            return error("channel_not_found")  # a name is no channel here
        found = [one for one in self.messages if one.channel == channel and one.ts == body.get("ts")]
        if not found:
            return error("message_not_found")
        if found[0].by != BOT:
            return error("cant_update_message")
        if self.edit_window_closed:
            return error("edit_window_closed")
        problem = self._problem(body)
        if problem is not None:
            return refused_form(problem[0], *problem[1])
        after = replace(found[0], text=body.get("text", ""), blocks=body.get("blocks", []), body=body)
        self.messages[self.messages.index(found[0])] = after
        self.updates.append(body)
        return answer({"ok": True, "channel": channel, "ts": after.ts, "text": after.text})

    def _problem(self, body: dict[str, Any]) -> Problem | None:
        problem = problem_of_message(body)
        if problem is None and self.takes_no_blocks and body.get("blocks"):
            code, said = self.takes_no_blocks
            return code, [said] if said else []
        return problem

    def _share(self, body: dict[str, Any]) -> Answer:
        channel = str(body.get("channel_id"))
        if channel not in self.channels.values():
            return error("invalid_channel")  # a name is no channel here
        if self._is_outside(channel):
            return error("posting_to_channel_denied")
        files = self.uploads.complete(body.get("files"))
        if isinstance(files, str):
            return error(files)
        comment = body.get("initial_comment", "")
        self._add(Message(channel, self._ts(), comment, [], body.get("thread_ts"), body, files=tuple(files)))
        return answer({"ok": True, "files": body["files"]})

    def _open(self, body: dict[str, Any]) -> Answer:
        trigger = body.get("trigger_id")
        if trigger not in self._triggers:
            return error("invalid_trigger_id")
        given = self._triggers[trigger]
        if given is None:
            return error("exchanged_trigger_id")
        if self._now is not None and self._now() - given > TRIGGER_LIVES:
            return error("expired_trigger_id")
        problem = problem_of_view(body.get("view"))
        if problem is not None:
            return refused_form(problem[0], *problem[1])
        self._triggers[trigger] = None
        view = {**body["view"], "id": f"V{next(self._numbers):08d}"}
        self.views.append(view)
        return answer({"ok": True, "view": view})

    def _ts(self) -> str:
        number = next(self._numbers)
        return f"{1776608531 + number}.{number:06d}"

    def _add(self, message: Message) -> Message:
        self.messages.append(message)
        return message


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
    problem = problem_of_message(body)
    return None if problem is None else problem[0]
