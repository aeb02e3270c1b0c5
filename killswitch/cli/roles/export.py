"""``killswitch roles export``: write all roles to a JSON file that belongs in git."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Annotated

import typer

from killswitch.cli.invocation import (
    EXIT_UNWANTED,
    JsonOption,
    SettingsOption,
    StoreOption,
    fail,
    opened,
    print_problems,
    say,
    show,
)
from killswitch.cli.role.at_hand import registry_of
from killswitch.errors import UnknownRole
from killswitch.registry.registry import Registry
from killswitch.registry.role_export import exported
from killswitch.roles.role import Role, RoleHistoryEntry
from killswitch.wording import counted

ChosenRolesOption = Annotated[
    list[str] | None, typer.Option("--role", help="Only this role. May be repeated.", show_default=False)
]


def command(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write.", show_default="standard output")
    ] = None,
    role: ChosenRolesOption = None,
    history: Annotated[bool, typer.Option("--history", help="With the history of each role.")] = False,
    store: StoreOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write all roles, or those of --role, as JSON: one block a role, in a stable order.

    A damaged role is written as its history says last, and the command exits with 1.
    """
    with opened(store, settings) as (_, opened_store, _switch):
        registry = registry_of(opened_store)
        roles, problems = _roles(registry, role)
        histories: dict[str, list[RoleHistoryEntry]] = {}
        if history:
            for name, one in roles.items():
                entries, damaged = registry.history(name, last=one.number, most=None)
                histories[name] = entries[::-1]
                problems += [f"role {name}: {problem}; its history is left out" for problem in damaged]
                if damaged:
                    histories[name] = []
        text = exported(roles, histories if history else None)
        if output is None:
            typer.echo(text, nl=False)
        else:
            _write(output, text)
            said = f"{output}: {counted(len(roles), 'role')} written"
            show({"written": str(output), "roles": sorted(roles)}, as_json=as_json, otherwise=lambda: say(said))
        if problems:
            print_problems(problems, style="yellow")
            raise typer.Exit(EXIT_UNWANTED)


def _roles(registry: Registry, chosen: list[str] | None) -> tuple[dict[str, Role], list[str]]:
    good, bad = registry.everything()
    found = {name: stored.role for name, stored in good.items() if stored.role is not None}
    problems = []
    wanted = [*good, *bad] if chosen is None else chosen
    for name in wanted:
        if name not in good and name not in bad:
            raise UnknownRole(name, [*good, *bad])
        if name in bad:
            role = registry.readable(name)[0].role
            if role is None:
                problems.append(f"{bad[name]}; its history does not say either, so it is left out")
                continue
            found[name] = role
            problems.append(f"role {name} is damaged, and is written as change {role.number} of its history says")
    return {name: found[name] for name in wanted if name in found}, problems


def _write(path: Path, text: str) -> None:
    """The whole file, or the one that was there before."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.write_text(text, "utf-8")
        new.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        fail(f"{path} cannot be written: {error.strerror}; name another with --output")
