"""Waiting for the first read of the store, for asyncio: other tasks run while it waits."""

from __future__ import annotations

import time
from collections.abc import Callable

_LOOK = 0.02  # seconds between looks


async def has_read_within(timeout: float, has_read: Callable[[], bool]) -> bool:  # noqa: ASYNC109  a timeout here is an answer, not an error
    """Whether ``has_read`` is true at most ``timeout`` seconds from now."""
    import asyncio  # noqa: PLC0415  # a service without coroutines need not load it

    until = time.monotonic() + timeout
    while not has_read():
        left = until - time.monotonic()
        if left <= 0.0:
            return False
        await asyncio.sleep(min(left, _LOOK))
    return True
