"""``killswitch log``: who changed a rollout's flag, from where, what it was before and after, and why."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from killswitch.cli.invocation import (
    JsonOption,
    RolloutArgument,
    SettingsOption,
    StoreOption,
    fail,
    opened,
    print_problems,
    say,
    show,
)
from killswitch.cli.since import SinceOption, since_when
from killswitch.cli.terminal import one_line
from killswitch.flags.change import FlagChange, FlagSummary, to_document
from killswitch.flags.flag import AA
from killswitch.flags.transitions import State
from killswitch.trips.flag_history import changes_in, history_of
from killswitch.trips.history_pruning import KEPT_DAYS
from killswitch.wording import date_and_time


def command(
    rollout: RolloutArgument,
    since: SinceOption = None,
    store: StoreOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who changed a rollout's flag, from where, what it was before and after, and why. The newest comes last.

    It is kept for 400 days, also beyond the end of the rollout. Who a line names is who the store let write it.
    """
    after = since_when(since, now=time.time())
    with opened(store, settings) as (_, opened_store, switch):
        lines = history_of(opened_store, rollout)
        if not lines and switch.stored(rollout).flag is None:
            fail(f"no history of {rollout!r:.80} is kept, and it has no flag; `killswitch status` lists the rollouts")
        for line in lines:
            if line.change is None:
                print_problems([f"a line cannot be read ({line.key}): {line.problem}"], style="yellow")
    found = [change for change in changes_in(lines) if change.at >= after]
    show([as_document(change) for change in found], as_json=as_json, otherwise=lambda: _print(rollout, found))


def as_document(change: FlagChange) -> dict[str, Any]:
    """The line as JSON, as it is stored."""
    document: dict[str, Any] = json.loads(to_document(change))
    return document


def _print(rollout: str, found: Sequence[FlagChange]) -> None:
    if not found:
        say(f"{rollout}: no change in this time; the history is kept for {KEPT_DAYS} days")
    for change in found:
        where = f" ({change.origin})" if change.origin else ""
        say(one_line(f"{date_and_time(change.at)}  {change.deed.value} by {change.by or 'someone unnamed'}{where}"))
        say(one_line(f"    {changed_in_words(change.before, change.after)}"))
        if change.reason:
            say(one_line(f"    because: {change.reason}"))


def changed_in_words(before: FlagSummary | None, after: FlagSummary | None) -> str:
    """``g7 armed, ramp_5, 5% of model-new -> g7 tripped``; once where nothing of the flag has changed."""
    if before == after:
        return f"{_in_words(after)}, unchanged"
    return f"{_in_words(before)} -> {_in_words(after)}"


def _in_words(flag: FlagSummary | None) -> str:
    if flag is None:
        return "no flag"
    if flag.state is State.ARMED:
        shadow = f", {flag.shadow} shadowed" if flag.shadow else ""
        served = f"still {flag.control}" if flag.stage == AA else flag.canary
        return f"g{flag.generation} armed, {flag.stage}, {flag.percent:g}% {served}{shadow}"
    if flag.state is State.COMPLETE:
        return f"g{flag.generation} complete, all {flag.control}"
    return f"g{flag.generation} {flag.state.value}, all {flag.control}"
