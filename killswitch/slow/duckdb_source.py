"""A warehouse of Parquet and CSV files, or a DuckDB database file, read in the DuckDB that also counts.

Nothing is copied through Python: users are hashed by DuckDB itself. The statement is one SELECT inside another, and may
read no file outside the folder.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from killswitch.model import Reason, Unreadable
from killswitch.slow.assignments import COLUMNS, HEXADECIMAL, make_members
from killswitch.slow.days import date_of
from killswitch.slow.history import Wave, places_below
from killswitch.slow.user_days import (
    BEFORE,
    NO_DAY,
    NO_USER,
    NO_WAVE,
    OK,
    OUT_OF_RANGE,
    TO_COME,
    UserDays,
    duckdb_module,
)
from killswitch.slow.user_keys import SQL_HMAC, SQL_ID, SQL_PLACE, hmac_pads
from killswitch.slow.warehouse import MOST_ROWS, TIMEOUT, SlowStatement, without_values

_MOST_FILES = 200
_MOST_SAID = 500  # characters of one message
_READERS = {".parquet": "read_parquet", ".jsonl": "read_ndjson", ".csv": "read_csv"}
_TEXT_KEYS = frozenset({"VARCHAR", "UUID", "BIGINT", "INTEGER", "SMALLINT", "TINYINT", "HUGEINT", "UBIGINT", "UINTEGER",
                        "USMALLINT", "UTINYINT", "UHUGEINT"})  # fmt: skip
_OFFSET = r"([zZ]|[+-]\d\d(:?\d\d)?)$"


class DuckdbWarehouse:
    """Files under ``path``, or one database; ``private`` is the folder of what does not fit in memory."""

    def __init__(
        self, connection: Any, path: Path, private: Path, *, timeout: float = TIMEOUT, most_rows: int = MOST_ROWS
    ) -> None:
        self._connection = connection
        self._path = path
        self._private = private
        self._timeout = timeout
        self._most_rows = most_rows
        self._opened = False
        self._views: list[str] | None = None  # the tables that files give; None for a database

    def read(self, question: SlowStatement, into: UserDays) -> Unreadable | None:
        with self._within_time() as late:
            try:
                self._open()
                return self._stage(question, into)
            except (duckdb_module().Error, OSError) as error:
                return self._problem(error, late=late)

    def read_assignments(self, table: str, into: UserDays) -> Unreadable | None:
        with self._within_time() as late:
            try:
                self._open()
                self._stage_assignments(table, into)
            except (duckdb_module().Error, OSError) as error:
                return self._problem(error, late=late)
        return None

    # --- opening ----------------------------------------------------------------------------------

    def _open(self) -> None:
        if self._opened:
            return
        execute = self._connection.execute
        path = self._path.resolve(strict=True)
        if path.is_dir() or path.suffix in _READERS:
            self._views = []
            for name, files, reader in _tables(path):
                self._views.append(name)
                execute(f"CREATE VIEW memory.main.{_quoted(name)} AS FROM {reader}({_literal(files)})")
        else:
            execute(f"ATTACH {_literal(str(path))} AS warehouse (READ_ONLY)")
            execute("USE warehouse")
        folder = path if path.is_dir() else path.parent
        execute(f"SET allowed_directories = [{_literal(str(folder))}, {_literal(str(self._private))}]")
        execute("SET enable_external_access = false")
        execute("SET lock_configuration = true")
        self._opened = True

    @contextmanager
    def _within_time(self) -> Iterator[threading.Event]:
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._connection.interrupt()

        timer = threading.Timer(self._timeout, stop)
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()

    # --- reading ----------------------------------------------------------------------------------

    def _stage(self, question: SlowStatement, into: UserDays) -> Unreadable | None:
        query, bound = _statement(question.query, into)
        columns = {
            name.lower(): kind
            for name, kind, *_ in self._connection.execute(f"DESCRIBE SELECT * FROM ({query}) AS q", bound).fetchall()
        }
        wanted = (question.user, question.day, question.column)
        missing = [name for name in wanted if name.lower() not in columns]
        if missing:
            found = ", ".join(columns)
            return Unreadable(Reason.SOURCE_REFUSED, f"the statement has no column {missing[0]!r}, only {found}")
        kinds = [columns[name.lower()] for name in wanted]
        key, day = _key(question.user, kinds[0]), _day(question.day, kinds[1], into.window.zone.key)
        if key is None or day is None:
            name, kind = (question.user, kinds[0]) if key is None else (question.day, kinds[1])
            wants = "a text, a whole number or a UUID" if key is None else "a date, a time or a text"
            return Unreadable(Reason.SOURCE_REFUSED, f"column {name!r} is {kind}; cast it to {wants}")
        self._insert(query, bound, key, day, question, into)
        ((rows,),) = self._connection.execute("SELECT count(*) FROM kept.staged").fetchall()
        if rows > self._most_rows:
            return Unreadable(
                Reason.PARTIAL_ANSWER, f"over {self._most_rows:,} rows; ask for fewer, such as one row a user and day"
            )
        return None

    def _insert(  # long: one statement, from the user's query outwards
        self, query: str, bound: dict[str, str], key: str, day: str, question: SlowStatement, into: UserDays
    ) -> None:
        salts = into.history.salts or ("",)
        value = _quoted(question.column)
        digests = ", ".join(f"sha256({_salted(salt)} || key) AS digest{number}" for number, salt in enumerate(salts))
        of_id, pads = "digest0", {}
        if into.user_key is not None:
            of_id, pads = "keyed", dict(zip(("inner", "outer"), hmac_pads(into.user_key), strict=True))
            digests += f", {SQL_HMAC.format(key='key')} AS keyed"
        wave = _wave(into.history.waves, salts)
        self._connection.execute(
            f"""
            INSERT INTO kept.staged
            SELECT {SQL_ID.format(digest=of_id)}, {wave}, day, value, CASE
                WHEN key IS NULL OR octet_length(key) = 0 THEN {NO_USER} WHEN day IS NULL THEN {NO_DAY}
                WHEN answered AND (value IS NULL OR NOT value BETWEEN $low AND $high) THEN {OUT_OF_RANGE}
                WHEN day >= $today THEN {TO_COME} WHEN day < $first THEN {BEFORE} ELSE {OK} END
            FROM (
                SELECT key, day, answered, value, {digests} FROM (
                    SELECT {key} AS key, {day} AS day, {value} IS NOT NULL AS answered,
                        TRY_CAST({value} AS DOUBLE) AS value
                    FROM ({query}) AS q LIMIT $most
                )
            )
            """,
            {
                **bound, **pads, "low": question.low, "high": question.high, "today": into.window.today,
                "first": into.window.since, "most": self._most_rows + 1,
            },
        )  # fmt: skip

    def _stage_assignments(self, table: str, into: UserDays) -> None:
        user, rollout, _, cohort, at = (_quoted(name) for name in COLUMNS)
        place = ".".join(_quoted(part) for part in table.split("."))
        self._connection.execute("CREATE OR REPLACE TABLE kept.assigned (id UBIGINT, canary BOOLEAN, seen_at DOUBLE)")
        self._connection.execute(
            f"INSERT INTO kept.assigned SELECT {SQL_ID.format(digest='digest')}, canary, seen_at FROM ("
            f"SELECT replace(lower(CAST({user} AS VARCHAR)), '-', '') AS digest,"
            f" CAST({cohort} AS VARCHAR) = 'canary' AS canary,"
            f" coalesce(TRY_CAST(CAST({at} AS VARCHAR) AS DOUBLE), epoch(TRY_CAST({at} AS TIMESTAMPTZ))) AS seen_at"
            f" FROM {place} WHERE CAST({rollout} AS VARCHAR) = $rollout"
            f" AND CAST({cohort} AS VARCHAR) IN ('control', 'canary'))"
            f" WHERE regexp_full_match(digest, '[0-9a-f]{{{HEXADECIMAL}}}') AND seen_at IS NOT NULL",
            {"rollout": into.history.rollout},
        )
        make_members(into)

    def _problem(self, error: Exception, *, late: threading.Event) -> Unreadable:
        duckdb = duckdb_module()
        said = " ".join(str(error).split())[:300]
        if late.is_set():
            return Unreadable(Reason.SOURCE_TIMEOUT, f"no whole answer within {self._timeout:g} s")
        if isinstance(error, FileNotFoundError | duckdb.CatalogException):
            return self._not_there(error, said)
        if isinstance(error, duckdb.OutOfMemoryException):
            return Unreadable(Reason.SOURCE_REFUSED, f"so many rows do not fit; ask for one row a user and day: {said}")
        if isinstance(error, duckdb.ConversionException | duckdb.OutOfRangeException | duckdb.InvalidInputException):
            # invalid input is such as a line of a file, whole
            refused = isinstance(error, duckdb.InvalidInputException)
            return Unreadable(Reason.SOURCE_REFUSED if refused else Reason.GARBAGE, without_values(said))
        if isinstance(error, duckdb.ProgrammingError | duckdb.NotSupportedError | duckdb.PermissionException):
            return Unreadable(Reason.SOURCE_REFUSED, said)
        return Unreadable(Reason.SOURCE_DOWN, said)

    def _not_there(self, error: Exception, said: str) -> Unreadable:
        """A folder, or a table of it. The folder's own tables are named, since DuckDB would propose one of its own."""
        if isinstance(error, FileNotFoundError):
            return Unreadable(Reason.SOURCE_DOWN, f"there is no file or folder {self._path}; correct `source`")
        if self._views is None or "Table with name" not in said:
            return Unreadable(Reason.SOURCE_REFUSED, said)
        missing, known = said.partition("! Did you mean")[0], ", ".join(self._views) or "none"
        return Unreadable(Reason.SOURCE_REFUSED, f"{missing}; tables in {self._path}: {known}"[:_MOST_SAID])


