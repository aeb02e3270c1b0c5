"""The file with the key that users are hashed with (`killswitch.flags.keyed_hash`), read again when it changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from killswitch.errors import BadSettings

KEY_FILE_VARIABLE = "KILLSWITCH_SHADOW_KEY_FILE"
MIN_KEY_BYTES = 16
_LOOK_AGAIN = 10.0  # seconds


def read_key(path: Path) -> bytes:
    """The key in a file, white space around it left out. Raises BadSettings if it cannot be read or is too short."""
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        why = f"cannot be read ({error.strerror}); name the service's key file"
        raise BadSettings([f"user key file {path} {why}"]) from error
    if len(key) < MIN_KEY_BYTES:
        raise BadSettings([f"user key file {path}: give {MIN_KEY_BYTES} bytes or more (openssl rand -hex 32)"])
    return key


class KeyFile:
    """The newest key of a file; one that can no longer be read keeps its last key.

    Raises BadSettings for a file that cannot be read or is too short, at the start only.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._stamp = _stamp(path)
        self.key = read_key(path)
        self._look_at = clock() + _LOOK_AGAIN

    def look_again(self) -> None:
        """Read the file if it has changed, at most every ten seconds. Raises BadSettings; the last key is kept."""
        now = self._clock()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_AGAIN
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self.key = read_key(self._path)
            self._stamp = stamp


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        stat = path.stat()
    except OSError as error:
        raise BadSettings([f"user key file {path}: {error}"]) from error
    return stat.st_mtime_ns, stat.st_ino, stat.st_size
