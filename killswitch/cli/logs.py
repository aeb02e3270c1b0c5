"""Formats log lines on standard error: text for people, or one JSON object a line for machines."""

from __future__ import annotations

import logging
import math
import re
import sys
import time
from collections import OrderedDict
from typing import Literal

from killswitch.cli.terminal import json_text
from killswitch.timestamps import to_iso
from killswitch.wording import plain

QUIET_FOR = 600.0  # seconds
_MOST_KEPT = 1_000
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)? ?m?s\b")
_EXTRAS = ("rollout", "tick", "action")
_MAX_LINE = 4000
_MAX_EXCEPTION = 20_000


class _Human(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)sZ %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        # a label from a metric must not be able to start a new line
        return "\n    ".join(plain(line, _MAX_LINE) for line in super().format(record).splitlines())


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": to_iso(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:_MAX_LINE],
        }
        line |= {name: getattr(record, name) for name in _EXTRAS if hasattr(record, name)}
        if record.exc_info:
            # the last lines say what happened
            line["exception"] = self.formatException(record.exc_info)[-_MAX_EXCEPTION:]
        return json_text(line)


class Once(logging.Filter):
    """Lets the same warning through once in `QUIET_FOR` seconds. The next one says how many were left out.

    Two warnings are the same if logger, level and text are equal, apart from numbers of seconds. A rollout's sentence
    (a record with ``tick``) always passes, because it is the record of what was decided. Memory is bounded.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: OrderedDict[tuple[str, int, str], tuple[float, int]] = OrderedDict()  # when, and how often since

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or hasattr(record, "tick"):
            return True
        text = record.getMessage()
        key = (record.name, record.levelno, _SECONDS.sub("# s", text[:_MAX_LINE]))
        at, since = self._said.pop(key, (-math.inf, 0))
        again = record.created - at < QUIET_FOR
        self._said[key] = (at, since + 1) if again else (record.created, 0)
        if len(self._said) > _MOST_KEPT:
            self._said.popitem(last=False)
        if since and not again:
            record.msg, record.args = f"{text} ({since} more times since {to_iso(at)})", ()
        return not again


def set_up_logs(kind: Literal["human", "json"], level: int = logging.INFO) -> None:
    """Send the lines of all loggers to standard error in this format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Once())
    handler.setFormatter(_Json() if kind == "json" else _Human())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # apscheduler warns if a cycle is still running; the daemon counts that itself
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    for noisy in ("urllib3", "uvicorn", "slack_sdk", "prometheus_api_client", "etcd3gw"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