def _tables(path: Path) -> Iterator[tuple[str, str, str]]:
    """Name, files and reader of each table: a file, or a folder of files of one kind."""
    found = sorted(path.iterdir()) if path.is_dir() else [path]
    for one in found[:_MOST_FILES]:
        if one.is_dir():
            for suffix, reader in _READERS.items():
                if next(one.glob(f"*{suffix}"), None) is not None:
                    yield one.name, f"{one}/*{suffix}", reader
                    break
        elif one.suffix in _READERS:
            yield one.stem, str(one), _READERS[one.suffix]


def _statement(query: str, into: UserDays) -> tuple[str, dict[str, str]]:
    """The query with ``:since`` as DuckDB's parameter, a text that it compares with dates, times and texts.

    The query's literals stay as they are.
    """
    parts = query.split("'")
    changed = "'".join(part if number % 2 else _since(part) for number, part in enumerate(parts))
    return changed, ({} if changed == query else {"since": date_of(into.window.since).isoformat()})


def _since(text: str) -> str:
    return text.replace("::", "\0").replace(":since", "$since").replace("\0", "::")


def _key(column: str, kind: str) -> str | None:
    """SQL of the bytes that a router hashes after the salt; None for a type that is no routing key."""
    if kind == "BLOB":
        return _quoted(column)
    return f"encode(CAST({_quoted(column)} AS VARCHAR))" if kind in _TEXT_KEYS else None


