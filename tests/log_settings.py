"""Puts the root logger back: a command run inside a test sends all logs, from INFO on, to a stream of that test."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """At its end the root logger has its level again, and no handler that was added meanwhile."""
    root = logging.getLogger()
    level, handlers = root.level, tuple(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        for handler in tuple(root.handlers):
            if handler not in handlers:
                root.removeHandler(handler)
