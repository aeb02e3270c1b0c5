"""The pairs of the view `pairs` as numpy columns, read column by column, so that a million pairs need little memory."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from killswitch.shadow.evidence.columns import (
    CITATIONS,
    DIFFERENCES,
    JSON_STATES,
    OUTCOMES,
    UNKNOWN,
    PairColumns,
    SideColumns,
)
from killswitch.shadow.finish_reasons import CUT_IN_SQL

MOST_TEXTS = 20_000  # of openings, of prompt classes and of languages: the most frequent; the rest are UNKNOWN

# The first words of an opening, at least three: whole openings differ in nearly every answer.
OPENING_PREFIX = r"""regexp_extract({side}_opening, '^(?:[^\p{{L}}\p{{N}}]*[\p{{L}}\p{{N}}''’]+){{1,3}}')"""  # noqa: RUF001

_SIDES = ("control", "other")
_NUMBERS = (
    "seconds", "first_token_seconds", "input_tokens", "output_tokens", "cost_micros", "characters", "headings",
    "tables", "list_items", "code_blocks", "tool_calls",
)  # fmt: skip


def _code(value: str, names: tuple[str, ...]) -> str:
    """SQL for the place of a value among known names, -1 for any other."""
    listed = ", ".join(f"'{name}'" for name in names)
    return f"CAST(coalesce(list_position([{listed}], {value}), 0) - 1 AS TINYINT)"


def _expressions() -> dict[str, str]:
    """Each column's SQL, as small as the array that it becomes."""
    bits = " + ".join(
        f"CASE WHEN list_contains(differences, '{name}') THEN {1 << place} ELSE 0 END"
        for place, name in enumerate(DIFFERENCES)
    )
    found = {
        "at": 'coalesce("at", 0.0)',
        "noise": "coalesce(kind = 'noise', false)",
        "prompt_class": "coalesce(classes.code, -1)",
        **{name: f"coalesce({name}, false)" for name in ("comparable", "concurrent", "streamed", "identical")},
        # a number that is too large to be one is unknown: one record must not end the report of all others
        "similarity": "TRY_CAST(similarity AS FLOAT)",
        "equivalent": "CAST(coalesce(CAST(equivalent AS TINYINT), -1) AS TINYINT)",
        "differences": f"CAST({bits} AS USMALLINT)",
    }
    for side in _SIDES:
        found |= {f"{side}_{name}": f"TRY_CAST({side}_{name} AS FLOAT)" for name in _NUMBERS}
        found |= {
            f"{side}_outcome": _code(f"{side}_outcome", OUTCOMES),
            f"{side}_refused": f"coalesce({side}_refused, false)",
            f"{side}_cut": f"CAST(coalesce(CAST({CUT_IN_SQL.format(side=side)} AS TINYINT), -1) AS TINYINT)",
            f"{side}_json": _code(f"{side}_json", JSON_STATES),
            f"{side}_citations": _code(f"{side}_citations", CITATIONS),
            f"{side}_opening": f"coalesce({side}_openings.code, -1)",
            f"{side}_language": f"coalesce({side}_languages.code, -1)",
        }
    return found


def columns_of(
    connection: Any, *, wins: Mapping[str, float] | None = None, dropped: Mapping[str, int] | None = None
) -> PairColumns:
    """All pairs of the view, in order of ``at``, then of id, then a request's candidate pair before its noise pair.

    ``wins``: a judge's view by the pair's id. ``dropped``: sampled requests without a pair, by reason.
    """
    tables: dict[str, Any] = {
        name: _texts(connection, name, values)
        for name, values in {
            "classes": ["coalesce(prompt_class, '')"],
            "openings": [OPENING_PREFIX.format(side=side) for side in _SIDES],
            "languages": [f"coalesce({side}_language, '')" for side in _SIDES],
        }.items()
    }
    wanted = ", ".join(f"{sql} AS c{number}" for number, sql in enumerate(_expressions().values()))
    joins = " ".join(
        f"LEFT JOIN {kind} AS {side}_{kind} ON {side}_{kind}.text = {value.format(side=side)}"
        for side in _SIDES
        for kind, value in (("openings", OPENING_PREFIX), ("languages", "coalesce({side}_language, '')"))
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE ordered AS SELECT pair, {wanted} FROM pairs"
        f" LEFT JOIN classes ON classes.text = coalesce(prompt_class, '') {joins} ORDER BY c0, pair, c1"
    )
    connection.execute("SET preserve_insertion_order = true")  # a table is then read in the order of its rows
    read: dict[str, Any] = {name: _column(connection, f"c{number}") for number, name in enumerate(_expressions())}
    sides = [
        SideColumns(
            **{name.removeprefix(f"{side}_"): read.pop(name) for name in [*read] if name.startswith(f"{side}_")}
        )
        for side in _SIDES
    ]
    win = _wins(connection, wins, len(read["at"]))
    connection.execute("SET preserve_insertion_order = false")
    connection.execute("DROP TABLE ordered")
    return PairColumns(
        **read, win=win, control=sides[0], other=sides[1], dropped=MappingProxyType(dict(dropped or {})), **tables
    )


def _texts(connection: Any, name: str, values: list[str]) -> tuple[str, ...]:
    """The most frequent texts, as a table of text and code in DuckDB and as a tuple in which the code is the place."""
    all_of_them = " UNION ALL ".join(f"SELECT {value} AS text FROM pairs" for value in values)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT text, CAST(row_number() OVER (ORDER BY n DESC, text) - 1 AS"
        f" INTEGER) AS code FROM (SELECT text, count(*) AS n FROM ({all_of_them}) WHERE text IS NOT NULL GROUP BY text"
        " ORDER BY n DESC, text LIMIT ?)",
        [MOST_TEXTS],
    )
    return tuple(text for (text,) in connection.execute(f"SELECT text FROM {name} ORDER BY code").fetchall())


def _column(connection: Any, name: str) -> npt.NDArray[Any]:
    """One column in the order of the table's rows; NaN where it is NULL."""
    found = connection.execute(f"SELECT {name} FROM ordered").fetchnumpy()[name]
    if isinstance(found, np.ma.MaskedArray):
        return np.asarray(found.filled(np.nan) if found.dtype.kind == "f" else found.filled(UNKNOWN))
    return np.asarray(found)


def _wins(connection: Any, wins: Mapping[str, float] | None, size: int) -> npt.NDArray[np.float32]:
    if not wins:
        return np.full(size, np.nan, np.float32)
    pairs = connection.execute("SELECT pair FROM ordered").fetchall()
    return np.array([wins.get(pair, np.nan) for (pair,) in pairs], np.float32)
