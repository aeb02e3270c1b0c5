"""A plan's timeline and slow signals as HTML, from the JSON of the status; every text in it is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from killswitch.pages.stage_rows import COLUMNS, stage_rows
from killswitch.status.slow_rows import COLUMNS as SLOW_COLUMNS
from killswitch.status.slow_rows import NUMBERS, slow_cells, slow_sentence
from killswitch.wording import reasons_in_words

_STANDING = {"now": "now", "to come": "dim", "skipped": "dim"}


def plan_section(plan: Mapping[str, Any] | None) -> str:
    """The stages with dates, and why it is not moving; "" without a plan."""
    if plan is None:
        return ""
    rows = "".join(
        f"<tr class='stage {_STANDING.get(row.standing, '')}'>" + "".join(f"<td>{escape(cell)}" for cell in row.cells)
        + "</tr>"
        for row in stage_rows(plan)
    )  # fmt: skip
    advance = escape(str(plan["advance"]).replace("_", " "))
    caption = f"the plan, next step {advance}; dates to come are the earliest possible, in UTC"
    why = with_commands(reasons_in_words(str(plan["why"])))
    return _table(caption, COLUMNS, rows) + f"<p class=why><b>plan</b>: {why}</p>"


def slow_section(signals: Sequence[Mapping[str, Any]]) -> str:
    """The slow signals, and below them why one has no verdict; "" without any."""
    if not signals:
        return ""
    said = "".join(
        f"<p class=why><b>{escape(str(one['signal']))}</b>: {escape(why)}</p>"
        for one in signals
        if (why := slow_sentence(one))
    )
    rows = "".join(map(_signal, signals))
    return _table("signals that are known days later", SLOW_COLUMNS, rows, right=NUMBERS) + said


def with_commands(sentence: str) -> str:
    """The sentence, escaped; what it has in backticks becomes code."""
    parts = escape(sentence).split("`")
    if len(parts) % 2 == 0:  # a backtick without its pair, from a name or from a server's text
        return "`".join(parts)
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def _signal(one: Mapping[str, Any]) -> str:
    name, verdict, *numbers = slow_cells(one)
    cells = "".join(f"<td class=n>{escape(number)}" for number in numbers)
    return f"<tr><td>{escape(name)}<td class={escape(verdict)}>{escape(verdict)}{cells}</tr>"


def _table(caption: str, heads: Sequence[str], rows: str, *, right: Sequence[str] = ()) -> str:
    head = "".join(f"<th class=n>{name}" if name in right else f"<th>{name}" for name in heads)
    return f"<p class=caption>{escape(caption)}</p><div class=wide><table><tr>{head}</tr>{rows}</table></div>"
