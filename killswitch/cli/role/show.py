"""``killswitch role show``: a role's slots, what its candidate still needs, its waiver, its runs, and its history."""

from __future__ import annotations

import json
import math
import time
from typing import Annotated, Any

import typer

from killswitch.cli.invocation import (
    EXIT_UNWANTED,
    JsonOption,
    RolesOption,
    SettingsOption,
    StoreOption,
    opened,
    print_problems,
    say,
    show,
)
from killswitch.cli.role.at_hand import (
    RoleArgument,
    config_if_readable,
    dates_if_readable,
    evidence_in_words,
    registry_of,
)
from killswitch.cli.role.at_hand import as_json as role_as_json
from killswitch.cli.terminal import one_line
from killswitch.errors import KillswitchError, Refused
from killswitch.registry import gate_runs
from killswitch.registry.evidence import evidence_of, waiver_in_words, waiver_of
from killswitch.registry.stored_roles import NEWEST
from killswitch.roles.config import RoleConfig
from killswitch.roles.document import history_document
from killswitch.roles.role import Role, RoleHistoryEntry
from killswitch.roles.waiver import to_document as waiver_document
from killswitch.stores import Store
from killswitch.timestamps import to_iso


def command(
    role: RoleArgument,
    all_changes: Annotated[bool, typer.Option("--all", help=f"All of its history, not the newest {NEWEST}.")] = False,
    store: StoreOption = None,
    roles: RolesOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a role: its slots, what prod rests on, what the candidate still needs, its waiver, and its history.

    Exits with 1 if a part of its history cannot be read; the rest is shown.
    """
    with opened(store, settings, roles=roles) as (known, opened_store, _switch):
        registry = registry_of(opened_store)
        stored = registry.required(role).role
        assert stored is not None
        entries, problems = registry.history(role, last=stored.number, most=None if all_changes else NEWEST)
        config = config_if_readable(known, role)
        document = {
            **role_as_json(stored),
            "evidence": evidence_in_words(stored),
            **_gate(opened_store, stored, config, time.time()),
            "history": [json.loads(history_document(entry)) for entry in entries],
            "problems": problems,
        }
        show(document, as_json=as_json, otherwise=lambda: _print(stored, document, entries))
        if problems:
            print_problems(problems)
            raise typer.Exit(EXIT_UNWANTED)


def _gate(store: Store, role: Role, config: RoleConfig | None, now: float) -> dict[str, Any]:
    """What lets the candidate replace prod, or what is missing; the waiver; the newest run."""
    waiver, _ = waiver_of(store, role.name)
    allowed, sentence = None, None
    if role.candidate is not None:
        try:
            dates = dates_if_readable(config)
            allowed, sentence = True, evidence_of(store, role, config=config, now=now, dates=dates).sentence
        except Refused as error:
            allowed, sentence = False, str(error)
    try:
        newest = gate_runs.newest(store, role.name)
        run = None if newest is None else newest.record.run
    except KillswitchError as error:
        run = f"cannot be read: {error}"
    return {
        "may_be_promoted": allowed,
        "because": sentence,
        "waiver": None if waiver is None else json.loads(waiver_document(waiver)),
        "waiver_holds": None if waiver is None else waiver.holds_for(prod=role.prod, candidate=role.candidate, now=now),
        "waiver_in_words": None if waiver is None else waiver_in_words(waiver),
        "newest_gate_run": run,
    }


def _print(role: Role, document: dict[str, Any], entries: list[RoleHistoryEntry]) -> None:
    lines = [f"role {role.name}", f"  prod       {role.prod or '-'}"]
    if role.origin is not None:
        origin = role.origin
        lines.append(f"             since {to_iso(math.floor(origin.at))}, by {origin.by}: {document['evidence']}")
    lines.append(f"  candidate  {role.candidate or '-'}")
    if document["may_be_promoted"] is not None:
        may = "may be promoted" if document["may_be_promoted"] else "may not be promoted"
        lines.append(f"             {may}: {document['because']}")
    lines.append(f"  previous   {role.previous or '-'}")
    if document["waiver"] is not None:
        holds = "holds" if document["waiver_holds"] else "does not hold now"
        lines.append(f"  waiver     {document['waiver_in_words']} ({holds})")
    if document["newest_gate_run"] is not None:
        lines.append(f"  gate       newest run {document['newest_gate_run']}; `killswitch gate show {role.name}`")
    for line in lines:
        say(one_line(line))
    rest = role.number - len(entries) - len(document["problems"])
    say(f"  history    {role.number} changes" + (f", the newest {len(entries)}; --all shows the rest" if rest else ""))
    for entry in entries:
        say(one_line(f"    {_change(entry)}"))


def _change(entry: RoleHistoryEntry) -> str:
    role = entry.role
    slots = f"prod {role.prod or '-'}, candidate {role.candidate or '-'}, previous {role.previous or '-'}"
    rests_on = (
        f"gate run {entry.gate_run}"
        if entry.gate_run
        else entry.waiver or (entry.incident and f"trip {entry.incident}")
    )
    why = f": {entry.reason}" if entry.reason else ""
    evidence = f" [{rests_on}]" if rests_on else ""
    when = to_iso(math.floor(role.updated_at))
    return f"{role.number} {when} {role.change} by {role.updated_by}: {slots}{why}{evidence}"
