"""A plan's timeline and slow signals as tables in a terminal, from the JSON of the status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from killswitch.model import Verdict
from killswitch.pages.stage_rows import COLUMNS, stage_rows
from killswitch.status.slow_rows import COLUMNS as SLOW_COLUMNS
from killswitch.status.slow_rows import NUMBERS, slow_cells
from killswitch.status.table import COLOURS

_STYLES = {"now": "bold", "to come": "dim"}


def timeline_table(timeline: Mapping[str, Any]) -> Table:
    """One row for each stage, with dates to the minute; those ahead are the earliest possible."""
    table = _table(*COLUMNS, right=("share",))
    for row in stage_rows(timeline):
        table.add_row(*map(Text, row.cells), style=_STYLES.get(row.standing, ""))
    return table


def slow_table(signals: Sequence[Mapping[str, Any]]) -> Table:
    """One row for each slow signal; `slow_sentence` says why one is UNKNOWN, and what a breach rests on."""
    table = _table(*SLOW_COLUMNS, right=NUMBERS)
    for one in signals:
        name, verdict, *numbers = slow_cells(one)
        table.add_row(Text(name), Text(verdict, style=COLOURS[Verdict(verdict)]), *map(Text, numbers))
    return table


def _table(*names: str, right: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for name in names:
        table.add_column(name, no_wrap=True, justify="right" if name in right else "left")
    return table
