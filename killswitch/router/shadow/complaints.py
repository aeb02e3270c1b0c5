"""Logs each kind of mistake once: a mistake that every request repeats must not flood the service's log."""

from __future__ import annotations

import logging
import sys
from traceback import format_tb

log = logging.getLogger(__name__)

_MOST = 100  # different texts


class Complaints:
    """Call it in an ``except`` block (`warn_once` anywhere): the first of each text is logged with where it was raised.

    The exception's own text is left out: it may hold a prompt.
    """

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
            log.error("shadow: %s; the next ones like it are counted and not logged (%s)", text, where_raised())


def where_raised() -> str:
    """In an ``except`` block: the exception's type and its traceback, without its text, which may hold a prompt."""
    kind, _, trace = sys.exc_info()
    return "no exception" if kind is None else f"{kind.__name__}, raised at\n{''.join(format_tb(trace)).rstrip()}"
