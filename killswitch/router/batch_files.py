"""Files that are whole or absent: written under a temporary name, synced, then renamed. 0600 in a folder of 0700.

A name says when, by which process and on which machine it was written, so the files of many pods fit in one folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path

from killswitch.private_files import new_private_file, sync_folder

_TEMPORARY = ".tmp-"
_NUMBERS = count(1)  # of the process: two writers of one folder must not take one name
_LEFTOVER_SECONDS = 3600.0  # after that a temporary file has no writer
_BLOCK = 512  # bytes, the unit of `st_blocks`
# A look through the folder takes 4 microseconds a file, in the service's own process. A folder that no one empties has
# a file more every few seconds. So looks take at most this part of a processor, beyond those that take a moment.
_PART_FOR_LOOKS, _MOMENT = 0.01, 0.01  # seconds


class BatchFiles:
    """Files ``<unix-ms>-<pid>-<host>-<n><suffix>`` in ``folder``; ``host`` is a hash of the machine's name."""

    def __init__(
        self,
        folder: Path,
        suffix: str,
        *,
        calendar: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        processor: Callable[[], float] = time.thread_time,
    ) -> None:
        self.folder = folder
        self._suffix = suffix
        self._calendar = calendar
        self._monotonic = monotonic
        self._processor = processor
        self._used = 0
        self._look_at = -float("inf")
        self._host = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]

    def write(self, lines: Iterable[bytes]) -> None:
        """One more file. Raises OSError, and then nothing of it is in the folder."""
        name = f"{int(self._calendar() * 1000):013d}-{os.getpid()}-{self._host}-{next(_NUMBERS):06d}{self._suffix}"
        temporary = self.folder / f"{_TEMPORARY}{name}.part"  # no reader's pattern for the suffix finds it
        try:
            with new_private_file(temporary) as file:
                file.writelines(lines)
            size = _on_disk(temporary.stat())
            temporary.rename(self.folder / name)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        self._used += size
        sync_folder(self.folder)

    def used(self) -> int:
        """Bytes of the disk that all files in the folder take, as of the last look or a little more. It is made.

        Leftovers of writers that were killed are removed. Raises OSError.
        """
        now, began = self._monotonic(), self._processor()
        if now < self._look_at:
            return self._used
        self._used = self._look()
        took = self._processor() - began
        self._look_at = now + took / _PART_FOR_LOOKS if took > _MOMENT else now
        return self._used

    def _look(self) -> int:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        used = 0
        with os.scandir(self.folder) as files:
            for file in files:
                with contextlib.suppress(OSError):  # a reader deletes files at the same time
                    stat = file.stat(follow_symlinks=False)
                    if file.name.startswith(_TEMPORARY) and self._calendar() - stat.st_mtime > _LEFTOVER_SECONDS:
                        os.unlink(file.path)  # noqa: PTH108  # no object for each file of a large folder
                    else:
                        used += _on_disk(stat)
        return used


def _on_disk(stat: os.stat_result) -> int:
    """A file of 100 bytes takes a block of 4,096."""
    return max(stat.st_size, _BLOCK * getattr(stat, "st_blocks", 0))
