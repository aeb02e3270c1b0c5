"""Folders for files on the way: copies of records with users' texts, which go with the process that made them.

A process that is killed leaves its folder. Each folder is locked while its process lives, so the next process of the
same user removes those that no one holds. The kernel gives up a lock with its process, whatever ended it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PREFIX: Final = "killswitch-records-"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder of mode 0700 in the folder for temporary files, removed at the end. Raises OSError."""
    made, lock = _locked_folder()
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(lock)


def remove_left_folders() -> int:
    """Remove the folders that killed processes of this user have left. How many; one that cannot be removed stays."""
    removed = 0
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = os.open(path, _FOLDER)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # OSError while its process lives
                    shutil.rmtree(path)
                    removed += 1
            finally:
                os.close(lock)
    return removed


def _locked_folder() -> tuple[Path, int]:
    while True:
        made = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            lock = os.open(made, _FOLDER)
        except FileNotFoundError:
            continue  # another process took it for a left one
        with contextlib.suppress(OSError):  # where folders cannot be locked, no process removes another's
            fcntl.flock(lock, fcntl.LOCK_EX)
        if made.exists():
            return made, lock
        os.close(lock)  # it was removed before it was locked
