"""What every follower of the store does alike: threads that an error does not end, reads at their pace, forks.

A child of a fork (gunicorn's prefork) begins with its parent's memory and starts its own threads.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from killswitch.router import forks
from killswitch.router.observers import Happening, ObserverLanes
from killswitch.stores.reader import Reader, Watch

REREAD_EVERY = 10.0  # seconds, with a jitter of a fifth; less if an armed flag is trusted for a short time
READ_SPREAD = 1.0  # seconds over which followers read when the store is back
# Seconds between attempts while the store does not answer. Later ones are no more frequent than re-reads: a thousand
# routers must not keep an overloaded store down. The watch finds out when it answers again.
_FIRST_RETRY = 0.5
_LAST_RETRY_UNREAD = 5.0  # there is no watch before the first read


def elapsed() -> float:
    """Seconds on a clock that never goes back and, where the system has one, does not stop while it sleeps."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Background:
    """A follower's threads and the pace of its reads. ``name`` is in the names of the threads and in the log.

    ``clock`` gives seconds, as `elapsed` does.
    """

    observers: ObserverLanes[Any]

    def __init__(self, name: str, reader: Reader, *, reread_every: float, clock: Callable[[], float]) -> None:
        self._name = name
        self._reader = reader
        self._reread_every = reread_every
        self._clock = clock
        self._counts = dict.fromkeys(Happening, 0)
        self._error: str | None = None
        self._running = False
        self._of_parents: list[Watch | None] = []

    def start(self) -> None:
        """Begin to follow in the background; returns at once. Call it once, before a fork or after."""
        if not self._running:
            self._running = True
            forks.started.add(self)
            self._start_threads()

    # --- what a follower says

    def _duties(self) -> Mapping[str, Callable[[], None]]:
        """What each thread does until `_closed` is set."""
        raise NotImplementedError

    def _cannot_start(self, why: str) -> None:
        """The system gives no more threads, so that nothing is followed."""
        raise NotImplementedError

    def _begin(self) -> None:
        """Set everything that belongs to this process alone."""
        self._closed = threading.Event()
        self._wake = threading.Event()
        self._first_read = threading.Event()
        self._read_at = 0.0
        self._retries = 0
        self._watching = False
        self._watch: Watch | None = None
        self._threads: tuple[threading.Thread, ...] = ()

    # --- threads

    def _start_threads(self) -> None:
        self._threads = tuple(
            threading.Thread(target=self._duty, args=(duty,), name=f"killswitch-{name}-{self._name}", daemon=True)
            for name, duty in self._duties().items()
        )
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError as error:  # no more threads
            self._closed.set()
            self._cannot_start(str(error))

    def begin_in_child(self) -> None:
        """Start again in the child of a fork."""
        self._reader.forget()
        self._of_parents.append(self._watch)  # never finalised: a thread that does not exist here may hold its locks
        self._begin()
        self._start_threads()

    def _duty(self, duty: Callable[[], None]) -> None:
        """Runs one thread. An unexpected error is a bug of ours; it must not end the following."""
        while not self._closed.is_set():
            try:
                duty()
            except Exception as error:  # noqa: BLE001  # logged with its traceback
                self._note(Happening.INTERNAL_ERROR)
                self._error = f"{type(error).__name__}: {error}"
                self.observers.log(
                    logging.ERROR, "%s: unexpected error; the store is still followed", self._name, error=error
                )
                self._closed.wait(1.0)

    @property
    def _following(self) -> bool:
        return self._running and all(thread.is_alive() for thread in self._threads)

    def _stop(self) -> None:
        """Tell the threads to end."""
        forks.started.discard(self)
        self._running = False
        self._closed.set()
        self._wake.set()
        self._first_read.set()

    def _join(self) -> None:
        """Wait for the threads, a second each at most."""
        if self._watch is not None:
            self._watch.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=1.0)

    def _note(self, what: Happening) -> None:
        self._counts[what] += 1
        self.observers.happened(what)

    # --- the pace of reads

    def _next_read_in(self, *, succeeded: bool) -> float:
        if succeeded:
            self._retries = 0
            return self._reread_every * random.uniform(0.8, 1.2)  # noqa: S311  # no secret
        longest = self._reread_every if self._watch is not None else min(_LAST_RETRY_UNREAD, self._reread_every)
        pause = min(longest, _FIRST_RETRY * 2.0 ** min(self._retries, 12))
        self._retries += 1
        return pause * random.uniform(0.5, 1.0)  # noqa: S311  # no secret

    def _read_soon(self, within: float) -> None:
        at = self._clock() + random.uniform(0.0, within)  # noqa: S311  # no secret
        self._read_at = min(self._read_at, at)
        self._wake.set()
