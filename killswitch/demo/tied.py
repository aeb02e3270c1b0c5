"""Runs one command that must not outlive its parent; usage: tied.py FOLDER COMMAND.

The parent holds the other end of our standard input. When it closes, because the parent closed it or died
in whatever way, or on SIGTERM, the command is asked to end (SIGTERM), after five seconds made to, and FOLDER
(``-`` for none) is removed with all that is in it. Should we be killed ourselves, the kernel kills the command.

It imports nothing but the standard library, and runs as a file, so that it starts in milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
from types import FrameType

PR_SET_PDEATHSIG = 1
GRACE = 5.0


def die_with_parent() -> None:
    """Ask the kernel (Linux) to kill this process when its parent dies; elsewhere nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main(folder: str, command: list[str]) -> int:
    woken, wake = os.pipe()
    os.set_blocking(wake, False)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        """Only there so that the signal's number is written to the pipe."""

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, on_signal)
    signal.set_wakeup_fd(wake)
    try:
        # this process has one thread, so running code between fork and exec is safe
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)  # noqa: S603, PLW1509
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201  # the parent reads it from the log
        return 127
    try:
        while child.poll() is None:
            ready, _, _ = select.select([sys.stdin.fileno(), woken], [], [])
            if sys.stdin.fileno() in ready and not os.read(sys.stdin.fileno(), 4096):
                break
            if woken in ready and set(os.read(woken, 4096)) - {signal.SIGCHLD}:
                break
        return _end(child)
    finally:
        if folder != "-":
            shutil.rmtree(folder, ignore_errors=True)


def _end(child: subprocess.Popen[bytes]) -> int:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(GRACE)
        except subprocess.TimeoutExpired:
            child.kill()
    code = child.wait()
    return code if code >= 0 else 128 - code  # as a shell says it


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
