"""Warns if this process is one of several workers whose Prometheus counters are not added up.

Four workers behind one port answer ``/metrics`` in turn, each with its own counters. So scraped values rise and fall, a
fall is read as a restart, and healthy canaries are tripped. prometheus-client's multiprocess mode adds the workers up.
Without it there is a warning: at start if the server says how many workers it has, else when one of several forked
processes is scraped.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from types import FrameType

from prometheus_client import values

_LOG = logging.getLogger(__name__)

_REMEDY = (
    "each has its own counters, and each scrape of /metrics sees another one: counters seem to fall, and a "
    "healthy canary may be tripped. Set PROMETHEUS_MULTIPROC_DIR to an empty folder before the service starts and "
    "serve /metrics from prometheus_client.multiprocess.MultiProcessCollector, or scrape each process by itself"
)


class _Forks:
    """How often this process has forked since the import, and its own number among its parent's forks."""

    made = 0
    place = 0


def warn_at_start() -> None:
    """Warn if the server that runs this process runs several, and counters are not shared."""
    server, number = _server()
    if number > 1 and _counts_alone():
        _LOG.warning("%d workers of %s: %s", number, server, _REMEDY)


def warn_when_scraped() -> None:
    """Warn, once a process, if it is a later fork of a parent that had loaded the counters already."""
    if _Forks.place > 1 and _counts_alone():
        place, _Forks.place = _Forks.place, 0
        _LOG.warning("this is forked process number %d of one parent: %s", place, _REMEDY)


def _counts_alone() -> bool:
    return values.ValueClass is values.MutexValue  # chosen when prometheus_client was imported


def _server() -> tuple[str, int]:
    """The server's name and its number of workers; ("", 0) for an unknown server.

    Neither gunicorn nor uvicorn tells its application. Both serve from the main thread, below a frame that
    knows the number.
    """
    frame: FrameType | None = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001
    while frame is not None:
        module = frame.f_globals.get("__name__")
        if module == "gunicorn.arbiter":
            return "gunicorn", _whole(getattr(frame.f_locals.get("self"), "num_workers", 0))
        if module == "uvicorn._subprocess":
            return "uvicorn", _whole(getattr(frame.f_locals.get("config"), "workers", 0))
        frame = frame.f_back
    return "", 0


def _whole(number: object) -> int:
    return number if isinstance(number, int) else 0


def _in_parent() -> None:
    _Forks.made += 1


def _in_child() -> None:
    _Forks.place, _Forks.made = _Forks.made + 1, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_parent=_in_parent, after_in_child=_in_child)
