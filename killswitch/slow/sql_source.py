"""A warehouse that SQLAlchemy reaches: read-only transactions, streamed in batches, users hashed here.

SQLAlchemy and its driver run on a thread of their own, because a driver may wait for ever on a dead connection. Then
the thread is left behind, and nothing else is asked of that warehouse until it has ended.
"""

from __future__ import annotations

import importlib
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import numpy as np

from killswitch.errors import AccessDenied, BadSettings
from killswitch.flags.bucketing import routing_bytes
from killswitch.model import Reason, Unreadable
from killswitch.net.credentials import Secret
from killswitch.slow.assignments import COLUMNS, HEXADECIMAL, make_members
from killswitch.slow.days import date_of, number_of
from killswitch.slow.history import places_below
from killswitch.slow.user_days import BEFORE, NO_DAY, NO_USER, NO_WAVE, OK, OUT_OF_RANGE, TO_COME, UserDays
from killswitch.slow.user_keys import id_of_hash, keyed_ids, places_and_ids
from killswitch.slow.warehouse import MOST_ROWS, TIMEOUT, SlowStatement, without_values

log = logging.getLogger(__name__)
BATCH = 20_000
_CLOSING = 10.0  # seconds for a connection to close
# what makes a transaction read-only and ends a statement at the server, by dialect
_AT_BEGIN: Mapping[str, Sequence[str]] = {
    "postgresql": ("SET TRANSACTION READ ONLY", "SET LOCAL statement_timeout = {milliseconds}"),
    "redshift": ("SET statement_timeout = {milliseconds}",),
    "mysql": ("SET SESSION TRANSACTION READ ONLY", "SET SESSION max_execution_time = {milliseconds}"),
    "mariadb": ("SET SESSION TRANSACTION READ ONLY",),
    "sqlite": ("PRAGMA query_only = ON",),
}
# by URL the newest thread, so that hourly retries do not pile up on a warehouse that hangs
_LEFT_BEHIND: dict[str, threading.Thread] = {}
Column = Sequence[Any]
Columns = Sequence[Column]  # those that were asked for, of one batch
_Read = TypeVar("_Read")


def sqlalchemy_module() -> Any:
    """The library, loaded only where a warehouse is asked: it takes two seconds."""
    try:
        return importlib.import_module("sqlalchemy")
    except ImportError as error:
        raise BadSettings(["this warehouse is read with SQLAlchemy: pip install '.[daemon,warehouse]'"]) from error


