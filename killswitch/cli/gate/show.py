"""``killswitch gate show``: a run of a role's gate, from the store or with all its rows from a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from killswitch.cli.invocation import JsonOption, SettingsOption, StoreOption, errors_as_messages, opened, show
from killswitch.errors import BadSettings, Refused
from killswitch.gate.report.json_form import to_json
from killswitch.gate.report.terminal import print_record, print_report
from killswitch.gate.report.writing import read_report_file
from killswitch.registry import gate_runs
from killswitch.roles.gate_record import GateRecord, as_json
from killswitch.roles.role import check_role_name
from killswitch.stores import Store
from killswitch.wording import plain


def command(
    role: Annotated[str, typer.Argument(help="The role's name.", show_default=False)],
    run: Annotated[str | None, typer.Argument(help="The run's id.", show_default="the newest run")] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="The JSON report of the run: shows all rows. The store is not asked."),
    ] = None,
    store: StoreOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a run of a role's gate: its verdict, the four numbers, what it rests on and what to do next.

    The store keeps no rows. They are in the reports that a run writes: name the JSON file of one with
    --report to see them.
    """
    if report is not None:
        with errors_as_messages():
            found = read_report_file(report)
            _check(found.record, role, run, report)
            document = json.loads(to_json(found)) if as_json else None
        show(document, as_json=as_json, otherwise=lambda: print_report(found))
        return
    with opened(store, settings) as (_, opened_store, _switch):
        record = _stored(opened_store, check_role_name(role), run)
        show(as_json_of(record), as_json=as_json, otherwise=lambda: print_record(record))


def as_json_of(record: GateRecord) -> object:
    """What ``--json`` shows of a stored run."""
    return {**as_json(record), "allows_promotion": record.allows_promotion}


def _check(record: GateRecord, role: str, run: str | None, report: Path) -> None:
    if record.role != role or (run is not None and record.run != run):
        raise BadSettings([f"--report {report}: it is of run {record.run} of role {record.role}"])


def _stored(store: Store, role: str, run: str | None) -> GateRecord:
    found = gate_runs.newest(store, role) if run is None else gate_runs.run(store, role, run)
    if found is not None:
        return found.record
    if run is None:
        raise Refused(f"role {role} has no gate run yet; killswitch gate run {role} makes one")
    raise Refused(f"role {role} has no gate run {plain(run, 80)}; killswitch gate list {role} lists them")
