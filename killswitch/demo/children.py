"""Child processes that never outlive us, whatever becomes of us."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from killswitch.demo import tied
from killswitch.errors import Unavailable

_POLL = 0.05
_MOST_OUTPUT = 1 << 20
_STOP_PATIENCE = tied.GRACE + 5.0


class Child:
    """A running command under `killswitch.demo.tied`; ends with us, in whatever way we end.

    ``log`` takes its standard output and error. ``remove`` is a folder that disappears when it ends.
    It has a session of its own: a Ctrl-C in the terminal reaches us, and we decide in which order things end.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        remove: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        supervisor = [sys.executable, "-I", "-S", tied.__file__, str(remove) if remove else "-"]
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  # the command is ours
                [*supervisor, *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        # held open: the file goes with its folder when the command ends, and then its last words are wanted
        self._output = log.open("rb")

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def output(self) -> str:
        """All it has said so far, or the last megabyte of that."""
        self._output.seek(max(0, self._output.seek(0, os.SEEK_END) - _MOST_OUTPUT))
        return self._output.read().decode(errors="replace")

    def wait_until(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Return once ``ready()``; raises Unavailable, with the end of the log, if it ends or takes too long."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running:
                ended = f"{self.name} ended at once, exit code {self._process.returncode}"
                raise Unavailable(f"{ended}; its last words: {self._last_words()}")
            if time.monotonic() > deadline:
                raise Unavailable(f"{self.name} was not ready within {seconds:g} s; its log: {self._last_words()}")
            time.sleep(_POLL)

    def stop(self) -> int:
        """End it and wait for that; its exit code, 128 + n for a signal n. Harmless when it has ended."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            return self._process.wait(_STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()  # the kernel then kills the command
            return self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _last_words(self) -> str:
        return " | ".join(self.output().strip().splitlines()[-5:]) or "(nothing)"


def free_port() -> int:
    """A free loopback port. Another process may take it before you do, so be ready to ask again."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