class SqlWarehouse:
    """``url`` is without a password; ``password`` is read again at each use."""

    def __init__(
        self,
        url: str,
        password: Secret | None = None,
        *,
        timeout: float = TIMEOUT,
        most_rows: int = MOST_ROWS,
    ) -> None:
        self._url = url
        self._password = password
        self._timeout = timeout
        self._most_rows = most_rows

    def read(self, statement: SlowStatement, into: UserDays) -> Unreadable | None:
        since = date_of(into.window.since)
        columns = (statement.user, statement.day, statement.column)
        bound = {"since": since} if ":since" in statement.query else {}
        try:
            for rows in self._batches(statement.query, bound, columns):
                users, days, values = rows
                into.add(_staged(users, days, values, statement, into))
        except _Failed as failed:
            return failed.problem
        return None

    def read_assignments(self, table: str, into: UserDays) -> Unreadable | None:
        into.connection.execute("CREATE OR REPLACE TABLE kept.assigned (id UBIGINT, canary BOOLEAN, seen_at DOUBLE)")
        try:
            quoted = self._quoted(table)
            for rows in self._batches(quoted, {"rollout": into.history.rollout}, COLUMNS):
                batch = _assigned(rows)
                into.connection.register("batch", batch)
                into.connection.execute("INSERT INTO kept.assigned SELECT id, canary, seen_at FROM batch")
                into.connection.unregister("batch")
        except _Failed as failed:
            return failed.problem
        make_members(into)
        return None

    def _quoted(self, table: str) -> str:
        """The statement that reads the table of assignments; its name's form was checked with the rule file."""
        sqlalchemy = sqlalchemy_module()
        parts = table.split(".")
        columns = [sqlalchemy.column(name) for name in COLUMNS]
        chosen = sqlalchemy.table(parts[-1], *columns, schema=".".join(parts[:-1]) or None)
        statement = sqlalchemy.select(chosen).where(chosen.c.rollout == sqlalchemy.bindparam("rollout"))
        dialect = sqlalchemy.engine.make_url(self._url).get_dialect()(paramstyle="named")
        return str(statement.compile(dialect=dialect))

    # --- the thread -------------------------------------------------------------------------------

    def _batches(self, query: str, bound: Mapping[str, Any], columns: Sequence[str]) -> Iterator[Columns]:
        """The rows, these columns of them, in batches. Raises _Failed."""
        left_behind = _LEFT_BEHIND.get(self._url)
        if left_behind is not None and left_behind.is_alive():
            raise _failed(Reason.SOURCE_TIMEOUT, "the warehouse still hangs in an earlier statement")
        handed: queue.Queue[Columns | _Failed | None] = queue.Queue(2)
        stop = threading.Event()
        secret = self._reveal()

        def work() -> None:
            end: _Failed | None = None
            try:
                for rows in self._rows(query, bound, columns, secret, stop):
                    if not _put(handed, rows, stop):
                        return
            except _Failed as failed:
                end = failed
            except Exception as error:  # noqa: BLE001  # drivers raise what they like
                end = self._failure(error, secret)
            _put(handed, end, stop)

        thread = threading.Thread(target=work, name="killswitch-warehouse", daemon=True)
        thread.start()
        deadline = time.monotonic() + self._timeout
        try:
            while True:
                try:
                    given = handed.get(timeout=max(deadline - time.monotonic(), 0.0))
                except queue.Empty:
                    raise _failed(Reason.SOURCE_TIMEOUT, f"no whole answer within {self._timeout:g} s") from None
                if given is None or isinstance(given, _Failed):
                    thread.join(_CLOSING)
                    if given is not None:
                        raise given
                    return
                yield given
        finally:
            stop.set()
            _LEFT_BEHIND[self._url] = thread

    def _reveal(self) -> str | None:
        try:
            return None if self._password is None else self._password.reveal()
        except AccessDenied as error:
            raise _failed(Reason.SOURCE_REFUSED, str(error)) from error

    def _rows(
        self, query: str, bound: Mapping[str, Any], columns: Sequence[str], secret: str | None, stop: threading.Event
    ) -> Iterator[Columns]:
        sqlalchemy = sqlalchemy_module()
        url = sqlalchemy.engine.make_url(self._url)
        if secret is not None:
            url = url.set(password=secret)
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool, connect_args=_connecting(url, 30))
        try:
            with engine.connect() as connection:
                for statement in _AT_BEGIN.get(engine.dialect.name, ()):
                    connection.execute(sqlalchemy.text(statement.format(milliseconds=int(self._timeout * 1000))))
                # a cursor at the server is for this statement alone: PostgreSQL can declare none for SET
                statement = sqlalchemy.text(query).execution_options(stream_results=True, max_row_buffer=BATCH)
                result = connection.execute(statement, dict(bound))
                places = _places(list(result.keys()), columns)
                seen = 0
                while not stop.is_set() and (rows := result.fetchmany(BATCH)):
                    seen += len(rows)
                    if seen > self._most_rows:
                        raise _failed(
                            Reason.PARTIAL_ANSWER,
                            f"over {self._most_rows:,} rows; ask for fewer, such as one row a user and day",
                        )
                    whole = list(zip(*rows, strict=True))
                    yield [whole[place] for place in places]
        finally:
            engine.dispose()

    def _failure(self, error: Exception, secret: str | None) -> _Failed:
        said = " ".join(str(getattr(error, "orig", None) or error).split())
        said = (said.replace(secret, "[hidden]") if secret else said)[:300]
        lower = said.lower()
        if "statement timeout" in lower or "max_statement_time" in lower or "maximum statement execution time" in lower:
            return _failed(Reason.SOURCE_TIMEOUT, f"no whole answer within {self._timeout:g} s")
        if isinstance(error, BadSettings) or "read-only transaction" in lower:
            return _failed(Reason.SOURCE_REFUSED, said)
        kind = type(error).__name__
        if kind in ("ProgrammingError", "NotSupportedError", "ArgumentError", "NoSuchModuleError", "StatementError"):
            return _failed(Reason.SOURCE_REFUSED, said)
        if kind == "OperationalError" and any(word in lower for word in ("password", "authentication", "denied")):
            return _failed(Reason.SOURCE_REFUSED, said)
        if isinstance(error, ImportError):
            return _failed(Reason.SOURCE_REFUSED, f"{said}; install the driver of this warehouse")
        return (
            _failed(Reason.SOURCE_DOWN, said) if kind != "DataError" else _failed(Reason.GARBAGE, without_values(said))
        )


class _Failed(Exception):
    """Why there is no answer."""

    def __init__(self, problem: Unreadable) -> None:
        self.problem = problem
        super().__init__(problem.detail)


def _failed(reason: Reason, detail: str) -> _Failed:
    return _Failed(Unreadable(reason, detail))


def _put(handed: queue.Queue[Any], what: object, stop: threading.Event) -> bool:
    """Hand it over; False once no one waits for it."""
    while not stop.is_set():
        try:
            handed.put(what, timeout=0.5)
        except queue.Full:
            continue
        return True
    return False


def _connecting(url: Any, seconds: int) -> dict[str, Any]:
    """A limit on connecting, where the driver's name for it is known."""
    driver = url.get_driver_name()
    known = {"psycopg": "connect_timeout", "psycopg2": "connect_timeout", "pymysql": "connect_timeout",
             "mysqldb": "connect_timeout", "pg8000": "timeout", "pysqlite": "timeout"}  # fmt: skip
    return {known[driver]: seconds} if driver in known else {}


