"""``killswitch status``: the flags and verdicts of all rollouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from killswitch.cli.ask_controller import ask, no_answer, understood
from killswitch.cli.console import err, fits, out, print_table
from killswitch.cli.invocation import JsonOption, SettingsOption, StoreOption, UrlOption, opened, print_problems, show
from killswitch.cli.newest_status import as_stored, tripped_on, unjudged
from killswitch.cli.terminal import one_line
from killswitch.errors import KillswitchError, UnknownRollout
from killswitch.flags.shadow_share import shadowed_of
from killswitch.registry.seen import roles_seen
from killswitch.roles.seen import RolesSeen
from killswitch.status.plan_table import slow_table, timeline_table
from killswitch.status.slow_rows import slow_sentence
from killswitch.status.table import findings_table
from killswitch.stores import Store
from killswitch.timestamps import from_iso
from killswitch.trips.router_progress import routers_followed
from killswitch.trips.stored_flags import StoredFlag
from killswitch.wording import duration_in_words, labelled, reasons_in_words, untagged

_BAD = ("tripped", "pinned", "unreadable", "unknown")
_COLOURS = {"armed": "green", "complete": "green", **dict.fromkeys(_BAD, "bold red")}


def command(
    rollout: Annotated[str | None, typer.Argument(help="Show only this rollout.", show_default=False)] = None,
    store: StoreOption = None,
    url: UrlOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show each rollout's flag, each rule's values for both cohorts, limit, verdict and age, and what its caps allow.

    Where the rule file has a plan, its stages follow with their dates and why it is not moving; where it has slow
    signals, their verdicts. Flags come from the flag store, verdicts from a controller (--url).
    """
    with opened(store, settings) as (_, opened_store, switch):
        flags, broken = switch.everything()
        try:
            report = ask(url, "/api/v1/status") or {}
        except KillswitchError as error:
            report = {"problem": f"{no_answer(url)}, so no verdicts are shown: {error}"}
        try:
            with understood(url):
                document = _checked(_merged(opened_store, flags, broken, report))
        except KillswitchError as error:  # the flags are right without the verdicts
            document = _merged(opened_store, flags, broken, {"problem": f"no verdicts are shown: {error}"})
        for one in document["rollouts"]:
            one["routers"] = routers_followed(
                opened_store, one["rollout"], one.get("revision"), tripped=one["state"] in ("tripped", "pinned")
            )
        if rollout is not None:
            known = [one["rollout"] for one in document["rollouts"]]
            document["rollouts"] = [one for one in document["rollouts"] if one["rollout"] == rollout]
            if not document["rollouts"]:
                raise UnknownRollout(rollout, known)
        seen = _roles(opened_store)
        document["roles"] = seen.document()
        for one in document["rollouts"]:
            one["rests_on"] = seen.rests_on.get((one["rollout"], one.get("generation")))
        show(document, as_json=as_json, otherwise=lambda: _print(one_line(document), roles=rollout is None))


def _roles(store: Store) -> RolesSeen:
    """The roles as they are now. That they cannot be read must not hide the flags."""
    try:
        return roles_seen(store)
    except KillswitchError as error:
        return RolesSeen(problem=f"roles cannot be read: {error}")


def _merged(
    store: Store, flags: Mapping[str, StoredFlag], broken: Mapping[str, str], report: dict[str, Any]
) -> dict[str, Any]:
    """The controller's report with the flags of the store, which are newer."""
    rollouts = {one["rollout"]: one for one in ([] if "problem" in report else report["rollouts"])}
    for name in rollouts.keys() - flags.keys() - broken.keys():
        rollouts[name] = as_stored(rollouts[name], StoredFlag(None, 0))
    for name, problem in broken.items():
        sentence = f"{problem}; routers send everything to control; remove the flag with `killswitch end {name}`"
        rollouts[name] = {**unjudged(name), "state": "unreadable", "sentence": sentence}
    for name, stored in flags.items():
        said = rollouts.get(name, unjudged(name))
        rollouts[name] = as_stored(said, stored, tripped_on(store, stored.flag), reached="problem" not in report)
    return {**report, "rollouts": [rollouts[name] for name in sorted(rollouts)]}


def _checked(document: dict[str, Any]) -> dict[str, Any]:
    """The document itself, if all of it can be printed; otherwise this raises what printing it would."""
    age = document.get("age_seconds")
    for one in document["rollouts"]:
        _heading(one, age)
        findings_table(one["findings"])
        _sentence(one)
        for cap in one.get("spend", ()):
            f"{cap['line']}{_style_of_cap(cap)}"
        if one.get("plan"):
            timeline_table(one["plan"])
            str(one["plan"]["why"])
        slow_table(one.get("slow", ()))
        [slow_sentence(signal) for signal in one.get("slow", ())]
    return document


def _print(document: Mapping[str, Any], *, roles: bool) -> None:
    if document.get("problem"):
        err.print(str(document["problem"]), style="yellow", markup=False, soft_wrap=True)
    for key, label in (("store_problem", "flag store"), ("source_problem", "metric source")):
        if document.get(key):
            err.print(labelled(label, str(document[key])), style="red", markup=False, soft_wrap=True)
    if not document["rollouts"]:
        out.print("no rollout has a flag; create one with `killswitch arm`")
    age = document.get("age_seconds")
    for one in document["rollouts"]:
        _print_rollout(one, age)
    if roles:
        _print_roles(document["roles"])


