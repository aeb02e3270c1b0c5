"""Files that only their owner may read: answers of models, pages, and what SQLite writes are not for everyone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


@contextlib.contextmanager
def new_private_file(path: Path) -> Iterator[BinaryIO]:
    """An empty file of mode 0600 to write to, on the disk at the end of the block. Raises OSError.

    A file that a killed process has left at ``path`` is removed first.
    """
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, _NEW, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def make_private_file(path: Path) -> None:
    """Make an empty file of mode 0600 where there is none yet: SQLite alone would ask the umask.

    SQLite gives its ``-wal`` and ``-shm`` files the mode of the file itself. A file that is there keeps its mode: who
    let a group read it knows why. Raises nothing: what is wrong with the folder is said by whoever opens the file.
    """
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))


def sync_folder(folder: Path) -> None:
    """A rename is safe from a loss of power once its folder is synced. Some file systems refuse; then it is not."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
