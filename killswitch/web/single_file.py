"""Requests that are worked on one after the other, and wait for their turn without a thread.

The web server has few threads, for everything that is not a coroutine. While the flag store hangs, a crowd of requests
for pages, or of alerts, must not take all of them: flags, verdicts and presses in Slack need one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from starlette.concurrency import run_in_threadpool

from killswitch.errors import KillswitchError

MAX_WAITING: Final = 32
_Made = TypeVar("_Made")


class NoTurn(KillswitchError):
    """Too many wait, or it was not this request's turn in time. Nothing was done."""


class SingleFile:
    """For one event loop. ``within`` seconds a request waits for its turn, unless `MAX_WAITING` wait already."""

    def __init__(self, *, within: float) -> None:
        self._within = within
        self._turn = asyncio.Lock()
        self._waiting = 0

    @property
    def full(self) -> bool:
        """Whether another request would get no turn."""
        return self._waiting >= MAX_WAITING

    async def run(self, work: Callable[[], _Made]) -> _Made:
        """What ``work`` returns, done in a thread. Raises NoTurn, and what ``work`` raises."""
        if self.full:
            raise NoTurn("too many requests wait")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._within):
                await self._turn.acquire()
        except TimeoutError:
            raise NoTurn("the requests before it took too long") from None
        finally:
            self._waiting -= 1
        try:
            return await run_in_threadpool(work)
        finally:
            self._turn.release()
