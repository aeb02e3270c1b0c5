"""A few threads that do what was pressed, after Slack has its acknowledgement.

They are apart from the cycle, the flips and the pages. What waits is bounded: more is refused, and the person sees it.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable

_log = logging.getLogger(__name__)
THREADS = 4
MAX_WAITING = 32
MAX_WAITING_OF_ONE = 6


class Workers:
    """Daemon threads, so that a server that hangs holds up no end of the process. Thread-safe."""

    def __init__(self, *, threads: int = THREADS, waiting: int = MAX_WAITING) -> None:
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(waiting)
        self._threads = [
            threading.Thread(target=self._work, name=f"slack-worker-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Callable[[], None]) -> bool:
        """Whether the job will be done; False where too many wait already."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            return False
        return True

    def close(self, within: float) -> None:
        """No more jobs; those that wait are done, if that takes no longer than ``within`` seconds for each thread."""
        for _ in self._threads:
            try:
                self._jobs.put(None, timeout=within)
            except queue.Full:
                return
        for thread in self._threads:
            thread.join(within)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:  # noqa: BLE001  a bug in one press must not end the thread
                _log.exception("a press in Slack failed because of a bug")


class WaitingOfEach:
    """How many presses of each person wait or are being done, so that no one takes every place. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def takes(self, user: str) -> bool:
        """Whether one more of this person is taken; it is counted until `done`."""
        with self._lock:
            if self._counts[user] >= MAX_WAITING_OF_ONE:
                return False
            self._counts[user] += 1
            return True

    def done(self, user: str) -> None:
        with self._lock:
            self._counts[user] -= 1
            if self._counts[user] <= 0:
                del self._counts[user]
