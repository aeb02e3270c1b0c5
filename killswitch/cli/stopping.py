"""Ctrl-C and SIGTERM as a wish: what is under way is paid for, so it is stored before the command ends."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager


class StopSignal:
    """Whether SIGTERM or Ctrl-C asked for an end.

    A pipe wakes who waits. An Event must not be set in a handler: the main thread may hold its lock.
    """

    def __init__(self) -> None:
        self.asked = False
        self._read, self._write = os.pipe()

    def __call__(self, number: int, _: object) -> None:
        self.asked = True
        os.write(self._write, b".")
        signal.signal(number, signal.SIG_DFL)  # a second Ctrl-C ends at once

    def wait(self, seconds: float) -> bool:
        """At most so many seconds; whether to stop. From any thread."""
        select.select([self._read], [], [], seconds)
        return self.asked


@contextmanager
def stopping() -> Iterator[StopSignal]:
    """Both signals are wishes inside the block; a second one ends the process at once."""
    stop = StopSignal()
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
