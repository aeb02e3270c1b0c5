"""The request URL: what Slack posts to us, behind its signature, for teams who open a port instead of a socket."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from killswitch.errors import KillswitchError
from killswitch.interaction.desk import FrontDesk, Taken
from killswitch.interaction.signed_requests import SeenSignatures, problem_with
from killswitch.net.credentials import Secret

_log = logging.getLogger(__name__)
MAX_FIELDS = 50


@dataclass(frozen=True, slots=True)
class HttpReply:
    """``document`` as JSON where there is one, else ``text``."""

    status: int
    text: str = ""
    document: Any = None


class RequestUrl:
    """``secret``: the app's signing secret, read again for every request. ``wall`` in Unix seconds. Thread-safe."""

    def __init__(self, secret: Secret, desk: FrontDesk, *, wall: Callable[[], float]) -> None:
        self._secret = secret
        self._desk = desk
        self._wall = wall
        self._seen = SeenSignatures()

    def interactions(self, body: bytes, timestamp: str | None, signature: str | None) -> HttpReply:
        """A form with one field, ``payload``, which is JSON."""

        def take(form: dict[str, str]) -> Taken | None:
            try:
                payload = json.loads(form.get("payload", ""))
            except (ValueError, RecursionError):
                payload = None
            return self._desk.interaction(payload)

        return self._received(body, timestamp, signature, take)

    def commands(self, body: bytes, timestamp: str | None, signature: str | None) -> HttpReply:
        """A form with the fields of the slash command. ``ssl_check`` is Slack's own look at the address."""
        return self._received(
            body,
            timestamp,
            signature,
            lambda form: Taken() if form.get("ssl_check") == "1" else self._desk.command(form),
        )

    def _received(
        self,
        body: bytes,
        timestamp: str | None,
        signature: str | None,
        take: Callable[[dict[str, str]], Taken | None],
    ) -> HttpReply:
        now = self._wall()
        try:
            secret = self._secret.reveal()
        except KillswitchError as error:
            _log.error("no request of Slack can be checked: %s", error)
            return HttpReply(503, "the signing secret cannot be read; see the log")
        problem = problem_with(body, timestamp, signature, secret=secret, now=now)
        if problem is not None:
            return HttpReply(401, f"this is no request of Slack: {problem}")
        assert signature is not None
        if not self._seen.is_new(signature, now):
            return HttpReply(409, "this request was received before; a request is carried out once")
        try:
            form = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))
        except ValueError:
            return HttpReply(400, "the body is no form")
        taken = take(form)
        if taken is None:
            return HttpReply(503, "too many presses wait; press again in a minute")
        return HttpReply(200, "") if taken.payload is None else HttpReply(200, document=dict(taken.payload))