def _places(keys: Sequence[str], columns: Sequence[str]) -> list[int]:
    """Where in a row each column is; upper and lower case are the same to most warehouses."""
    lower = [str(key).lower() for key in keys]
    missing = [name for name in columns if name.lower() not in lower]
    if missing:
        raise _failed(Reason.SOURCE_REFUSED, f"the statement has no column {missing[0]!r}, only {', '.join(lower)}")
    return [lower.index(name.lower()) for name in columns]


# --- rows to columns ------------------------------------------------------------------------------


def _staged(users: Column, days: Column, values: Column, statement: SlowStatement, into: UserDays) -> dict[str, Any]:
    """A batch as columns of the staged table. Each user is hashed once, and each day is read once."""
    keys, of_user = _numbered(users, routing_bytes)
    ids, waves = _hashed([key or b"" for key in keys], into)
    zone = into.window.zone
    found, of_day = _numbered(days, lambda day: _day(day, zone))
    numbers = np.array([0 if day is None else day for day in found], np.int32)[of_day]
    answered = np.array([value is not None for value in values], np.bool_)
    amounts = _amounts(values)
    with np.errstate(invalid="ignore"):
        in_range = (amounts >= statement.low) & (amounts <= statement.high)
    wrong = np.select(
        [
            np.array([key is None for key in keys], np.bool_)[of_user],
            np.array([day is None for day in found], np.bool_)[of_day],
            answered & ~in_range,
            numbers >= into.window.today,
            numbers < into.window.since,
        ],
        [NO_USER, NO_DAY, OUT_OF_RANGE, TO_COME, BEFORE],
        OK,
    )
    return {
        "id": ids[of_user],
        "wave": waves[of_user],
        "day": numbers,
        "value": np.where(answered, amounts, np.nan),
        "wrong": wrong.astype(np.uint8),
    }


def _numbered(column: Column, read: Callable[[Any], _Read]) -> tuple[list[_Read], Any]:
    """What each distinct value is read as, and for each row which of them it has.

    The type is part of the value: True and 1 are equal, and only one of them is a user.
    """
    several = len({type(one) for one in column} - {type(None)}) > 1
    place: dict[Any, int] = {}
    try:
        marked: Iterable[Any] = [(type(one), one) for one in column] if several else column
        of_row = [place.setdefault(one, len(place)) for one in marked]
    except TypeError:  # a value that has no hash, such as a memoryview
        return [read(one) for one in column], np.arange(len(column))
    return [read(one[1] if several else one) for one in place], np.array(of_row, np.int64)


def _amounts(values: Column) -> Any:
    """The numbers, NaN for what is none."""
    try:
        return np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        return np.array([_value(value) for value in values], np.float64)


def _hashed(keys: Sequence[bytes], into: UserDays) -> tuple[Any, Any]:
    """Id and wave of each of these users."""
    history = into.history
    salts = history.salts or ("",)
    places, ids = places_and_ids(keys, salts)
    if into.user_key is not None:
        ids = keyed_ids(keys, into.user_key)
    waves = np.full(len(keys), NO_WAVE, np.uint8)
    for number, wave in reversed(list(enumerate(history.waves))):  # the first exposure is written last
        of_salt = places[salts.index(wave.salt)]
        waves[(of_salt >= places_below(wave.low)) & (of_salt < places_below(wave.high))] = number
    return ids, waves


def _assigned(columns: Columns) -> dict[str, Any]:
    """A batch of assignments; what is no hash, no cohort or no time is left out."""
    good = [
        (id_of_hash(user), cohort == "canary", at)
        for given, _, _, cohort, moment in zip(*columns, strict=True)
        if len(user := str(given).replace("-", "")) == HEXADECIMAL and _is_hexadecimal(user)
        and cohort in ("control", "canary") and (at := _time(moment)) is not None
    ]  # fmt: skip
    return {
        "id": np.array([one[0] for one in good], np.uint64),
        "canary": np.array([one[1] for one in good], np.bool_),
        "seen_at": np.array([one[2] for one in good], np.float64),
    }


def _is_hexadecimal(text: str) -> bool:
    return all(character in "0123456789abcdefABCDEF" for character in text)


def _day(value: object, zone: ZoneInfo) -> int | None:
    """The day since 1970; a time with an offset is taken in ``zone``. None for what is no day."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if isinstance(value, datetime):
        try:
            return number_of((value if value.tzinfo is None else value.astimezone(zone)).date())
        except (OverflowError, ValueError):
            return None
    return number_of(value) if isinstance(value, date) else None


def _time(value: object) -> float | None:
    """Unix seconds; a time without an offset is UTC's."""
    if isinstance(value, datetime):
        return (value if value.tzinfo is not None else value.replace(tzinfo=ZoneInfo("UTC"))).timestamp()
    try:
        found = float(value)  # type: ignore[arg-type]  # whatever is no number raises
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def _value(value: object) -> float:
    """The number; NaN for what is none."""
    try:
        return float(value)  # type: ignore[arg-type]  # whatever is no number raises
    except (TypeError, ValueError, OverflowError):
        return math.nan
