"""Makes a file that only its owner may read: what SQLite is about to write is not for everyone."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def make_private_file(path: Path) -> None:
    """Make an empty file of mode 0600 where there is none yet: SQLite alone would ask the umask.

    SQLite gives its ``-wal`` and ``-shm`` files the mode of the file itself. A file that is there keeps its mode: who
    let a group read it knows why. Raises nothing: what is wrong with the folder is said by whoever opens the file.
    """
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
