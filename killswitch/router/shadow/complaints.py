"""Logs each kind of mistake once: a mistake that every request repeats must not flood the service's log."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)

_MOST = 100  # different texts


class Complaints:
    """Call it in an ``except`` block (`warn_once` anywhere): the first of each text is logged with its traceback."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def warn_once(self, kind: str, text: str) -> None:
        """Log the first ``text`` of a ``kind``, which is no mistake of ours. Call it anywhere."""
        if kind not in self._said and len(self._said) < _MOST:
            self._said.add(kind)
            log.warning("shadow %s; the next ones like it are counted and not logged", text)

    def __call__(self, text: str) -> None:
        if text not in self._said and len(self._said) < _MOST:
            self._said.add(text)
            log.error("shadow: %s; the next ones like it are counted and not logged", text, exc_info=True)  # noqa: LOG014  # called in an `except` block
