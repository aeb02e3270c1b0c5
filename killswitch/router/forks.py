"""Followers across a fork (gunicorn's prefork): the child follows again, and finds no lock of an observer taken."""

from __future__ import annotations

import os
import weakref
from typing import Any, Protocol

from killswitch.deadline import Deadline
from killswitch.router.telling import Telling

_FORK_PATIENCE = 5.0  # seconds that a fork waits for observers


class Forkable(Protocol):
    """A follower, as a fork sees it."""

    telling: Telling

    def begin_in_child(self) -> None:
        """Start again in the child, which has the memory of its parent and none of its threads."""


started: weakref.WeakSet[Forkable] = weakref.WeakSet()
_held: list[Any] = []


def _hold_observers() -> None:
    """Before a fork: whatever locks observers take (prometheus_client's) must be free in the child."""
    patience = Deadline(_FORK_PATIENCE)
    # an observer that hangs may delay a fork, and not prevent it
    _held[:] = [
        lane.telling
        for follower in tuple(started)
        for lane in follower.telling.lanes
        if lane.telling.acquire(timeout=patience.remaining())
    ]


def _release_observers() -> None:
    while _held:
        _held.pop().release()


def _restart_in_child() -> None:
    _held.clear()  # the parent's
    for follower in tuple(started):
        follower.begin_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_observers, after_in_parent=_release_observers, after_in_child=_restart_in_child)
