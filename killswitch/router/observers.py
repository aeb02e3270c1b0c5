"""Calls observers and the log on threads of their own, so that one that hangs does not delay routing.

A log handler may wait for a full pipe, a listener for a lock, a metric for a disk. So the follower's threads only
leave a note. Each listener has a lane: a thread that starts when there is a note and ends when there is none.
A listener that hangs delays neither the follower nor other listeners. A lane is bounded: the newest snapshot, one
number for each `Happening`, and a hundred log lines.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Generic, Protocol, TypeVar

from killswitch.deadline import Deadline
from killswitch.router.failsafe import RouterState
from killswitch.router.snapshot import ObeyedFlag

_log = logging.getLogger(__name__)

_MOST_LINES = 100  # newest log lines, kept for a handler that hangs
Seen = TypeVar("Seen")
Seen_contra = TypeVar("Seen_contra", contravariant=True)


class Happening(StrEnum):
    """What is counted."""

    READ = "read"
    READ_FAILED = "read_failed"
    BAD_DOCUMENT = "bad_document"  # the flag, or the store's answer, could not be understood
    CHANGE = "change"  # delivered by the watch
    WATCH_BROKE = "watch_broke"
    WATCH_MISSED = "watch_missed"  # a re-read found what the watch should have delivered
    REPORT_FAILED = "report_failed"
    INTERNAL_ERROR = "internal_error"


class ObserverOf(Protocol[Seen_contra]):
    """For metrics and events. Each is called from one thread at a time; what it raises is logged and dropped.

    If snapshots come faster than an observer takes them, only the newest is kept.
    """

    def settled(self, snapshot: Seen_contra) -> None: ...
    def happened(self, what: Happening) -> None: ...


Observer = ObserverOf[ObeyedFlag]


class ObserverLanes(Generic[Seen]):
    """The observers and the log of one follower, in one process. No method waits for them."""

    def __init__(self, name: str, observers: tuple[ObserverOf[Seen], ...]) -> None:
        self._name = name
        self._lines = _Lines(f"killswitch-log-{name}")
        self._observed = tuple(
            _Observed(f"killswitch-observer-{name}", observer, self._failed_observer) for observer in observers
        )

    def show(self, snapshot: Seen) -> None:
        """Hand the newest snapshot to each observer."""
        for lane in self._observed:
            lane.settled(snapshot)

    def happened(self, what: Happening) -> None:
        for lane in self._observed:
            lane.happened(what)

    def log(self, level: int, text: str, *values: object, error: BaseException | None = None) -> None:
        """One line, with the traceback of ``error``."""
        self._lines.add(partial(_log.log, level, text, *values, exc_info=error))

    def _failed_observer(self, error: Exception) -> None:
        self.log(logging.ERROR, "%s: an observer failed", self._name, error=error)

    @property
    def lanes(self) -> tuple[_Lane, ...]:
        return (self._lines, *self._observed)

    def close(self, deadline: Deadline) -> None:
        """Wait until every note is delivered, until ``deadline`` at most."""
        for lane in self.lanes:
            lane.wait(deadline)


class Observers(ObserverLanes[ObeyedFlag]):
    """The observers and the log of one flag's follower."""

    def settled(self, previous: ObeyedFlag, snapshot: ObeyedFlag) -> None:
        """What is obeyed has changed."""
        self.show(snapshot)
        if snapshot.sentence != previous.sentence:
            self.log(_LOG_LEVELS.get(snapshot.standing, logging.WARNING), "%s", snapshot.sentence)


class _Lane:
    """Notes for one listener, and the thread that delivers them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()  # held for a moment only, never while a listener is called
        self._thread: threading.Thread | None = None
        # Held while the listener is called, so that no other thread forks meanwhile: in the child, the listener's own
        # locks would be held by a thread that does not exist there. The listener itself may fork.
        self.calling = threading.RLock()

    def _take(self) -> list[Callable[[], object]]:
        """Take all notes, as calls."""
        raise NotImplementedError

    def _failed(self, error: Exception) -> None:
        """The listener has failed."""

    def _wake(self) -> None:
        """Start delivering the notes; the lock is held."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._hand_over, name=self._name, daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # no more threads: try again with the next note
                self._thread = None

    def _hand_over(self) -> None:
        while True:
            with self._lock:
                calls = self._take()
                if not calls:
                    self._thread = None
                    return
            with self.calling:
                for call in calls:
                    try:
                        call()
                    except Exception as error:  # noqa: BLE001  # foreign code
                        self._failed(error)

    def wait(self, deadline: Deadline) -> None:
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=deadline.remaining())


class _Lines(_Lane):
    """The log."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._calls: deque[Callable[[], object]] = deque(maxlen=_MOST_LINES)

    def add(self, call: Callable[[], object]) -> None:
        with self._lock:
            self._calls.append(call)
            self._wake()

    def _take(self) -> list[Callable[[], object]]:
        calls = list(self._calls)
        self._calls.clear()
        return calls


class _Observed(_Lane, Generic[Seen]):
    """One observer: the newest snapshot, and how often each thing happened since the last call."""

    def __init__(self, name: str, observer: ObserverOf[Seen], failed: Callable[[Exception], None]) -> None:
        super().__init__(name)
        self._observer = observer
        self._failed_observer = failed
        self._snapshot: Seen | None = None
        self._happened: Counter[Happening] = Counter()

    def settled(self, snapshot: Seen) -> None:
        with self._lock:
            self._snapshot = snapshot
            self._wake()

    def happened(self, what: Happening) -> None:
        with self._lock:
            self._happened[what] += 1
            self._wake()

    def _take(self) -> list[Callable[[], object]]:
        calls: list[Callable[[], object]] = []
        if self._snapshot is not None:
            calls.append(partial(self._observer.settled, self._snapshot))
        calls.extend(partial(self._observer.happened, what) for what in self._happened.elements())
        self._snapshot = None
        self._happened.clear()
        return calls

    def _failed(self, error: Exception) -> None:
        self._failed_observer(error)


_LOG_LEVELS = {
    RouterState.ARMED: logging.INFO,
    RouterState.COMPLETE: logging.INFO,
    RouterState.NO_FLAG: logging.INFO,
    RouterState.UNREAD: logging.INFO,
    RouterState.CLOSED: logging.INFO,
    RouterState.CORRUPT: logging.ERROR,
}
