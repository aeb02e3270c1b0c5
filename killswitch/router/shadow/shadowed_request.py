"""One sampled request while control serves it: what passes is kept by reference, and offered when it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from killswitch.router.outcomes import Outcome
from killswitch.router.route_types import Route
from killswitch.router.shadow.asking import Finished
from killswitch.router.shadow.capture import contents_of
from killswitch.router.shadow.drops import Drop
from killswitch.router.shadow.quota import headers_of, status_of

MAX_CHUNKS = 10_000  # of one streamed answer; as objects of the OpenAI client about 20 MB


class Offered(Protocol):
    """Where a finished request goes; `killswitch.router.shadow.mirror.Shadow` is one."""

    def offer(self, finished: Finished) -> None: ...
    def drop(self, reason: Drop) -> None: ...


class ShadowedRequest:
    """References to a request of control and to its answer. Nothing of it is copied.

    ``answer``: the whole answer, where it is no stream whose chunks came by `chunk`. ``headers`` and ``status``: those
    of control's response, where the client gives them. ``size``: bytes of memory of both bodies, where known.
    """

    __slots__ = (
        *("_api", "_arguments", "_began", "_chunks", "_clock", "_contents", "_messages", "_prompt_class"),
        *("_request_id", "_route", "_seconds", "_shadow", "_side_effects", "_started", "_user"),
        *("answer", "first_token_seconds", "headers", "size", "status"),
    )

    def __init__(
        self,
        shadow: Offered,
        route: Route,
        arguments: Any,
        api: str,
        user: Any,
        request_id: str,
        prompt_class: str,
        side_effects: bool | None,  # noqa: FBT001  # by position: names would cost more than all the rest
        clock: Callable[[], float] = time.monotonic,
        calendar: Callable[[], float] = time.time,
    ) -> None:
        self._shadow: Offered | None = shadow
        self._route = route
        self._arguments = arguments
        self._api = api
        self._user = user
        self._request_id = request_id
        self._prompt_class = prompt_class
        self._side_effects = side_effects
        said = None if isinstance(arguments, list) else arguments.get("messages") or arguments.get("input")
        # 40 references are copied in 0.1 microseconds; the messages themselves are not
        self._messages = tuple(said) if isinstance(said, list | tuple) and said else None
        self._contents = None if self._messages is None else contents_of(self._messages)
        self._chunks: list[object] | None = None
        self._seconds: list[float] = []
        self.answer: object = None
        self.headers: object = None
        self.status: int | None = None
        self.size = 0
        self.first_token_seconds: float | None = None
        self._clock = clock
        self._started = calendar()
        self._began = clock()

    def chunk(self, chunk: object) -> None:
        """One more part of a streamed answer."""
        if self._shadow is None:
            return
        if self._chunks is None:
            self._chunks = []
        if len(self._chunks) < MAX_CHUNKS:
            self._chunks.append(chunk)
            self._seconds.append(self._clock() - self._began)
        else:
            self.leave(Drop.TOO_LARGE)

    def leave(self, reason: str) -> None:
        """Keep and offer nothing of this request; ``reason`` is a word of `killswitch.router.shadow.drops`."""
        if self._shadow is not None:
            self._shadow.drop(Drop(reason))
        self._shadow = self._chunks = self.answer = None
        self._seconds.clear()

    def forget(self) -> None:
        """It turned out to be no request to a model: it is in no sample, so nothing is counted."""
        self._shadow = self._chunks = self.answer = None
        self._seconds.clear()

    def ended(self, outcome: Outcome, seconds: float, error: BaseException | None) -> None:
        """Control has answered, or failed with ``error``: the request is offered. A second call does nothing."""
        shadow, self._shadow = self._shadow, None
        if shadow is None:
            return
        failed = error is not None
        shadow.offer(
            # by position, which takes a third of the time; the order is that of `Finished`
            Finished(
                self._request_id,
                self._user,
                self._prompt_class,
                self._api,
                self._arguments,
                self._messages,
                self._chunks if self.answer is None else self.answer,
                self._route,
                self._started,
                seconds,
                outcome,
                self.first_token_seconds,
                self._side_effects,
                # an exception's properties may raise, and this is the request's path
                (headers_of(error) or self.headers) if failed else self.headers,
                status_of(error) if failed else self.status,
                self._contents,
                self._seconds,
                False,
                self.size,
            )
        )
