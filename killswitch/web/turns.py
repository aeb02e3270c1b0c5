"""Whose turn it is to make a costly page: one at a time, few wait, and a small share of one processor for all.

A page is made in one of the web server's threads. Alerts and presses in Slack are taken in such threads, too, so no
crowd of readers may hold all of them; and what pages take of the processor is not there for judging.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from killswitch.web.rendered import RENDERING_SHARE

MOST_WAITING: Final = 8  # with the one whose turn it is; requests wait before that, without a thread (`single_file`)


class Turns:
    """``wait``: seconds that a request waits at most. ``monotonic`` and ``processor`` (of this thread) give seconds."""

    def __init__(
        self,
        wait: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        processor: Callable[[], float] = time.thread_time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._wait = wait
        self._monotonic, self._processor, self._sleep = monotonic, processor, sleep
        self._places = threading.Semaphore(MOST_WAITING)
        self._lock = threading.Lock()
        self._free_at = 0.0

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Whether this request may make its page now; False where others wait already, or took too long."""
        if not self._places.acquire(blocking=False):
            yield False
            return
        try:
            if not self._lock.acquire(timeout=self._wait):
                yield False
                return
            try:
                self._sleep(min(self._wait, max(0.0, self._free_at - self._monotonic())))
                began = self._processor()
                try:
                    yield True
                finally:
                    used = self._processor() - began
                    self._free_at = self._monotonic() + used * (1 / RENDERING_SHARE - 1)
            finally:
                self._lock.release()
        finally:
            self._places.release()
