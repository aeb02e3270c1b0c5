"""A plan's timeline and slow signals as HTML, from the JSON of the status; every text in it is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from killswitch.pages.stage_rows import COLUMNS, stage_rows
from killswitch.status.html_document import Row, table, text, with_commands
from killswitch.status.slow_rows import COLUMNS as SLOW_COLUMNS
from killswitch.status.slow_rows import NUMBERS, slow_cells, slow_sentence
from killswitch.wording import reasons_in_words

_STANDING = {"now": "now", "to come": "dim", "skipped": "dim"}


def plan_section(plan: Mapping[str, Any] | None) -> str:
    """The stages with dates, and why it is not moving; "" without a plan."""
    if plan is None:
        return ""
    rows = [Row([text(cell) for cell in row.cells], _STANDING.get(row.standing, "")) for row in stage_rows(plan)]
    advance = str(plan["advance"]).replace("_", " ")
    caption = f"the plan, next step {advance}; dates to come are the earliest possible, in UTC"
    why = with_commands(reasons_in_words(str(plan["why"])))
    return table(caption, COLUMNS, rows) + f"<p class=why><b>plan</b>: {why}</p>"


def slow_section(signals: Sequence[Mapping[str, Any]]) -> str:
    """The slow signals, and below them why one has no verdict; "" without any."""
    if not signals:
        return ""
    said = "".join(
        f"<p class=why><b>{escape(str(one['signal']))}</b>: {escape(why)}</p>"
        for one in signals
        if (why := slow_sentence(one))
    )
    return (
        table("signals that are known days later", SLOW_COLUMNS, [_signal(one) for one in signals], right=NUMBERS)
        + said
    )


def _signal(one: Mapping[str, Any]) -> Row:
    name, verdict, *numbers = slow_cells(one)
    return Row([text(name), text(verdict, escape(verdict)), *map(text, numbers)])
