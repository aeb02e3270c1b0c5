"""`killswitch run` with a fault inside: KILLSWITCH_TEST_FAULT names it, and it strikes once a file of that name exists.

``clock``: the wall clock jumps by as many seconds as the file says. ``rule_bug``: judging refusal_rate raises.
``hang``: the metric store's clock is asked and never answers; that it has been asked, the file ``hung`` says.
``before_change`` and ``after_change``: it kills itself with SIGKILL right before, or right after, it changes a role.
"""

from __future__ import annotations

import datetime as dt
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import apscheduler.executors.base
import apscheduler.schedulers.base
import apscheduler.triggers.interval

from killswitch.cli.logs import set_up_logs
from killswitch.daemon.daemon import Daemon
from killswitch.daemon.settings import load_settings
from killswitch.registry import registry
from killswitch.verdicts import evaluator

FAULT = os.environ.get("KILLSWITCH_TEST_FAULT", "")
FILE = Path(FAULT)  # in the process's own folder


def jump() -> float:
    """Seconds that the wall clock is off by."""
    return float(FILE.read_text()) if FAULT == "clock" and FILE.exists() else 0.0


class JumpingDatetime(dt.datetime):
    """What APScheduler takes for the time of day."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Any:
        return dt.datetime.now(tz) + dt.timedelta(seconds=jump())


def break_a_rule() -> None:
    sound = vars(evaluator)["compare"]

    def compare(rule: Any, *readings: Any) -> Any:
        if rule.name == "refusal_rate" and FILE.exists():
            raise ZeroDivisionError("a bug in one rule")
        return sound(rule, *readings)

    vars(evaluator)["compare"] = compare


def hang(daemon: Daemon) -> None:
    source: Any = daemon._source
    sound = source.now

    def now(deadline: Any) -> Any:
        if FILE.exists():
            Path("hung").touch()
            threading.Event().wait()
        return sound(deadline)

    source.now = now


def die_at_a_change() -> None:
    """What the store was asked for has been done, or not; this process has no time to hear of it or to say so."""
    sound = vars(registry)["commit"]

    def commit(*arguments: Any) -> Any:
        if not FILE.exists():
            return sound(*arguments)
        if FAULT == "after_change":
            sound(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    vars(registry)["commit"] = commit


def main() -> int:
    for module in (apscheduler.schedulers.base, apscheduler.triggers.interval, apscheduler.executors.base):
        if hasattr(module, "datetime"):
            module.datetime = JumpingDatetime
    if FAULT == "rule_bug":
        break_a_rule()
    if FAULT in ("before_change", "after_change"):
        die_at_a_change()
    settings = load_settings(None)
    set_up_logs(settings.log_format)
    daemon = Daemon(settings, wall=lambda: time.time() + jump())
    if FAULT == "hang":
        hang(daemon)
    return daemon.run()


if __name__ == "__main__":
    sys.exit(main())
