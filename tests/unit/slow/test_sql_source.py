"""A warehouse over SQLAlchemy: what is counted is what DuckDB counts, and each failure has a reason."""

from __future__ import annotations

import math
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from killswitch.flags.bucketing import routing_bytes
from killswitch.model import Reason, Unreadable, Verdict
from killswitch.net.credentials import Secret
from killswitch.slow.counts import SlowCounts
from killswitch.slow.days import number_of
from killswitch.slow.findings import SlowFinding
from killswitch.slow.reading import evaluate
from killswitch.slow.sql_source import _LEFT_BEHIND, SqlWarehouse, _amounts, _day, _numbered, _time
from killswitch.slow.user_days import UserDays, open_user_days
from killswitch.slow.warehouse import SlowStatement
from killswitch.slow.window import window_of
from tests.doubles.warehouses import People, at, settings_of, signal_of, write_assignments, write_parquet

pytest.importorskip("sqlalchemy", reason="the extra [warehouse] is not installed")
PEOPLE = People(users=1500, drop=2.0, silent=0.2, percents={0: 10.0, 4: 40.0})
QUERY = "select user_id, day, csat from csat where day >= :since"
STATEMENT = SlowStatement(QUERY, "user_id", "day", "csat", 0.0, 100.0)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("people") / "w.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE csat (user_id, day, csat)")
        rows = [(name, str(day), score) for name, day, score in PEOPLE.rows()]
        connection.executemany("INSERT INTO csat VALUES (?, ?, ?)", rows)
        connection.execute('CREATE TABLE log ("user", rollout, generation, cohort, "at")')
        log = [(*one[:4], one[4].timestamp()) for one in PEOPLE.assignments()]
        connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?)", log)
    connection.close()
    return file


@pytest.fixture
def database(tmp_path: Path, written: Path) -> Path:
    shutil.copy(written, tmp_path / "w.db")
    return tmp_path / "w.db"


def judged(database: Path, **changes: Any) -> SlowFinding:
    settings = settings_of(f"sqlite:///{database}", **changes)
    (found,) = evaluate(settings, PEOPLE.history, at(PEOPLE.days, 7)).findings
    return found


@pytest.fixture
def tables() -> Iterator[UserDays]:
    with open_user_days() as (connection, _):
        history = PEOPLE.history
        window = window_of(settings_of("sqlite://"), signal_of(), history, at(PEOPLE.days, 7))
        users = UserDays(connection, history, window)
        users.begin()
        yield users


def problem(warehouse: SqlWarehouse, into: UserDays, statement: SlowStatement = STATEMENT) -> Unreadable:
    found = warehouse.read(statement, into)
    assert found is not None
    return found


@pytest.mark.parametrize("assignments", [None, "log"])
def test_both_kinds_of_warehouse_count_the_same(database: Path, tmp_path: Path, assignments: str | None) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    write_parquet(folder / "csat.parquet", PEOPLE.rows())
    write_assignments(folder / "log.parquet", PEOPLE.assignments())
    settings = settings_of(f"duckdb:///{folder}", assignments=assignments)
    (other,) = evaluate(settings, PEOPLE.history, at(PEOPLE.days, 7)).findings
    found = judged(database, assignments=assignments)
    assert (found.verdict, found.left_out) == (other.verdict, other.left_out)
    assert (found.canary_users, found.control_users) == (other.canary_users, other.control_users)
    for name in ("canary", "control", "worse", "low", "high", "evidence"):
        assert getattr(found, name) == pytest.approx(getattr(other, name)), name


def test_batches_of_any_size_count_the_same(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = judged(database)
    monkeypatch.setattr("killswitch.slow.sql_source.BATCH", 77)
    assert judged(database).worse == pytest.approx(whole.worse)


def test_a_transaction_can_write_nothing(database: Path) -> None:
    """The statement's form is checked with the rule file; the connection refuses writes besides."""
    found = judged(database, users="with x as (select 1) insert into csat select 1, 2, 3 returning *")
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, Reason.SOURCE_DOWN)
    assert "readonly" in found.sentence


def test_bad_rows_have_a_reason_each(database: Path, tables: UserDays) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("DELETE FROM csat")
        connection.executemany(
            "INSERT INTO csat VALUES (?, ?, ?)",
            [
                (None, "2026-11-08", 50.0),
                (b"", "2026-11-08", 50.0),
                ("x" * 10_000, "2026-11-08", 50.0),
                ("anna", "2026-99-99", 50.0),
                ("anna", "2026-11-08", 101.0),
                ("anna", "2026-11-08", "good"),
                ("anna", "2026-11-08", None),
                ("anna", "2026-12-24", 50.0),
                (17, "2026-11-08", 50.0),
            ],
        )
    connection.close()
    assert SqlWarehouse(f"sqlite:///{database}").read(STATEMENT, tables) is None
    found = tables.count()
    assert isinstance(found, SlowCounts)
    assert dict(found.left_out) == {"no user": 2, "no day": 1, "a value out of range": 2, "a day still to come": 1}
    assert (found.rows, found.bad) == (9, 5)
    assert found.answers.control + found.answers.canary == 3


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("select user_id, day from csat", Reason.SOURCE_REFUSED),
        ("select user_id, day, csat from nothing", Reason.SOURCE_DOWN),
        ("select user_id, day, csat from csat where", Reason.SOURCE_DOWN),
    ],
)
def test_a_statement_that_cannot_work_is_unknown(database: Path, tables: UserDays, query: str, reason: Reason) -> None:
    """SQLite calls these operational errors; other drivers have an error of their own for them."""
    assert problem(SqlWarehouse(f"sqlite:///{database}"), tables, replace(STATEMENT, query=query)).reason is reason


