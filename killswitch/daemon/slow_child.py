"""Evaluates slow signals in a child process: what a warehouse's driver does, the daemon must survive.

It may hang, need hundreds of megabytes, or end the process. The child is killed after `ENDED_AFTER`, and ends with the
daemon. Judging comes first: the child has the lowest priority, and where memory is short it is ended, not the daemon.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, cast

from killswitch.controller.slow_signals import unknown_findings
from killswitch.errors import BadSettings
from killswitch.model import Reason, Unreadable
from killswitch.slow.findings import SlowFinding
from killswitch.slow.history import ExposureHistory
from killswitch.slow_settings import SlowSettings

ENDED_AFTER: Final = 1500.0  # seconds
FOR_AN_ANSWER: Final = 5.0  # seconds, once it has begun; a child that hangs in its middle would never end the wait
_LOWEST: Final = 19  # as os.nice has it
_ENDED_FIRST: Final = Path("/proc/self/oom_score_adj")  # Linux alone

Work = Callable[[SlowSettings, ExposureHistory, float], Sequence[SlowFinding]]


def evaluate_in_child(
    settings: SlowSettings,
    history: ExposureHistory,
    now: float,
    *,
    work: Work | None = None,
    ended_after: float = ENDED_AFTER,
    for_an_answer: float = FOR_AN_ANSWER,
) -> Sequence[SlowFinding]:
    """The findings at ``now``, UNKNOWN if the child hangs, dies or cannot be started. ``work`` is what it calls.

    Raises BadSettings as the evaluation does.
    """
    try:
        child, here = _started(work or evaluated, settings, history, now)
    except OSError as error:  # no process, no memory or no file is left
        detail = f"no process could be started for it: {error}"
        return unknown_findings(settings, history, now, Unreadable(Reason.INTERNAL_ERROR, detail))
    late = threading.Timer(for_an_answer, child.kill)
    late.daemon = True
    try:
        answer = None
        if here.poll(ended_after):
            late.start()
            answer = here.recv()
    except (EOFError, OSError):  # it has ended, or was ended in the middle of its answer
        child.join(1.0)
        detail = f"the process that asked the warehouse ended with {child.exitcode}"
        return unknown_findings(settings, history, now, Unreadable(Reason.INTERNAL_ERROR, detail))
    finally:
        late.cancel()
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


def _started(
    work: Work, settings: SlowSettings, history: ExposureHistory, now: float
) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    context = multiprocessing.get_context("spawn")  # a fork would copy the daemon's threads' locks
    here, there = context.Pipe(duplex=False)
    child = context.Process(
        target=_child, args=(there, work, settings, history, now), name="slow-signals", daemon=True
    )  # fmt: skip
    try:
        child.start()
    except OSError:
        here.close()
        raise
    finally:
        there.close()
    return child, here


def _child(there: Connection, work: Work, settings: SlowSettings, history: ExposureHistory, now: float) -> None:
    step_back()
    try:
        there.send((work(settings, history, now), ()))
    except BadSettings as error:
        there.send(((), error.problems))


def step_back() -> None:
    """Let the daemon judge first, be ended in its place, and end with it: it leaves without asking its children."""
    os.nice(_LOWEST)
    with contextlib.suppress(OSError):
        _ENDED_FIRST.write_text("1000", encoding="ascii")
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), name="parent", daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
