"""What the report counts, asked of the view `pairs` in SQL. Values are bound; the SQL is made of constants alone.

Sums are of whole numbers: a sum of fractions would depend on the order in which two threads read the files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from killswitch.shadow.finish_reasons import CUT_IN_SQL
from killswitch.shadow.pairs import MEMORY, THREADS, duckdb_module
from killswitch.shadow.recorded_columns import OPENING_PREFIX
from killswitch.shadow.report.distributions import ValueCounts, tally
from killswitch.shadow.users_of_pairs import UsersOfPairs

MEMORY_FOR_TEXTS = "280MB"
MOST_LANGUAGES = 20
MOST_MODELS = 8
MOST_CLASSES = 200

_ANSWERED = "{side}_outcome IN ('ok', 'refused')"
_BOTH_ANSWERED = "control_outcome IN ('ok', 'refused') AND other_outcome IN ('ok', 'refused')"
# refused for money or quota, or ended by a shutdown: as `evidence.measures.counted`
_SAYS_SOMETHING = " AND ".join(
    f"coalesce({side}_outcome, '') NOT IN ('budget', 'cancelled')" for side in ("control", "other")
)
_JUDGED = "comparable AND equivalent IS NOT NULL"

FORMAT_FEATURES: Mapping[str, str] = {
    "headings": "{side}_headings > 0",
    "tables": "{side}_tables > 0",
    "lists": "{side}_list_items > 0",
    "code blocks": "{side}_code_blocks > 0",
    "citations inline": "{side}_citations = 'inline'",
    "citations in footnotes": "{side}_citations = 'footnotes'",
    "JSON that parses": "{side}_json IN ('parses', 'valid', 'invalid')",
    "JSON that is valid": "{side}_json = 'valid'",
    "JSON that breaks the schema": "{side}_json = 'invalid'",
    "JSON that does not parse": "{side}_json = 'broken'",
    "tool calls": "{side}_tool_calls > 0",
}
"""Each feature with its test of one side."""

# measure -> the column's whole number, and the test of a side that counts
_TOKENS = "{side}_output_tokens"
WHOLE_NUMBERS: Mapping[str, tuple[str, str]] = {
    "output tokens": (_TOKENS, _ANSWERED),
    "characters": ("{side}_characters", _ANSWERED),
    "words": ("{side}_words", _ANSWERED),
    "seconds": (
        "CAST(round({side}_seconds * 1000) AS BIGINT)",
        "{side}_outcome IN ('ok', 'refused', 'timeout') AND isfinite({side}_seconds) AND {side}_seconds < 1e9",
    ),
    "seconds to the first token": (
        "CAST(round({side}_first_token_seconds * 1000) AS BIGINT)",
        _ANSWERED + " AND streamed AND coalesce(isfinite({side}_first_token_seconds), true)"
        " AND coalesce({side}_first_token_seconds, 0) < 1e9",
    ),
}


@dataclass(frozen=True, slots=True)
class TwoSides:
    """The tallies of canary pairs and of noise pairs, control's side and the other."""

    control: ValueCounts
    candidate: ValueCounts
    noise_first: ValueCounts
    noise_second: ValueCounts


def period(connection: Any) -> dict[str, Any]:
    """Oldest and newest ``at``, generations, record formats and models. Lists are sorted and bounded."""
    ((oldest, newest),) = connection.execute('SELECT min("at"), max("at") FROM pairs').fetchall()
    lists = {
        name: tuple(row[0] for row in connection.execute(f"{sql} LIMIT ?", [MOST_MODELS]).fetchall())
        for name, sql in {
            "generations": "SELECT DISTINCT generation FROM pairs WHERE generation IS NOT NULL ORDER BY 1",
            "record_formats": "SELECT DISTINCT format FROM pairs WHERE format IS NOT NULL ORDER BY 1",
            "control_models": "SELECT DISTINCT control_model FROM pairs WHERE control_model IS NOT NULL ORDER BY 1",
            "canary_models": "SELECT DISTINCT other_model FROM pairs WHERE kind = 'candidate'"
            " AND other_model IS NOT NULL ORDER BY 1",
        }.items()
    }
    return {"oldest": oldest, "newest": newest, **lists}


def generations(connection: Any) -> list[tuple[int, int, float, float]]:
    """Each generation of the period, also those that are not in `pairs`: pairs, oldest and newest time of them."""
    rows: list[tuple[int, int, float, float]] = connection.execute(
        "SELECT * FROM generations WHERE generation IS NOT NULL ORDER BY generation"
    ).fetchall()
    return rows