def test_a_warehouse_that_is_away_is_down(tmp_path: Path, tables: UserDays) -> None:
    assert problem(SqlWarehouse(f"sqlite:///{tmp_path}/no/w.db"), tables).reason is Reason.SOURCE_DOWN


def test_a_driver_that_is_not_installed_is_named(tables: UserDays) -> None:
    found = problem(SqlWarehouse("snowflake://account/db"), tables)
    assert found.reason is Reason.SOURCE_REFUSED
    assert "snowflake" in found.detail


def test_too_many_rows_are_no_answer(database: Path, tables: UserDays) -> None:
    found = problem(SqlWarehouse(f"sqlite:///{database}", most_rows=100), tables)
    assert found.reason is Reason.PARTIAL_ANSWER


def test_a_password_that_cannot_be_read_is_refused(database: Path, tables: UserDays, tmp_path: Path) -> None:
    warehouse = SqlWarehouse(f"sqlite:///{database}", Secret.from_file(tmp_path / "missing"))
    assert problem(warehouse, tables).reason is Reason.SOURCE_REFUSED


def test_a_password_is_in_no_message(tables: UserDays, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE", "geheim-wort")

    def echo(*_: object, **__: object) -> None:
        raise OSError("cannot log in with geheim-wort")

    monkeypatch.setattr("sqlalchemy.create_engine", echo)
    found = problem(SqlWarehouse("sqlite:///x", Secret.from_environment("WAREHOUSE")), tables)
    assert found.detail == "cannot log in with [hidden]"


def test_a_warehouse_that_hangs_is_left_behind(
    database: Path, tables: UserDays, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline ends the wait, and nothing else is asked while the thread still hangs."""
    release, asked = threading.Event(), []

    def hang(*_: object, **__: object) -> Iterator[list[Any]]:
        asked.append(1)
        release.wait(60.0)
        yield from ()

    warehouse = SqlWarehouse(f"sqlite:///{database}", timeout=0.05)
    monkeypatch.setattr(warehouse, "_rows", hang)
    assert problem(warehouse, tables).reason is Reason.SOURCE_TIMEOUT
    again = problem(SqlWarehouse(f"sqlite:///{database}"), tables)  # as the next evaluation makes it
    assert (again.reason, again.detail) == (Reason.SOURCE_TIMEOUT, "the warehouse still hangs in an earlier statement")
    assert len(asked) == 1
    release.set()
    _LEFT_BEHIND[f"sqlite:///{database}"].join(60.0)
    patient = SqlWarehouse(f"sqlite:///{database}")
    assert patient.read(STATEMENT, tables) is None


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("given", "day"),
    [
        (date(2026, 11, 8), date(2026, 11, 8)),
        (datetime(2026, 11, 7, 23, 30, tzinfo=UTC), date(2026, 11, 8)),
        (datetime(2026, 11, 8, 0, 30, tzinfo=timezone(timedelta(hours=9))), date(2026, 11, 7)),
        (datetime(2026, 11, 8, 23, 59), date(2026, 11, 8)),  # noqa: DTZ001  # as a warehouse without zones gives it
        ("2026-10-25T00:30:00+00:00", date(2026, 10, 25)),
        (" 2026-11-08 ", date(2026, 11, 8)),
        ("2026-11-08 10:00:00", date(2026, 11, 8)),
        ("soon", None),
        (20_000, None),
        (None, None),
        (datetime.max.replace(tzinfo=timezone(-timedelta(hours=12))), None),
    ],
)
def test_a_day_is_that_of_the_rules_zone(given: object, day: date | None) -> None:
    assert _day(given, BERLIN) == (None if day is None else number_of(day))


def test_a_value_is_a_number_or_out_of_every_range() -> None:
    assert list(_amounts([1, "2.5", True, Decimal("0.5")])) == [1.0, 2.5, 1.0, 0.5]
    strange: tuple[object, ...] = ("good", float("nan"), [], 10**400, None, 7)
    assert [math.isnan(one) for one in _amounts(strange)] == [True, True, True, True, True, False]


def test_equal_values_of_other_types_are_other_users() -> None:
    """True is no user, and 1 is; a value without a hash is read where it stands."""
    keys, of_row = _numbered([1, True, 1, "1", None], routing_bytes)
    assert [keys[place] for place in of_row] == [b"1", None, b"1", b"1", None]
    keys, of_row = _numbered([bytearray(b"anna"), bytearray(b"anna")], routing_bytes)
    assert [keys[place] for place in of_row] == [b"anna", b"anna"]


def test_a_time_of_an_assignment_is_unix_seconds() -> None:
    moment = datetime(2026, 11, 8, tzinfo=UTC)
    assert _time(moment) == _time(moment.replace(tzinfo=None)) == _time(str(moment.timestamp())) == moment.timestamp()
    assert [_time(one) for one in ("soon", None, float("nan"))] == [None, None, None]
