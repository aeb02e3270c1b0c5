"""``killswitch drill``: rehearse a trip in production, time each leg, and show the drills that are kept."""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from killswitch.cli.by_hand import living_controllers
from killswitch.cli.console import print_table
from killswitch.cli.invocation import (
    EXIT_REFUSED,
    EXIT_UNAVAILABLE,
    EXIT_UNWANTED,
    JsonOption,
    RolloutArgument,
    SettingsOption,
    StoreOption,
    YesOption,
    confirm,
    fail,
    opened,
    person,
    print_problems,
    say,
    show,
)
from killswitch.cli.known_rollout import check_known
from killswitch.cli.terminal import one_line
from killswitch.drill.keeping import acknowledge_drill, kept_drills, standing_of
from killswitch.drill.looking import another_drill
from killswitch.drill.record import GOAL, DrillOutcome, DrillRecord, to_json
from killswitch.drill.request import DrillRequest, to_document
from killswitch.drill.results import leg_in_words, legs_in_order, result_in_words
from killswitch.errors import KillswitchError
from killswitch.flags.flag import Flag
from killswitch.stores import Committed, Compare, Lease, Put, Store, keys
from killswitch.wording import date_and_time, duration_in_words, span_in_words

TAKEN_WITHIN = 30.0  # seconds until a controller must have taken the request
OVER_WITHIN = 180.0
_POLL = 0.5
_TTL = 15.0

LiveOption = Annotated[bool, typer.Option("--live", help="Really send everyone to control, and arm again.")]
LastOption = Annotated[bool, typer.Option("--last", help="Show the last drill; make none.")]
ListOption = Annotated[bool, typer.Option("--list", help="List the kept drills; make none.")]
AckOption = Annotated[bool, typer.Option("--ack", help="Note that you have seen the last drill's page; make none.")]


