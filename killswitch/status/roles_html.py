"""The table of roles on the status page. Names of models come from people: every text is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from killswitch.status.html_document import Cell, Row, table, text

_COLUMNS = ("role", "prod", "candidate", "previous", "since", "by")


def roles_section(roles: Mapping[str, Any] | None) -> str:
    """A row for each role; empty where there are none."""
    if not roles or not (roles["rows"] or roles["problem"]):
        return ""
    more = f"<p class=dim>and {roles['more']:,} more: <code>killswitch role list</code></p>" if roles["more"] else ""
    problem = f"<p class=problem>{escape(str(roles['problem']))}</p>" if roles["problem"] else ""
    return f'<h2 id="roles">Roles</h2>{problem}{table("", _COLUMNS, [_row(row) for row in roles["rows"]])}{more}'


def _row(row: Mapping[str, Any]) -> Row:
    if row["problem"] is not None:
        return Row([text(row["role"]), text(row["problem"], "problem"), *[Cell("")] * (len(_COLUMNS) - 2)])
    since = "-" if row["since"] is None else f"{str(row['since'])[:19].replace('T', ' ')} UTC"
    cells = {**row, "since": since}
    return Row([text(cells[name] or "-") for name in _COLUMNS])
