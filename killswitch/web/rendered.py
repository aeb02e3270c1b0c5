"""Pages that are costly to make: made once for everyone who asks, and sent as slowly as the peer reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.responses import Response

from killswitch.status.reports import CycleReport

RENDERED_FOR = 0.5  # seconds at least that one page serves everyone
RENDERING_SHARE = 0.2  # of one processor at most, for each kind of page, however many ask
PIECE = 64 * 1024  # bytes of an answer that may wait in memory for a peer that reads slowly


class Rendered:
    """What a report looks like, made once for everyone who asks: while it is made, all wait for the one result.

    It serves for `RENDERED_FOR` seconds, and longer where it took long to make: metrics of 1,000 rollouts take a
    second, and a client that asks for them all the time must not slow the cycle. A new report is shown at once.
    """

    def __init__(self, render: Callable[[], bytes], renderer: ThreadPoolExecutor) -> None:
        self._render = render
        self._renderer = renderer
        self._made: tuple[CycleReport | None, float, bytes] | None = None  # until when it serves
        self._making: asyncio.Future[bytes] | None = None

    async def of(self, report: CycleReport | None) -> bytes:
        if self._made is not None and self._made[0] is report and time.monotonic() <= self._made[1]:
            return self._made[2]
        loop = asyncio.get_running_loop()
        if self._making is None or self._making.get_loop() is not loop:
            self._making = loop.run_in_executor(self._renderer, self._make, report)
            self._making.add_done_callback(self._finished)
        return await asyncio.shield(self._making)  # a client that hangs up does not cancel it for the others

    def _make(self, report: CycleReport | None) -> bytes:
        began = time.monotonic()
        body = self._render()
        ended = time.monotonic()
        self._made = (report, ended + max(RENDERED_FOR, (ended - began) / RENDERING_SHARE), body)
        return body

    def _finished(self, making: asyncio.Future[bytes]) -> None:
        if self._making is making:
            self._making = None


class InPieces(Response):
    """A large answer, sent piece by piece as the peer takes it.

    Whole, it would be copied into the connection's buffer: 5 MB of metrics for each of 512 peers that read slowly.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002  as Starlette calls it
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = memoryview(self.body)
        for begin in range(0, len(body), PIECE):
            piece = bytes(body[begin : begin + PIECE])
            await send({"type": "http.response.body", "body": piece, "more_body": begin + PIECE < len(body)})
        if not body:
            await send({"type": "http.response.body", "body": b""})
