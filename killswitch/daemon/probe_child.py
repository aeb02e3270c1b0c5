"""Probes roles' models in a child process: what the SDKs of providers need and do must not hold up judging.

The child sends each finding when it has it, so that those are kept if it is ended. It is killed after `ENDED_AFTER`,
has the lowest priority, and ends with the daemon.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import Final, cast

from killswitch.daemon.settings import Settings
from killswitch.daemon.slow_child import step_back
from killswitch.daemon.wiring import build_store
from killswitch.gate.daily_probes import DailyProbes
from killswitch.gate.probing import Finding, ProbeRound, ProbeTask, findings, gathered
from killswitch.roles.config import RoleConfig
from killswitch.stores import Store

ENDED_AFTER: Final = 1500.0  # seconds
_FOR_AN_ANSWER: Final = 5.0  # seconds more; a child that hangs in the middle of a message would never end the wait

OpenStore = Callable[[], Store]
ProbingWork = Callable[[Sequence[ProbeTask], OpenStore], Iterator[Finding]]


def daily_probes(
    settings: Settings,
    store: Store,
    configs: Callable[[], Mapping[str, RoleConfig]],
    *,
    by: str,
    wall: Callable[[], float],
) -> DailyProbes:
    """The daemon's daily job. ``configs``: the role files in force."""
    return DailyProbes(
        store,
        configs=configs,
        probing=partial(probe_in_child, open_store=partial(build_store, settings)),
        by=by,
        wall=wall,
        public_url=settings.public_url,
    )


def probe_in_child(
    tasks: Sequence[ProbeTask],
    *,
    open_store: OpenStore,
    work: ProbingWork = findings,
    ended_after: float = ENDED_AFTER,
    monotonic: Callable[[], float] = time.monotonic,
) -> ProbeRound:
    """What the child has found until it ended, was ended, or was done. ``work`` is what it calls."""
    context = multiprocessing.get_context("spawn")  # a fork would copy the daemon's threads' locks
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(there, work, tasks, open_store), name="role-probes", daemon=True)
    try:
        child.start()
    except OSError as error:  # no process, no memory or no file is left
        here.close()
        return ProbeRound(problems=[f"no process could be started for roles' probes: {error}"])
    finally:
        there.close()
    late = threading.Timer(ended_after + _FOR_AN_ANSWER, child.kill)
    late.daemon = True
    found: list[Finding] = []
    until = monotonic() + ended_after
    try:
        late.start()
        while here.poll(max(0.0, until - monotonic())):
            message = here.recv()
            if message is None:
                break
            found.append(cast("Finding", message))
        else:
            found.append(
                ("problem", "", f"roles' probes were ended after {ended_after:g} s; the next look asks the rest")
            )
    except (EOFError, OSError):  # it has ended, or was ended in the middle of a message
        child.join(1.0)
        found.append(("problem", "", f"the process of roles' probes ended with {child.exitcode}"))
    finally:
        late.cancel()
        here.close()
        child.kill()
        child.join(1.0)
    return gathered(found)


def _child(there: Connection, work: ProbingWork, tasks: Sequence[ProbeTask], open_store: OpenStore) -> None:
    step_back()
    for finding in work(tasks, open_store):
        there.send(finding)
    there.send(None)