def left_out(connection: Any) -> dict[str, int]:
    """Records of the period that are not in `pairs`, by reason."""
    return dict(connection.execute("SELECT reason, number FROM left_out WHERE number > 0 ORDER BY reason").fetchall())


def users(connection: Any) -> UsersOfPairs:
    """How the canary pairs that say something about a model are spread over users."""
    ((busiest, known, pairs),) = connection.execute(
        "SELECT CAST(coalesce(max(n) FILTER (key IS NOT NULL), 0) AS BIGINT),"
        " CAST(coalesce(sum(n) FILTER (key IS NOT NULL), 0) AS BIGINT), CAST(coalesce(sum(n), 0) AS BIGINT)"
        # a number a user: a million texts would need four times the memory
        " FROM (SELECT CASE WHEN coalesce(\"user\", '') != '' THEN hash(\"user\") END AS key, count(*) AS n FROM pairs"
        f" WHERE kind = 'candidate' AND {_SAYS_SOMETHING} GROUP BY key)"
    ).fetchall()
    return UsersOfPairs(busiest, known, pairs)


def agreement(connection: Any) -> dict[str, tuple[int, int, int, int, int]]:
    """By kind of pair: pairs, comparable pairs, pairs judged equivalent or not, identical ones, equivalent ones."""
    rows = connection.execute(
        f"SELECT kind, count(*), count(*) FILTER (comparable), count(*) FILTER ({_JUDGED}),"
        f" count(*) FILTER ({_JUDGED} AND identical), count(*) FILTER ({_JUDGED} AND equivalent)"
        " FROM pairs GROUP BY kind"
    ).fetchall()
    return {kind: tuple(counts) for kind, *counts in rows}


def not_compared(connection: Any) -> dict[str, dict[str, int]]:
    """By kind of pair: reason to pairs."""
    found: dict[str, dict[str, int]] = {}
    rows = connection.execute(
        "SELECT kind, coalesce(nullif(not_comparable, ''), 'no reason'), count(*) FROM pairs WHERE NOT comparable"
        " GROUP BY ALL ORDER BY 1, 2"
    ).fetchall()
    for kind, reason, pairs in rows:
        found.setdefault(kind, {})[reason] = pairs
    return found