def _day(column: str, kind: str, zone: str) -> str | None:
    """SQL of the day since 1970, NULL where there is none."""
    name = _quoted(column)
    if kind == "TIMESTAMP WITH TIME ZONE":
        found = f"CAST({name} AT TIME ZONE {_literal(zone)} AS DATE)"
    elif kind == "VARCHAR":
        found = (
            f"CASE WHEN length({name}) > 10 AND regexp_matches({name}, {_literal(_OFFSET)})"
            f" THEN CAST(TRY_CAST({name} AS TIMESTAMPTZ) AT TIME ZONE {_literal(zone)} AS DATE)"
            f" ELSE CAST(TRY_CAST({name} AS TIMESTAMP) AS DATE) END"
        )
    elif kind == "DATE" or kind.startswith("TIMESTAMP"):
        found = f"CAST({name} AS DATE)"
    else:
        return None
    return f"(CASE WHEN isfinite({found}) THEN {found} - DATE '1970-01-01' END)"


def _wave(waves: Sequence[Wave], salts: Sequence[str]) -> str:
    """SQL of the first wave that a user is in."""
    cases = " ".join(
        f"WHEN {SQL_PLACE.format(digest=f'digest{salts.index(wave.salt)}')} BETWEEN {places_below(wave.low)}"
        f" AND {places_below(wave.high) - 1} THEN {number}"
        for number, wave in enumerate(waves)
    )
    return f"CASE {cases} ELSE {NO_WAVE} END" if cases else str(NO_WAVE)


def _salted(salt: str) -> str:
    """The salt's bytes as SQL."""
    data = salt.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
    return "'" + "".join(f"\\x{byte:02X}" for byte in data) + "'::BLOB"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
