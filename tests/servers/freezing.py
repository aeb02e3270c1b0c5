"""SIGSTOP that has taken effect: on a busy machine some threads of a process run on for a while after the signal."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def freeze(pid: int, seconds: float = 60.0) -> None:
    """Stop a process, and return once none of its threads runs. Raises TimeoutError."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + seconds
    while not all(state in "TtZX" for state in _states(pid)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} runs on {seconds:g} s after SIGSTOP")
        time.sleep(0.005)


def _states(pid: int) -> list[str]:
    """Of each thread, as proc(5) has them; none without /proc."""
    return [_state(task) for task in Path(f"/proc/{pid}/task").glob("*/stat")]


def _state(stat: Path) -> str:
    try:
        return stat.read_text().rpartition(")")[2].split()[0]
    except OSError:  # it has ended
        return "X"
