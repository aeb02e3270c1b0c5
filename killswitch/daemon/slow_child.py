"""Evaluates slow signals in a child process: what a warehouse's driver does, the daemon must survive.

It may hang, need hundreds of megabytes, or end the process. The child is killed after `ENDED_AFTER`.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Final, cast

from killswitch.controller.slow_signals import unknown_findings
from killswitch.errors import BadSettings
from killswitch.model import Reason, Unreadable
from killswitch.slow.findings import SlowFinding
from killswitch.slow.history import ExposureHistory
from killswitch.slow_settings import SlowSettings

ENDED_AFTER: Final = 1500.0  # seconds

Work = Callable[[SlowSettings, ExposureHistory, float], Sequence[SlowFinding]]


def evaluate_in_child(
    settings: SlowSettings,
    history: ExposureHistory,
    now: float,
    *,
    work: Work | None = None,
    ended_after: float = ENDED_AFTER,
) -> Sequence[SlowFinding]:
    """The findings at ``now``, UNKNOWN if the child hangs or dies. ``work`` is what the child calls.

    Raises BadSettings as the evaluation does.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy the daemon's threads' locks
    here, there = context.Pipe(duplex=False)
    child = context.Process(
        target=_child, args=(there, work or evaluated, settings, history, now), name="slow-signals", daemon=True
    )
    child.start()
    there.close()
    try:
        answer = here.recv() if here.poll(ended_after) else None
    except EOFError:
        child.join(1.0)
        detail = f"the process that asked the warehouse ended with {child.exitcode}"
        return unknown_findings(settings, history, now, Unreadable(Reason.INTERNAL_ERROR, detail))
    finally:
        here.close()
        child.kill()
        child.join(1.0)
    if answer is None:
        detail = f"no answer within {ended_after:g} s"
        return unknown_findings(settings, history, now, Unreadable(Reason.SOURCE_TIMEOUT, detail))
    found, problems = answer
    if problems:
        raise BadSettings(problems)
    return cast("Sequence[SlowFinding]", found)


def evaluated(settings: SlowSettings, history: ExposureHistory, now: float) -> Sequence[SlowFinding]:
    """Ask the warehouse in this process."""
    from killswitch.slow.reading import evaluate  # noqa: PLC0415  the daemon itself loads no database

    return evaluate(settings, history, now).findings


def _child(there: Connection, work: Work, settings: SlowSettings, history: ExposureHistory, now: float) -> None:
    try:
        there.send((work(settings, history, now), ()))
    except BadSettings as error:
        there.send(((), error.problems))
