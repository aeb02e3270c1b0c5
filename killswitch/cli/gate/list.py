"""``killswitch gate list``: the runs of a role's gate, the newest first."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from killswitch.cli.console import print_table
from killswitch.cli.gate.show import as_json_of
from killswitch.cli.histories import seconds_of
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
from killswitch.cli.terminal import one_line
from killswitch.errors import BadSettings
from killswitch.gate.report.words import VERDICT_WORDS
from killswitch.registry import gate_runs
from killswitch.registry.gate_runs import StoredRun
from killswitch.roles.gate_record import GateRecord
from killswitch.roles.role import check_role_name
from killswitch.wording import money_in_words

_LONGEST = 10 * 366 * 86_400.0  # seconds; each month is read by itself


def command(
    role: Annotated[str, typer.Argument(help="The role's name.", show_default=False)],
    since: Annotated[str, typer.Option("--since", help="Runs of this long ago and younger, such as 30d.")] = "90d",
    store: StoreOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the runs of a role's gate, the newest first: verdict, models, rows, cost, who and when.

    Exits with 1 if a stored run cannot be read; the others are listed all the same.
    """
    with opened(store, settings) as (_, opened_store, _switch):
        check_role_name(role)
        age = seconds_of("--since", since)
        if not 0.0 < age <= _LONGEST:
            raise BadSettings([f"--since {since}: over 0 and at most ten years, such as 30d"])
        now = time.time()
        found, problems = gate_runs.readable_since(opened_store, role, now - age, now)
        records = [one.record for one in _newest_first(found)]
        document = {"role": role, "runs": [as_json_of(one) for one in records], "problems": problems}
        show(document, as_json=as_json, otherwise=lambda: _print(role, since, records))
        if problems:
            print_problems(problems)
            raise typer.Exit(EXIT_UNWANTED)


def _newest_first(found: list[StoredRun]) -> list[StoredRun]:
    return sorted(found, key=lambda one: one.record.started_at, reverse=True)


def _print(role: str, since: str, records: list[GateRecord]) -> None:
    if not records:
        say(f"role {role} has no gate run of the last {since}; killswitch gate run {role} makes one")
        return
    print_table(table_of(records))


def table_of(records: Sequence[GateRecord]) -> Table:
    """One row a run. The id and the verdict are whole at any width: `role approve` and `gate show` need the id."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for name in ("run", "verdict", "candidate", "prod", "rows", "cost", "by"):
        table.add_column(name, no_wrap=name in ("run", "verdict"), overflow="fold", min_width=len(name))
    for one in records:
        verdict = VERDICT_WORDS[one.verdict] + (" (approved)" if one.approval is not None else "")
        points = ", point estimates" if one.point_estimates else ""
        rows = f"{one.asked_rows:,} of {one.golden_rows:,}{points}"
        cost = "unknown" if one.cost is None else money_in_words(one.cost)
        cells = (one.run, verdict, one.candidate, one.prod, rows, cost, one.by)
        table.add_row(*(Text(one_line(cell)) for cell in cells))
    return table
