"""The bodies of a request and its answer as they pass an ASGI application, kept for a shadow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_REQUEST_BYTES, MAX_ANSWER_BYTES = 1_000_000, 4_000_000
_PART_BYTES = 41  # that each part takes in memory besides its own: a stream in parts of a few bytes is mostly these


class Bodies:
    """The parts of one request's and its answer's body, by reference, up to a bound.

    ``api``: of a path that is known by its end alone, whose body must be a request to a model; "" where the service
    says that it is one.
    """

    def __init__(self, shadowed: Any, asked: list[bytes], api: str) -> None:
        self._shadowed = shadowed
        self._api = api
        self._asked = asked
        self._answered: list[bytes] = []
        self._room = [MAX_REQUEST_BYTES, MAX_ANSWER_BYTES]
        self._events = False
        self._size = 0

    def received(self, message: Mapping[str, Any]) -> None:
        """A message to the application. Never raises."""
        try:
            self._keep(0, self._asked, message.get("body"))
        except Exception:  # noqa: BLE001  # a server's own message: no failure of a shadow may reach a user
            self._leave("failed")

    def sent(self, message: Mapping[str, Any]) -> None:
        """A message of the application. Never raises."""
        try:
            if self._shadowed is None:
                return
            if message["type"] == "http.response.start":
                self._begin_answer(message["status"], dict(message.get("headers", ())))
            else:
                self._keep(1, self._answered, message.get("body"))
        except Exception:  # noqa: BLE001  # as above
            self._leave("failed")

    def _begin_answer(self, status: int, headers: dict[bytes, bytes]) -> None:
        self._events = headers.get(b"content-type", b"").startswith(b"text/event-stream")
        # what the client did wrong says nothing of a model; what is compressed cannot be read
        if (400 <= status < 500 and status != 429) or b"content-encoding" in headers:
            self._leave("not_comparable")
            return
        self._shadowed.status = status
        self._shadowed.headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in headers.items()
            if b"ratelimit" in name or name == b"retry-after"
        }

    def complete(self) -> None:
        """The body was sent; a list is read as a stream, a tuple as one document."""
        if self._shadowed is None:
            return
        from killswitch.router.shadow.asked_fields import may_ask_a_model  # noqa: PLC0415  # loaded where used

        if self._api and not may_ask_a_model(self._api, self._asked):  # another application's path of the same end
            self._shadowed.forget()
            self._let_go()
            return
        self._shadowed.size = self._size
        self._shadowed.answer = self._answered if self._events else tuple(self._answered)

    def _keep(self, which: int, parts: list[bytes], part: bytes | None) -> None:
        if not part or self._shadowed is None:
            return
        self._room[which] -= len(part)
        if self._room[which] < 0:
            self._leave("too_large")
        else:
            parts.append(part)
            self._size += len(part) + _PART_BYTES

    def _leave(self, reason: str) -> None:
        if self._shadowed is not None:
            self._shadowed.leave(reason)
        self._let_go()

    def _let_go(self) -> None:
        self._shadowed = None
        self._asked.clear()
        self._answered.clear()
