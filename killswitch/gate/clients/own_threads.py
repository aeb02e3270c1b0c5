"""Calls that know no total deadline, LiteLLM's and functions of one's own: each runs on a thread and is left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class TooLate(Exception):
    """The call has not ended in time. Its thread goes on until the call ends by itself."""


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """What ``call`` returns or raises, on a thread of its own. Raises TooLate after ``seconds``."""
    outcome: list[tuple[bool, Any]] = []

    def run() -> None:
        try:
            outcome.append((True, call()))
        except BaseException as error:  # noqa: BLE001  raised again where it is waited for
            outcome.append((False, error))

    # a daemon thread: a call that hangs must not keep the program from ending
    thread = threading.Thread(target=run, name="killswitch-gate-call", daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TooLate
    ended, value = outcome[0]
    if not ended:
        raise value
    return value
