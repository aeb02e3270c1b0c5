"""The keyed hash of a user: pairs of one user can be found and forgotten, and no one without the key can tell whose.

Without a key file the user is "". A random key a process would make hashes that nobody can find again, and then a
user could not be forgotten.
"""

from __future__ import annotations

import hmac
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from killswitch.errors import BadSettings

KEY_FILE_VARIABLE = "KILLSWITCH_SHADOW_KEY_FILE"
MIN_KEY_BYTES = 16
_LOOK_AGAIN = 10.0  # seconds

log = logging.getLogger(__name__)


def hash_user(key: bytes, user: str) -> str:
    """32 hexadecimal digits of HMAC-SHA256; `killswitch shadow forget` computes the same."""
    return hmac.digest(key, user.encode("utf-8", "surrogatepass"), "sha256").hex()[:32]


def read_key(path: Path) -> bytes:
    """The key in a file, white space around it left out. Raises BadSettings if it cannot be read or is too short."""
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        why = f"cannot be read ({error.strerror}); name the service's key file"
        raise BadSettings([f"shadow key file {path} {why}"]) from error
    if len(key) < MIN_KEY_BYTES:
        raise BadSettings([f"shadow key file {path}: give {MIN_KEY_BYTES} bytes or more (openssl rand -hex 32)"])
    return key


class UserHash:
    """Hashes users by the key in a file, which is read again when it changes. A vanished file keeps the last key.

    ``path``: None for the variable ``KILLSWITCH_SHADOW_KEY_FILE``; without either every user is "". Raises
    BadSettings for a file that cannot be read or is too short, at the start only.
    """

    def __init__(self, path: str | Path | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        given = path if path is not None else os.environ.get(KEY_FILE_VARIABLE)
        self._path = Path(given) if given else None
        self._clock = clock
        self._stamp: tuple[int, int, int] | None = None
        self._key: bytes | None = None
        self._look_at = clock() + _LOOK_AGAIN
        if self._path is None:
            log.warning(
                "shadow: no user is recorded, so evidence counts requests and nobody can be forgotten by name; "
                "set %s to a file with a key (openssl rand -hex 32)",
                KEY_FILE_VARIABLE,
            )
        else:
            self._key = self._read(self._path)

    def __call__(self, user: object) -> str:
        """The user's hash; "" without a user or a key. Never raises."""
        if user is None or self._path is None:
            return ""
        try:
            self._look_again(self._path)
            return hash_user(self._key, str(user)) if self._key is not None else ""
        except Exception:  # noqa: BLE001  # a foreign __str__
            return ""

    def _look_again(self, path: Path) -> None:
        now = self._clock()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_AGAIN
        try:
            self._key = self._read(path)
        except BadSettings as error:
            log.warning("%s; the last key is kept", error)

    def _read(self, path: Path) -> bytes | None:
        try:
            stat = path.stat()
        except OSError as error:
            raise BadSettings([f"shadow key file {path}: {error}"]) from error
        stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if stamp == self._stamp:
            return self._key
        key = read_key(path)
        self._stamp = stamp
        return key
