"""``killswitch roles probe``: ask each pinned model for one token, and show what is known of it."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from killswitch.cli.console import print_table
from killswitch.cli.invocation import (
    EXIT_UNAVAILABLE,
    EXIT_UNWANTED,
    JsonOption,
    RolesOption,
    SettingsOption,
    StoreOption,
    fail,
    opened,
    person,
    show,
)
from killswitch.cli.role_settings import roles_of
from killswitch.cli.terminal import one_line
from killswitch.daemon.wiring import build_store
from killswitch.gate.daily_probes import DailyProbes, RoleFindings
from killswitch.gate.probing import ProbeRound, ProbeTask, findings, gathered, pinned
from killswitch.roles.role import Slot
from killswitch.timestamps import to_iso

_STYLES = {"answers": "green", "gone": "bold red", "not known": "yellow"}


def command(
    role: Annotated[str | None, typer.Argument(help="Only this role.", show_default=False)] = None,
    store: StoreOption = None,
    roles: RolesOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask prod, candidate and previous of each role for one token, and read their providers' lists.

    What is found is kept in the store, and paged as by the daily job. Exit code 0 is all answer, 1 is a model that is
    gone, 3 is a model that gave no answer to go by.
    """
    with opened(store, settings, roles=roles) as (known, opened_store, _switch):
        configs = roles_of(known)
        if role is not None and role not in configs:
            listed = ", ".join(sorted(configs)) or "none"
            fail(f"no role file is about {role}; there are files of: {listed}; name their folder with --roles")
        if not configs:
            fail(f"{known.roles} has no role files, so no model can be asked; name their folder with --roles")
        probes = DailyProbes(
            opened_store,
            configs=lambda: configs,
            probing=partial(_probing, open_store=partial(build_store, known)),
            by=person(),
            wall=time.time,
            public_url=known.public_url,
        )
        found = probes.probe_now([role] if role is not None else configs)
        rows = [_row(one, slot, model) for one in found for slot, model in pinned(one.role).items()]
        show({"models": rows}, as_json=as_json, otherwise=lambda: _print(rows))
    states = {row["state"] for row in rows}
    if "gone" in states:
        raise typer.Exit(EXIT_UNWANTED)
    if "not known" in states:
        raise typer.Exit(EXIT_UNAVAILABLE)


def _probing(tasks: list[ProbeTask], *, open_store: Any) -> ProbeRound:
    return gathered(findings(tasks, open_store))


def _row(one: RoleFindings, slot: Slot, model: str) -> dict[str, Any]:
    health, now = one.known.health(model), one.health.looked_at
    retired, ahead, date = one.known.retired(model, now), one.known.ahead(model, now), one.known.retires_at(model)
    state = "gone" if retired is not None else "not known" if health.failing_since is not None else "answers"
    return {
        "role": one.role.name,
        "slot": slot.value,
        "model": model,
        "state": state,
        "listed": None if health.lifecycle is None else health.lifecycle.value,
        "retires_at": None if date is None else to_iso(date.at),
        "why": retired or health.failure or (ahead.sentence if ahead is not None else ""),
    }


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for name in ("role", "slot", "model", "state", "listed", "retires", "why"):
        table.add_column(name, overflow="fold")
    for row in map(one_line, rows):
        texts = [row["role"], row["slot"], row["model"], row["state"], (row["listed"] or "-").lower().replace("_", " ")]
        table.add_row(
            *(Text(text, style=_STYLES.get(text, "")) for text in texts),
            Text((row["retires_at"] or "-")[:10]),
            Text(row["why"]),
        )
    print_table(table)