def command(
    rollout: RolloutArgument,
    live: LiveOption = False,
    last: LastOption = False,
    listed: ListOption = False,
    ack: AckOption = False,
    store: StoreOption = None,
    settings: SettingsOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Rehearse a trip: verdict, commit, page and routers, each timed. No user is rerouted without --live.

    Exits with 0 if the drill passed, 1 if it did not, 2 if it was refused, 3 if no controller took it.
    """
    if live + last + listed + ack > 1:
        fail("use only one of --live, --last, --list and --ack")
    with opened(store, settings) as (known_settings, opened_store, switch):
        if last or listed:
            check_known(known_settings, opened_store, switch, rollout)
            _show_kept(opened_store, rollout, all_of_them=listed, as_json=as_json)
            return
        if ack:
            record = acknowledge_drill(opened_store, rollout, by=person(), origin=_origin(), at=time.time())
            said = f"{rollout}: drill {record.number} acknowledged"
            show(to_json(record), as_json=as_json, otherwise=lambda: say(said))
            return
        flag = switch.required(rollout).flag
        assert flag is not None
        if live:
            confirm(_cost(flag, time.time()), yes=yes)
        record = _made(opened_store, rollout, live=live, quiet=as_json)
        show(to_json(record), as_json=as_json, otherwise=lambda: _print(opened_store, record))
        if record.outcome is not DrillOutcome.PASSED:
            raise typer.Exit(EXIT_UNWANTED)


def _origin() -> str:
    return f"command line on {socket.gethostname()}"


def _cost(flag: Flag, now: float) -> str:
    """What a live drill does to users and to the plan."""
    lasted = span_in_words(now - flag.stages[-1].at)
    return (
        f"{flag.rollout}: everyone gets {flag.control} for about a minute, then the same {flag.canary_percent:g}% get "
        f"{flag.canary} again, in stage {flag.stage}. It costs what this stage has shown: after {lasted} its time, its "
        "evidence and its approvals begin again, as after any re-arm."
    )


# --- asking for one ---------------------------------------------------------------------------------


def _made(store: Store, rollout: str, *, live: bool, quiet: bool) -> DrillRecord:
    """The drill as it ended. Ends the command where it was refused, or no controller made it."""
    other = another_drill(store, rollout)
    if other is not None:
        fail(f"{rollout}: {other}")
    if living_controllers(store) == 0:
        fail(f"{rollout}: no controller is alive, so nothing would trip it; start `killswitch run`", EXIT_UNAVAILABLE)
    request = DrillRequest(rollout, live, person(), _origin(), secrets.token_hex(8))
    lease = store.grant(_TTL)
    try:
        put = Put(keys.drill_request(rollout), to_document(request), lease)
        if not isinstance(store.commit((Compare(put.key, 0),), (put,)), Committed):
            fail(
                f"{rollout}: someone else asks for a drill of it at this moment; see `killswitch drill {rollout} "
                "--last`"
            )
        record = _awaited(store, request, lease, quiet=quiet)
    finally:
        with contextlib.suppress(KillswitchError):
            store.revoke(lease)  # else the request ends with its lease
    if record is None:
        fail(
            f"{rollout}: no controller took the request within {duration_in_words(TAKEN_WITHIN)}; it is withdrawn. "
            "See whether they run: `killswitch status`. One that drills another rollout takes it later: repeat it",
            EXIT_UNAVAILABLE,
        )
    if record.outcome is DrillOutcome.REFUSED:
        print_problems(f"{rollout}: no drill now: {problem}" for problem in record.problems)
        if quiet:
            show(to_json(record), as_json=True, otherwise=lambda: None)
        raise typer.Exit(EXIT_REFUSED)
    return record


def _awaited(store: Store, request: DrillRequest, lease: Lease, *, quiet: bool) -> DrillRecord | None:
    began = renewed = time.monotonic()
    told = False
    while True:
        record = next((one for one in kept_drills(store, request.rollout) if one.nonce == request.nonce), None)
        now = time.monotonic()
        if record is not None and record.outcome is not DrillOutcome.UNDER_WAY:
            return record
        if record is not None and not told and not quiet:
            told = True
            say(f"{request.rollout}: drill {record.number} has begun, on {one_line(record.controller)}")
        if record is None and now - began > TAKEN_WITHIN:
            return None
        if record is not None and now - began > OVER_WITHIN:
            return record
        if now - renewed > _TTL / 3:
            renewed = now
            store.keep_alive(lease)
        time.sleep(_POLL)


# --- showing them -----------------------------------------------------------------------------------


def _show_kept(store: Store, rollout: str, *, all_of_them: bool, as_json: bool) -> None:
    kept = [one for one in kept_drills(store, rollout) if all_of_them or one.outcome is not DrillOutcome.REFUSED]
    if not kept and not (all_of_them and as_json):
        fail(f"{rollout} has had no drill; make one with `killswitch drill {rollout}`", EXIT_UNWANTED)
    shown: dict[str, Any] = {"drills": [to_json(one) for one in kept]} if all_of_them else to_json(kept[0])
    show(shown, as_json=as_json, otherwise=lambda: _list(kept) if all_of_them else _print(store, kept[0]))


def _print(store: Store, record: DrillRecord) -> None:
    kind = "live drill" if record.live else "drill"
    say(
        f"{record.rollout}: {kind} {record.number} {record.outcome.value}, {date_and_time(record.began_at)}, "
        f"by {one_line(record.by)}: {one_line(result_in_words(record))}"
    )
    if record.legs:
        table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
        table.add_column("leg")
        table.add_column("took", justify="right")
        for name, seconds in legs_in_order(record):
            table.add_row(Text(one_line(leg_in_words(name))), duration_in_words(seconds))
        print_table(table)
    if record.rule:
        say(
            f"the made-up breach broke {record.rule}, and was proven after {duration_in_words(record.proven_after)} of "
            "readings; how soon a real one is proven depends on traffic: `killswitch power`"
        )
    worst = standing_of(store, record.rollout)[0].worst
    if worst is not None:
        say(f"slowest rollback of the kept drills: {duration_in_words(worst)} (goal: {duration_in_words(GOAL)})")


def _list(kept: list[DrillRecord]) -> None:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for name in ("drill", "began", "by", "outcome", "rollback", "routers", "what"):
        table.add_column(name, no_wrap=name != "what")
    for one in kept:
        rollback = "-" if one.rollback is None else duration_in_words(one.rollback)
        kind = f"{one.number} live" if one.live else str(one.number)
        what = "; ".join(one.problems)
        table.add_row(
            kind, date_and_time(one.began_at), Text(one_line(one.by)), one.outcome.value, rollback,
            f"{one.followed} of {one.routers}", Text(one_line(what)),
        )  # fmt: skip
    print_table(table)