def outcomes(connection: Any) -> list[tuple[str, str, str, bool, bool, int]]:
    """Kind, control's and the other's outcome, whether each refused, and how many pairs."""
    rows: list[tuple[str, str, str, bool, bool, int]] = connection.execute(
        "SELECT kind, control_outcome, other_outcome, coalesce(control_refused, false),"
        " coalesce(other_refused, false), count(*) FROM pairs GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    return rows


def cut(connection: Any) -> list[tuple[str, bool | None, bool | None, int]]:
    """Kind, whether its limit of tokens ended control's answer and the other's (None: unknown), and how many pairs."""
    sides = ", ".join(CUT_IN_SQL.format(side=side) for side in ("control", "other"))
    rows: list[tuple[str, bool | None, bool | None, int]] = connection.execute(
        f"SELECT kind, {sides}, count(*) FROM pairs WHERE {_BOTH_ANSWERED} GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    return rows


def formats(connection: Any) -> dict[str, dict[str, tuple[int, int]]]:
    """By kind, then feature (and "" for all answers): how many of control's answers have it, and of the other's."""
    sides = ("control", "other")
    wanted = [
        f"count(*) FILTER ({_BOTH_ANSWERED} AND {test.format(side=side)})"
        for test in ("true", *FORMAT_FEATURES.values())
        for side in sides
    ]
    rows = connection.execute(f"SELECT kind, {', '.join(wanted)} FROM pairs GROUP BY kind").fetchall()
    names = ("", *FORMAT_FEATURES)
    return {
        kind: {name: (counts[2 * number], counts[2 * number + 1]) for number, name in enumerate(names)}
        for kind, *counts in rows
    }


def languages(connection: Any) -> list[tuple[str, int, int, int]]:
    """Language, and how many answers of control, the canary, and control a second time are in it; the most first."""
    rows: list[tuple[str, int, int, int]] = connection.execute(
        _three_ways("coalesce({side}_language, '')") + " ORDER BY candidate + control DESC, name LIMIT ?",
        [MOST_LANGUAGES],
    ).fetchall()
    return rows


def _three_ways(value: str) -> str:
    """SQL that counts a value of each side: of control and the canary in canary pairs, and of the second answers."""
    control, other = value.format(side="control"), value.format(side="other")
    return (
        "SELECT name, CAST(sum(c) AS BIGINT) AS control, CAST(sum(o) AS BIGINT) AS candidate,"
        " CAST(sum(n) AS BIGINT) AS noise FROM ("
        f"SELECT {control} AS name, count(*) AS c, 0 AS o, 0 AS n FROM pairs"
        f" WHERE kind = 'candidate' AND {_BOTH_ANSWERED} GROUP BY 1 UNION ALL "
        f"SELECT {other} AS name, 0 AS c, count(*) FILTER (kind = 'candidate') AS o,"
        f" count(*) FILTER (kind = 'noise') AS n FROM pairs WHERE {_BOTH_ANSWERED} GROUP BY 1) GROUP BY name"
    )


def opening_examples(connection: Any, texts: Sequence[str], *, most: int) -> list[tuple[str, str, str]]:
    """Canary pairs in which only the canary's opening begins with one of these texts: id and both openings."""
    canary, control = (OPENING_PREFIX.format(side=side) for side in ("other", "control"))
    rows: list[tuple[str, str, str]] = connection.execute(
        f"SELECT pair, control_opening, other_opening FROM pairs WHERE kind = 'candidate' AND {_BOTH_ANSWERED}"
        f' AND list_contains(?, {canary}) AND NOT list_contains(?, {control}) ORDER BY md5(pair), "at" LIMIT ?',
        [list(texts), list(texts), most],
    ).fetchall()
    return rows


def tallies(connection: Any, measure: str, *, concurrent: bool | None = None) -> TwoSides:
    """A measure of `WHOLE_NUMBERS` over pairs in which both sides count; times in milliseconds.

    ``concurrent``: only the pairs that ran at once (True), or not at once (False).
    """
    value, test = WHOLE_NUMBERS[measure]
    both = " AND ".join(f"({test.format(side=side)})" for side in ("control", "other"))
    where = both if concurrent is None else f"{both} AND {'' if concurrent else 'NOT '}concurrent"
    found: dict[tuple[str, str], ValueCounts] = {}
    for side in ("control", "other"):
        columns = connection.execute(
            f"SELECT kind = 'noise' AS noise, {value.format(side=side)} AS value, count(*) AS n FROM pairs"
            f" WHERE {where} AND kind IN ('candidate', 'noise') GROUP BY ALL"
        ).fetchnumpy()
        values = np.ma.MaskedArray(columns["value"])
        known = ~np.ma.getmaskarray(values)
        noise, counts = np.asarray(columns["noise"], np.bool_), np.asarray(columns["n"], np.int64)
        for kind, rows in (("noise", noise), ("candidate", ~noise)):
            found[kind, side] = tally(
                np.asarray(values.data[known & rows], np.int64),
                counts[known & rows],
                int(counts[~known & rows].sum()),
            )
    return TwoSides(
        found["candidate", "control"], found["candidate", "other"], found["noise", "control"], found["noise", "other"]
    )


def costs(connection: Any) -> tuple[int, int, int, int]:
    """Canary pairs with both costs known, those without, and the sums of both sides in micro-dollars."""
    known = "control_cost_micros IS NOT NULL AND other_cost_micros IS NOT NULL"
    (row,) = connection.execute(
        f"SELECT count(*) FILTER ({known}), count(*) FILTER (NOT ({known})),"
        f" coalesce(sum(control_cost_micros) FILTER ({known}), 0), coalesce(sum(other_cost_micros) FILTER ({known}), 0)"
        " FROM pairs WHERE kind = 'candidate'"
    ).fetchall()
    return tuple(int(number) for number in row)  # type: ignore[return-value]  # four, as asked above


def differences(connection: Any) -> list[tuple[str, str, int]]:
    """Kind of pair, kind of difference, pairs."""
    rows: list[tuple[str, str, int]] = connection.execute(
        "SELECT kind, difference, count(*) FROM (SELECT kind, unnest(list_distinct(differences)) AS difference"
        f" FROM pairs WHERE {_JUDGED}) GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    return rows


def classes(connection: Any) -> tuple[list[tuple[Any, ...]], int]:
    """One row a prompt class, those with the most pairs first, and how many classes are left out.

    Name; judged, different, noise judged, noise different; both answered, the canary refused, noise both answered,
    the second answer refused; asked (without money and quota), the canary's errors; the most frequent difference.
    """
    rows = connection.execute(
        f"""
        WITH counted AS (
            SELECT coalesce(prompt_class, '') AS class,
                count(*) FILTER (kind = 'candidate' AND {_JUDGED}) AS judged,
                count(*) FILTER (kind = 'candidate' AND {_JUDGED} AND NOT equivalent) AS different,
                count(*) FILTER (kind = 'noise' AND {_JUDGED}) AS noise_judged,
                count(*) FILTER (kind = 'noise' AND {_JUDGED} AND NOT equivalent) AS noise_different,
                count(*) FILTER (kind = 'candidate' AND {_BOTH_ANSWERED}) AS answered,
                count(*) FILTER (kind = 'candidate' AND {_BOTH_ANSWERED} AND other_refused) AS refused,
                count(*) FILTER (kind = 'noise' AND {_BOTH_ANSWERED}) AS noise_answered,
                count(*) FILTER (kind = 'noise' AND {_BOTH_ANSWERED} AND other_refused) AS noise_refused,
                count(*) FILTER (kind = 'candidate' AND other_outcome NOT IN ('budget', 'cancelled')) AS asked,
                count(*) FILTER (kind = 'candidate' AND other_outcome IN ('error', 'timeout')) AS failed
            FROM pairs GROUP BY 1
        ), chosen AS (SELECT * FROM counted ORDER BY asked DESC, class LIMIT ?),
        kinds AS (
            SELECT class, difference, count(*) AS n FROM (
                SELECT coalesce(prompt_class, '') AS class, unnest(list_distinct(differences)) AS difference
                FROM pairs WHERE kind = 'candidate' AND {_JUDGED} AND NOT equivalent
            ) SEMI JOIN chosen USING (class) GROUP BY ALL
        ), main AS (SELECT class, difference FROM kinds
            QUALIFY row_number() OVER (PARTITION BY class ORDER BY n DESC, difference) = 1)
        SELECT chosen.*, coalesce(main.difference, ''), (SELECT count(*) FROM counted)
        FROM chosen LEFT JOIN main USING (class) ORDER BY asked DESC, class
        """,
        [MOST_CLASSES],
    ).fetchall()
    return [row[:-1] for row in rows], (rows[0][-1] - len(rows) if rows else 0)


def examples(connection: Any, *, each: int, characters: int) -> tuple[list[dict[str, Any]], bool]:
    """A few materially different canary pairs for each kind of difference, and whether their texts could be read.

    Which of them: by a hash of the pair's id, so that the choice depends on no order and on no answer. Pairs with kept
    texts come first. Texts are by far the widest columns: they are read with more memory and one thread, and left out
    where even that is too little for a file's pages.
    """
    connection.execute(f"SET memory_limit = '{MEMORY_FOR_TEXTS}'")
    connection.execute("SET threads = 1")
    try:
        return _examples(connection, "other_text", each, characters), True
    except duckdb_module().OutOfMemoryException:
        return _examples(connection, None, each, characters), False
    finally:
        connection.execute(f"SET threads = {THREADS}")
        connection.execute(f"SET memory_limit = '{MEMORY}'")


def _examples(connection: Any, text: str | None, each: int, characters: int) -> list[dict[str, Any]]:
    """``text``: the column that says whether texts were kept; None to read none."""
    kept = "false" if text is None else f"{text} IS NOT NULL"
    chosen = connection.execute(
        "SELECT min_by(pair, rank, CAST(? AS BIGINT)) FROM (SELECT pair, unnest(list_distinct(differences)) AS"
        f" difference, CASE WHEN {kept} THEN 'a' ELSE 'b' END || md5(pair) AS rank FROM pairs"
        f" WHERE kind = 'candidate' AND {_JUDGED} AND NOT equivalent) GROUP BY difference",
        [each],
    ).fetchall()
    names = sorted({name for (group,) in chosen for name in group})
    texts = ", ".join(
        f"{'NULL' if text is None else f'left({column}_text, {int(characters) + 1})'} AS {name}"
        for column, name in (("prompt", "prompt"), ("control", "control"), ("other", "candidate"))
    )
    found = connection.execute(
        f'SELECT pair, "at", prompt_class, differences, similarity, {texts} FROM pairs'
        f" WHERE kind = 'candidate' AND {_JUDGED} AND NOT equivalent AND list_contains(?, pair)"
        ' ORDER BY similarity, md5(pair), "at"',
        [names],
    )
    columns: Sequence[str] = [column[0] for column in found.description]
    return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
