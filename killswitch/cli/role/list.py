"""``killswitch role list``: every role with its slots, since when, by whom, and on what evidence."""

from __future__ import annotations

import math

import typer
from rich.table import Table
from rich.text import Text

from killswitch.cli.console import fits, out, print_table
from killswitch.cli.invocation import (
    EXIT_UNWANTED,
    JsonOption,
    SettingsOption,
    StoreOption,
    opened,
    print_problems,
    say,
    show,
)
from killswitch.cli.role.at_hand import as_json as role_as_json
from killswitch.cli.role.at_hand import evidence_in_words, registry_of
from killswitch.cli.terminal import one_line
from killswitch.roles.role import Role
from killswitch.timestamps import to_iso


def command(store: StoreOption = None, settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """List all roles: prod, candidate, previous, and since when, by whom and on what evidence prod is prod.

    Exits with 1 if a role is damaged; the others are listed all the same.
    """
    with opened(store, settings) as (_, opened_store, _switch):
        good, bad = registry_of(opened_store).everything()
        roles = [good[name].role for name in sorted(good)]
        known = [role for role in roles if role is not None]
        document = {"roles": [role_as_json(role) for role in known], "problems": dict(sorted(bad.items()))}
        show(document, as_json=as_json, otherwise=lambda: _print(known))
        if bad:
            print_problems(bad[name] for name in sorted(bad))
            raise typer.Exit(EXIT_UNWANTED)


def _print(roles: list[Role]) -> None:
    if not roles:
        say("there are no roles yet; `killswitch role create ROLE --prod MODEL` makes one")
        return
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for name in ("role", "prod", "candidate", "previous", "since", "by", "evidence"):
        table.add_column(name, no_wrap=True)
    for role in roles:
        table.add_row(*(Text(one_line(cell)) for cell in _cells(role)))
    if fits(table):
        print_table(table)
        return
    for role in roles:  # some lines each where a row is wider than the terminal
        name, prod, candidate, previous, *origin = _cells(role)
        out.print(Text(one_line(f"{name}: prod {prod}, candidate {candidate}, previous {previous}")), soft_wrap=True)
        out.print(Text(one_line("  since " + ", ".join(cell for cell in origin if cell))), soft_wrap=True)


def _cells(role: Role) -> tuple[str, ...]:
    origin = role.origin
    since, by = ("", "") if origin is None else (to_iso(math.floor(origin.at)), origin.by)
    return role.name, role.prod or "-", role.candidate or "-", role.previous or "-", since, by, evidence_in_words(role)
