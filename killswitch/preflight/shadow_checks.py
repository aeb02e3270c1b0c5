"""Checks of shadow mode: does a router shadow, with a key of its own, and does a worker empty the spool?"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError
from killswitch.flags.flag import SHADOW, Flag
from killswitch.model import Cohort, CohortMatchers, Counts, Matcher, RatioSignal, Rollout, Selector, Want
from killswitch.preflight.checks import PATIENCE, AskRouters, Check, Setup, Status
from killswitch.shadow.raw_files import made_at_ms
from killswitch.timestamps import HOUR
from killswitch.wording import count_in_words, duration_in_words

SPOOL_BYTES = 1_000_000_000
"""The usual limit of a spool (``spool_bytes`` of `Shadow`)."""

LONGEST_WAIT = HOUR
"""Seconds that a raw pair may wait: a worker takes a minute."""

_NEARLY = 0.8
_LEAST_FREE = 0.05
_WORKER = "run `killswitch shadow worker` with this spool, and read its log"


def examine_shadow_routers(
    flags: Mapping[str, Flag], rollouts: Sequence[Rollout], ask: AskRouters | None
) -> Iterator[Check]:
    """Whether requests that are to be shadowed have a router that knows of it."""
    for rollout in rollouts:
        flag = flags.get(rollout.name)
        if ask is None or flag is None or not flag.armed or flag.stage != SHADOW or flag.shadow_share.nothing:
            continue
        try:
            routers = ask(rollout.name)
        except KillswitchError:
            continue  # the checks of the store say so
        if not routers:
            found = f"{flag.shadow_share} of requests are to be shadowed, and no router follows the flag"
            fix = "start a service with `Router(…)` and `Shadow(router, …)` on this store"
            yield Check(rollout.name, Status.WARNING, found, fix)


def examine_shared_key(setup: Setup, rollout: Rollout) -> Iterator[Check]:
    """Whether the shadow was asked with an API key of production's, as far as the service's clients say."""
    calls = _calls_in_an_hour(setup, rollout, "llm_shadow_shared_key_total")
    if calls >= 1:
        yield Check(
            rollout.name,
            Status.WARNING,
            f"in an hour, {count_in_words(calls)} calls of the shadow were made with an API key of production's: "
            "they use up control's rate limit",
            "give shadow_ask() a client with a key of another project",
        )


def examine_uncapped(setup: Setup, rollout: Rollout) -> Iterator[Check]:
    """Whether the shadow was asked without a ledger although the rule file caps it: such calls are not counted."""
    if not any(cap.scope == "shadow" for cap in rollout.spend.caps):
        return
    calls = _calls_in_an_hour(setup, rollout, "llm_shadow_uncapped_total")
    if calls >= 1:
        yield Check(
            rollout.name,
            Status.WARNING,
            f"the rule file caps what the shadow spends, and in an hour {count_in_words(calls)} calls of it were made "
            "without a ledger: no cap holds them",
            f'in the service, write `Shadow(…, ledger=ledger.for_scopes("shadow:{rollout.name}"))`',
        )


def _calls_in_an_hour(setup: Setup, rollout: Rollout, counter: str) -> float:
    """By the services' counter; 0 where none counts them, or where it cannot be read."""
    calls = (Selector(counter),)
    places: CohortMatchers = {
        Cohort.CONTROL: (Matcher("rollout", "!=", rollout.name),),
        Cohort.CANARY: (Matcher("rollout", "=", rollout.name),),
    }
    want = Want(rollout.name, counter, "sum", RatioSignal(calls, calls), places, 3600.0, absent_is_zero=True)
    side = setup.source.read([want], setup.terms.until, Deadline(PATIENCE))[want.key].canary
    return side.trials if isinstance(side, Counts) else 0.0


def examine_spool(folder: Path, now: float) -> Iterator[Check]:
    """Whether the folder of raw pairs is private, has room, and is emptied. ``now``: Unix seconds."""
    about = "shadow spool"
    try:
        mode = stat.S_IMODE(folder.stat().st_mode)
        sizes, oldest_ms = _contents(folder)
        disk = shutil.disk_usage(folder)
    except OSError as error:
        fix = "correct KILLSWITCH_SHADOW_SPOOL, or let this user read it; the service makes it at its first pair"
        yield Check(about, Status.WARNING, f"{folder} cannot be read: {error.strerror}", fix)
        return
    problems = []
    if mode & 0o077:
        found = f"{folder} has mode {mode:04o}: others may look into it, and raw pairs are users' texts"
        problems.append(Check(about, Status.WARNING, found, f"chmod 700 {folder}"))
    if sizes > _NEARLY * SPOOL_BYTES:
        found = f"{folder} has {sizes / 1e6:,.0f} MB, of {SPOOL_BYTES / 1e6:,.0f} MB that `spool_bytes` usually allows"
        problems.append(Check(about, Status.WARNING, f"{found}: soon pairs are dropped", _WORKER))
    if disk.free < _LEAST_FREE * disk.total:
        found = f"{disk.free / 1e6:,.0f} MB are free on the disk of {folder}: soon pairs are dropped"
        problems.append(Check(about, Status.WARNING, found, "free space on this disk"))
    waits = 0.0 if oldest_ms is None else now - oldest_ms / 1000.0
    if waits > LONGEST_WAIT:
        found = f"the oldest raw pair in {folder} waits for {duration_in_words(waits)}: no worker compares them"
        problems.append(Check(about, Status.WARNING, found, _WORKER))
    yield from problems or [Check(about, Status.OK, f"{folder}: private, {sizes / 1e6:,.1f} MB")]


def _contents(folder: Path) -> tuple[int, int | None]:
    """Bytes of all files, and the milliseconds of the oldest raw file. Raises OSError."""
    sizes, times = 0, []
    with os.scandir(folder) as files:
        for file in files:
            with contextlib.suppress(FileNotFoundError):  # the worker deletes files meanwhile
                sizes += file.stat(follow_symlinks=False).st_size
            made = made_at_ms(file.name)
            if made is not None:
                times.append(made)
    return sizes, min(times, default=None)
