"""Checks of the flag store and of the flags in it: can it be read, can a trip be made, is each canary watched?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from killswitch.errors import KillswitchError
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import STOPPED
from killswitch.model import Rollout
from killswitch.preflight.checks import AskControllers, AskFlags, Check, Status, TryWriting
from killswitch.wording import counted


def examine_store(ask: AskFlags) -> tuple[dict[str, Flag] | None, list[Check]]:
    """The flags, None if they could not be read, and the checks of the store."""
    try:
        flags, broken = ask()
    except KillswitchError as error:
        fix = "start the store, or correct --store (KILLSWITCH_STORE) and its credentials"
        return None, [Check("flag store", Status.WRONG, str(error).removeprefix("flag store: "), fix)]
    checks = [Check("flag store", Status.OK, f"answers; {counted(len(flags), 'flag')}")]
    checks += [
        Check(name, Status.WRONG, problem, f"`killswitch end {name}`, then arm it again")
        for name, problem in broken.items()
    ]
    return flags, checks


def examine_writing(
    flags: dict[str, Flag] | None, rollouts: Sequence[Rollout], try_writing: TryWriting | None
) -> Iterator[Check]:
    """A store that is full or read-only still answers reads, but no trip can be made. Nothing is changed."""
    if flags is None or try_writing is None or not rollouts:
        return
    try:
        try_writing(rollouts[0].name)
    except KillswitchError as error:
        fix = "give this user write permission, or make room in the store (etcd: compact, defragment, disarm the alarm)"
        yield Check("flag store", Status.WRONG, f"no trip can be made, because the store takes no writes: {error}", fix)


def examine_controllers(flags: dict[str, Flag], ask: AskControllers | None) -> Iterator[Check]:
    armed = sum(flag.armed for flag in flags.values())
    if armed and ask is not None and ask() == 0:
        are = "flag is" if armed == 1 else "flags are"
        found = f"none is alive, and {armed:,} {are} armed: no one notices a bad canary"
        yield Check("controllers", Status.WARNING, found, "start `killswitch run` with this store")


def examine_rule_files(flags: dict[str, Flag], ruled: set[str]) -> Iterator[Check]:
    for name, flag in flags.items():
        if flag.armed and name not in ruled:
            found = f"armed at {flag.canary_percent:g}%, but no rule file here names it: it is not judged"
            yield Check(name, Status.WARNING, found, _no_file_fix(name))
        elif flag.state in STOPPED and name not in ruled:
            found = f"{flag.state.value}, and no rule file here names it: once it is armed again, it is not judged"
            yield Check(name, Status.NOTE, found, _no_file_fix(name))


def _no_file_fix(name: str) -> str:
    fix = "add its rule file (was it left out of an upgrade?), or correct `rollout:` in that file"
    return f"{fix}, or run `killswitch end {name}`"
