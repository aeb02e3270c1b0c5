"""Threads of the SDK that count into the service's metrics, across a fork: the metrics' locks are free in the child."""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import Protocol

# Seconds that a fork waits for metrics that are being counted, for all threads together. A turn takes milliseconds;
# what takes longer hangs, and the service forks on its request's path or under its supervisor's eyes.
_BEFORE_FORK = 0.2


class CountsOnAThread(Protocol):
    """The owner of such a thread, as a fork sees it. ``counting`` is held while metrics count."""

    counting: threading.Lock

    def begin_in_child(self, *, counts: bool = True) -> None:
        """Start again in the child, which has the memory of its parent and none of its threads.

        ``counts`` is False where a metric was being counted as it forked: its lock is held here for good.
        """


started: weakref.WeakSet[CountsOnAThread] = weakref.WeakSet()
_held: list[CountsOnAThread] = []


def _hold_counting() -> None:
    until = time.monotonic() + _BEFORE_FORK
    _held[:] = [
        one for one in tuple(started) if one.counting.acquire(timeout=max(0.0, until - time.monotonic()))
    ]  # fmt: skip


def _release_counting() -> None:
    while _held:
        _held.pop().counting.release()


def _begin_in_child() -> None:
    held, _held[:] = tuple(_held), ()
    for one in tuple(started):
        one.begin_in_child(counts=one in held)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_counting, after_in_parent=_release_counting, after_in_child=_begin_in_child)
