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


class BatchFiles:
    """Files ``<unix-ms>-<pid>-<host>-<n><suffix>`` in ``folder``; ``host`` is a hash of the machine's name."""

    def __init__(self, folder: Path, suffix: str, *, calendar: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self._suffix = suffix
        self._calendar = calendar
        self._host = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]

    def write(self, lines: Iterable[bytes]) -> None:
        """One more file. Raises OSError, and then nothing of it is in the folder."""
        name = f"{int(self._calendar() * 1000):013d}-{os.getpid()}-{self._host}-{next(_NUMBERS):06d}{self._suffix}"
        temporary = self.folder / f"{_TEMPORARY}{name}.part"  # no reader's pattern for the suffix finds it
        try:
            with new_private_file(temporary) as file:
                file.writelines(lines)
            temporary.rename(self.folder / name)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(self.folder)

    def used(self) -> int:
        """Bytes of all files in the folder, which is made; leftovers of writers that were killed are removed.

        Raises OSError.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        used = 0
        with os.scandir(self.folder) as files:
            for file in files:
                with contextlib.suppress(OSError):  # a reader deletes files at the same time
                    stat = file.stat(follow_symlinks=False)
                    if file.name.startswith(_TEMPORARY) and self._calendar() - stat.st_mtime > _LEFTOVER_SECONDS:
                        os.unlink(file.path)  # noqa: PTH108  # no object for each file of a large folder
                    else:
                        used += stat.st_size
        return used
