"""Shadows across a fork, and at a process's end."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from typing import Protocol

_AT_EXIT = 5.0  # seconds that a process's end waits for the shadow
# Seconds that a fork waits for metrics that are being counted, for all shadows together. A turn takes milliseconds;
# what takes longer hangs, and the service forks on its request's path or under its supervisor's eyes.
_BEFORE_FORK = 0.2


class ForkedShadow(Protocol):
    """A `killswitch.router.shadow.mirror.Shadow`, as a fork sees it. ``counting`` is held while metrics count."""

    counting: threading.Lock

    def begin_in_child(self, *, counts: bool = True) -> None: ...
    def close(self, timeout: float = 10.0) -> None: ...


started: weakref.WeakSet[ForkedShadow] = weakref.WeakSet()
_held: list[ForkedShadow] = []


def _hold_counting() -> None:
    """Before a fork: the locks of metrics must be free in the child."""
    until = time.monotonic() + _BEFORE_FORK
    _held[:] = [
        shadow for shadow in tuple(started) if shadow.counting.acquire(timeout=max(0.0, until - time.monotonic()))
    ]


def _release_counting() -> None:
    while _held:
        _held.pop().counting.release()


def _begin_in_child() -> None:
    held, _held[:] = tuple(_held), ()
    for shadow in tuple(started):
        shadow.begin_in_child(counts=shadow in held)


def _close_all() -> None:
    for shadow in tuple(started):
        shadow.close(_AT_EXIT)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_counting, after_in_parent=_release_counting, after_in_child=_begin_in_child)
atexit.register(_close_all)
