"""The folder of raw pairs: one background thread writes them in batches, each file whole or absent.

A file is ``<unix-ms>-<pid>-<host>-<n>.raw``, 0600, in a folder of 0700. ``host`` is a hash of the machine's name:
records bear the names of raw files, and the records of many pods are in one folder. A file is written under a temporary
name, synced and then renamed, so a reader and a crash see all of it or nothing. A folder that is full, gone or
read-only costs pairs, which are counted, and is written to again as soon as it can be. No caller ever waits for it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from killswitch.router.batch_files import BatchFiles
from killswitch.router.shadow.complaints import Complaints
from killswitch.router.shadow.drops import Drop
from killswitch.router.shadow.raw_pair import Dropped, RawPair, to_line

SUFFIX = ".raw"
_BATCH_BYTES = 8_000_000
_BATCH_ENTRIES = 256
_BATCH_SECONDS = 1.0
_MOST_WAITING = 2000  # pairs in memory while the disk does not take them
_MOST_WAITING_BYTES = 64_000_000

log = logging.getLogger(__name__)


class _Line(NamedTuple):
    line: bytes
    is_pair: bool
    counts: bool  # as a sampled request without a pair, where it is lost


class Spool:
    """Writes raw pairs to ``folder``. ``most_bytes``: of all its files together, of all processes that write there.

    ``dropped`` is called for each pair that is not written. Over the limit new pairs are dropped, old ones stay.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        most_bytes: int = 1_000_000_000,
        dropped: Callable[[Drop], None] = lambda reason: None,  # noqa: ARG005
        calendar: Callable[[], float] = time.time,
    ) -> None:
        self._folder = Path(folder)
        self._most_bytes = most_bytes
        self._dropped = dropped
        self._complain = Complaints()
        self._files = BatchFiles(self._folder, SUFFIX, calendar=calendar)
        self._trouble = ""
        self.start_again()

    def start_again(self) -> None:
        """Forget what waits: in a forked child it is the parent's to write."""
        self._waiting: deque[_Line] = deque()
        self._waiting_bytes = 0
        self._lock = threading.Lock()  # for a moment only, never while a file is written
        self._writing = threading.Lock()
        self._ending = threading.Event()
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="killswitch-shadow-spool", daemon=True)
        self._thread.start()

    def put(self, entry: RawPair | Dropped) -> None:
        """Hand over one entry; called on the shadow's threads. Never waits for the disk."""
        try:
            line = to_line(entry)
        except Exception:  # noqa: BLE001  # logged by `complain`
            self._complain("a pair cannot be written as JSON")
            self._dropped(Drop.FAILED)
            return
        # a second answer of control that is lost leaves its request a pair
        counts = isinstance(entry, RawPair) and entry.kind == "candidate"
        with self._lock:
            full = len(self._waiting) >= _MOST_WAITING or self._waiting_bytes + len(line) > _MOST_WAITING_BYTES
            if full and isinstance(entry, RawPair):
                if counts:
                    self._dropped(Drop.DISK)
                return
            self._waiting.append(_Line(line, isinstance(entry, RawPair), counts))
            self._waiting_bytes += len(line)
        if self._waiting_bytes >= _BATCH_BYTES or len(self._waiting) >= _BATCH_ENTRIES:
            self._wanted.set()

    def write(self) -> int:
        """Write what waits; how many entries are still waiting because the disk does not take them."""
        with self._writing:
            while batch := self._take():
                try:
                    self._write(batch)
                except OSError as error:
                    self._put_back(batch)
                    self._say(f"cannot write to {self._folder}: {error}")
                    return len(self._waiting)
            return 0

    def close(self, timeout: float) -> None:
        """Write what waits within ``timeout`` seconds; what is left is counted as dropped."""
        self._ending.set()
        self._wanted.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        else:
            self.write()
        with self._lock:
            self._count(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0

    def _run(self) -> None:
        while not self._ending.is_set():
            self._wanted.wait(_BATCH_SECONDS)
            self._wanted.clear()
            try:
                self.write()
            except Exception:  # noqa: BLE001  # logged by `complain`
                self._complain("unexpected error in the spool")
        with contextlib.suppress(Exception):
            self.write()

    def _take(self) -> list[_Line]:
        batch: list[_Line] = []
        size = 0
        with self._lock:
            while self._waiting and size < _BATCH_BYTES:
                batch.append(self._waiting.popleft())
                size += len(batch[-1].line)
            self._waiting_bytes -= size
        return batch

    def _put_back(self, batch: list[_Line]) -> None:
        with self._lock:
            self._waiting.extendleft(reversed(batch))
            self._waiting_bytes += sum(len(one.line) for one in batch)

    def _write(self, batch: list[_Line]) -> None:
        """Raises OSError, and then nothing of the batch is in the folder."""
        size = sum(len(one.line) for one in batch)
        used = self._files.used()
        over = used + size > self._most_bytes
        if over:
            self._say(f"{self._folder} is at its limit of {self._most_bytes} bytes: is `killswitch shadow worker` up?")
            self._count(batch)
            rest = [line for line in batch if not line.is_pair]
            if not rest or used > 2 * self._most_bytes:
                return
            batch = rest  # counts of drops are small, and without them the report would be of survivors
        self._files.write(one.line for one in batch)
        if not over:
            self._say("")

    def _count(self, lost: Iterable[_Line]) -> None:
        for line in lost:
            if line.counts:
                self._dropped(Drop.DISK)

    def _say(self, trouble: str) -> None:
        """Log a trouble once, and its end."""
        if trouble and not self._trouble:
            log.warning("shadow: %s; pairs wait in memory, and what finds no room is counted", trouble)
        elif self._trouble and not trouble:
            log.info("shadow: %s takes pairs again", self._folder)
        self._trouble = trouble