def _print_rollout(one: Mapping[str, Any], age: float | None) -> None:
    out.print(_heading(one, age), soft_wrap=True)  # a wrapped name would begin a line
    if one["findings"]:
        out.print(findings_table(one["findings"], window=one.get("window_seconds")))
    style = "" if one.get("monitored", True) else "bold red"
    out.print(f"  {_sentence(one)}", style=style, markup=False, soft_wrap=True)
    for cap in one.get("spend", ()):
        out.print(f"  spend: {cap['line']}", style=_style_of_cap(cap), markup=False, soft_wrap=True)
    if one.get("slow"):
        _print_slow(one["slow"])
    if one.get("plan"):
        print_table(timeline_table(one["plan"]))
        out.print(f"  plan: {reasons_in_words(str(one['plan']['why']))}", markup=False, soft_wrap=True)
    if one.get("rests_on"):
        out.print(f"  {one['rests_on']}", style="dim", markup=False, soft_wrap=True)
    if one["trip"]:
        _print_trip(one["rollout"], one["trip"], pinned=one["state"] == "pinned")
    out.print()


def _print_roles(roles: Mapping[str, Any]) -> None:
    if roles["problem"]:
        err.print(str(roles["problem"]), style="yellow", markup=False, soft_wrap=True)
    if not roles["rows"]:
        return
    columns = ("role", "prod", "candidate", "previous", "since")
    table = Table(*columns, box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for row in roles["rows"]:
        if row["problem"]:
            print_problems([str(row["problem"])])
            continue
        table.add_row(*(Text(str(row[column] or "-")) for column in columns))
    if fits(table):
        print_table(table)
    else:  # a cut id of a model is none
        for row in roles["rows"]:
            if not row["problem"]:
                slots = ", ".join(f"{column} {row[column] or '-'}" for column in columns[1:])
                out.print(f"{row['role']}: {slots}", markup=False, soft_wrap=True)
    if roles["more"]:
        out.print(f"and {roles['more']:,} more: `killswitch role list`", markup=False)


def _print_slow(signals: Sequence[Mapping[str, Any]]) -> None:
    print_table(slow_table(signals))
    for signal in signals:
        said = slow_sentence(signal)
        if said:
            out.print(f"  {signal['signal']}: {said}", style="yellow", markup=False, soft_wrap=True)


def _print_trip(rollout: str, trip: Mapping[str, Any], *, pinned: bool) -> None:
    if trip["findings"]:
        span = f", in the {duration_in_words(trip['window_seconds'])} before it" if trip["window_seconds"] else ""
        out.print(f"  its rules as of the trip{span}:", style="dim", markup=False, soft_wrap=True)
        at = from_iso(trip["at"]) if isinstance(trip["at"], str) else None
        out.print(findings_table(trip["findings"], window=trip["window_seconds"], at=at))
    taken = trip.get("acknowledged")
    if taken is not None:
        out.print(f"  {taken['by']} looks after it since {taken['at']}", markup=False, soft_wrap=True)
    then = f'and once it is fixed `killswitch rearm {rollout} --reason "what was fixed"`'
    if pinned:
        then = f'and once it is settled `killswitch unpin {rollout} --reason "why"`'
    out.print(
        f"  incident {trip['incident']} of {trip['at']}; next: `killswitch explain {rollout}`, {then}",
        markup=False, soft_wrap=True,
    )  # fmt: skip


def _style_of_cap(cap: Mapping[str, Any]) -> str:
    if cap["unknown"] is not None:
        return "cyan"
    used, soft, hard = cap["used_micros"], cap["soft_micros"], cap["hard_micros"]
    return "bold red" if hard is not None and used >= hard else "yellow" if soft is not None and used >= soft else "dim"


def _sentence(one: Mapping[str, Any]) -> str:
    """The sentence without the flag's state, which the heading shows."""
    return reasons_in_words(untagged(str(one["sentence"])))


def _heading(one: Mapping[str, Any], age: float | None) -> Text:
    text = Text(one["rollout"], style="bold")
    text.append(f"  {one['state']}", style=_COLOURS.get(one["state"], "dim"))
    if one["state"] == "complete":
        text.append(f"  everyone gets {one['control']}; generation {one['generation']}", style="not bold")
    elif one["state"] not in {"absent", "unreadable"}:
        shadowed = shadowed_of(one)
        text.append(
            f"  {one['canary_percent']:g}% {one['canary']}, rest {one['control']};"
            f" stage {one['stage']}, {shadowed + ', ' if shadowed else ''}generation {one['generation']}",
            style="not bold",
        )
    if one.get("routers"):
        text.append(
            f"; {one['routers']['followed']} of {one['routers']['known']} routers have followed", style="not bold"
        )
    if age is not None and one["findings"]:
        text.append(f"; judged {age:.0f} s ago", style="dim not bold")
    return text
