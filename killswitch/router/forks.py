"""Followers across a fork (gunicorn's prefork): the child follows again, and no observer's lock is held in it."""

from __future__ import annotations

import os
import weakref
from typing import Any, Protocol

from killswitch.deadline import Deadline
from killswitch.router.observers import ObserverLanes

_LONGEST_DELAY = 5.0  # seconds that a fork waits for observers


class Forkable(Protocol):
    """A follower, as a fork sees it."""

    @property
    def observers(self) -> ObserverLanes[Any]: ...

    def begin_in_child(self) -> None:
        """Start again in the child, which has the memory of its parent and none of its threads."""


started: weakref.WeakSet[Forkable] = weakref.WeakSet()
_held: list[Any] = []


def _hold_observers() -> None:
    """Before a fork: the locks that observers take (prometheus_client's) must be free in the child."""
    deadline = Deadline(_LONGEST_DELAY)
    # an observer that hangs may delay a fork but not prevent it
    _held[:] = [
        lane.calling
        for follower in tuple(started)
        for lane in follower.observers.lanes
        if lane.calling.acquire(timeout=deadline.remaining())
    ]


def _release_observers() -> None:
    while _held:
        _held.pop().release()


def _restart_in_child() -> None:
    _held.clear()  # these are the parent's
    for follower in tuple(started):
        follower.begin_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_observers, after_in_parent=_release_observers, after_in_child=_restart_in_child)
