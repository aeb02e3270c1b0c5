"""The table of roles on the status page. Names of models come from people: every text is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

_COLUMNS = ("role", "prod", "candidate", "previous", "since", "by")


def roles_section(roles: Mapping[str, Any] | None) -> str:
    """A row for each role; empty where there are none."""
    if not roles or not (roles["rows"] or roles["problem"]):
        return ""
    head = "".join(f"<th>{name}" for name in _COLUMNS)
    rows = "".join(_row(row) for row in roles["rows"])
    more = f"<p class=dim>and {roles['more']:,} more: <code>killswitch role list</code></p>" if roles["more"] else ""
    problem = f"<p class=problem>{escape(str(roles['problem']))}</p>" if roles["problem"] else ""
    return f'<h2 id="roles">roles</h2>{problem}<div class=wide><table><tr>{head}</tr>{rows}</table></div>{more}'


def _row(row: Mapping[str, Any]) -> str:
    if row["problem"] is not None:
        name, problem = escape(str(row["role"])), escape(str(row["problem"]))
        return f"<tr><td>{name}<td class=problem colspan={len(_COLUMNS) - 1}>{problem}</tr>"
    since = "-" if row["since"] is None else f"{str(row['since'])[:19].replace('T', ' ')} UTC"
    cells = {**row, "since": since}
    return "<tr>" + "".join(f"<td>{escape(str(cells[name] or '-'))}" for name in _COLUMNS) + "</tr>"
