"""The list of gate runs on a narrow terminal."""

from __future__ import annotations

import io

from rich.console import Console

from killswitch.cli.gate.list import table_of
from killswitch.roles.gate_record import GateVerdict
from tests.doubles.gate_reports import record


def test_no_id_of_a_run_is_cut_in_80_columns() -> None:
    """`role approve` takes the id, and it was shown as 20261130T1831…."""
    run = record(
        GateVerdict.NEEDS_APPROVAL,
        "because",
        run="20261130T183105Z-5c47b7",
        prod="gpt-4.1-2025-04-14",
        candidate="claude-haiku-4-5-20251001",
    )
    written = io.StringIO()
    Console(file=written, width=80).print(table_of([run]))
    assert "20261130T183105Z-5c47b7" in written.getvalue()
    assert "NEEDS APPROVAL" in written.getvalue()
    assert "…" not in written.getvalue()
