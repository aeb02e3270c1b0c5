"""The keyed hash of a user: pairs of one user can be found and forgotten, and no one without the key can tell whose.

Without a key file the user is "". A random key a process would make hashes that no one can find again, and then a
user could not be forgotten.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from killswitch.errors import BadSettings
from killswitch.flags.keyed_hash import hash_user
from killswitch.router.key_file import KEY_FILE_VARIABLE, KeyFile

log = logging.getLogger(__name__)


class UserHash:
    """Hashes users by the key in a file, which is read again when it changes. A vanished file keeps the last key.

    ``path``: None for the variable ``KILLSWITCH_SHADOW_KEY_FILE``; without either every user is "". Raises
    BadSettings for a file that cannot be read or is too short, at the start only.
    """

    def __init__(self, path: str | Path | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        given = path if path is not None else os.environ.get(KEY_FILE_VARIABLE)
        self._file = KeyFile(Path(given), clock=clock) if given else None
        if self._file is None:
            log.warning(
                "shadow: no user is recorded, so evidence counts requests and no one can be forgotten by name; "
                "set %s to a file with a key (openssl rand -hex 32)",
                KEY_FILE_VARIABLE,
            )

    def __call__(self, user: object) -> str:
        """The user's hash; "" without a user or a key. Never raises."""
        if user is None or self._file is None:
            return ""
        try:
            self._file.look_again()
        except BadSettings as error:
            log.warning("%s; the last key is kept", error)
        try:
            return hash_user(self._file.key, str(user))
        except Exception:  # noqa: BLE001  # a foreign __str__
            return ""
