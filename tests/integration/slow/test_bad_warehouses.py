"""Warehouses with something wrong in them, on DuckDB and PostgreSQL: each has a defined outcome, and none pins.

The canary is healthy. What is wrong speaks against it wherever it can: counted, it would be a breach.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from killswitch.model import Reason, Verdict
from killswitch.slow.duckdb_source import _day as day_in_duckdb
from killswitch.slow.findings import SlowFinding
from killswitch.slow.reading import evaluate
from killswitch.slow.sql_source import _day as day_here
from killswitch.slow.user_days import duckdb_module
from tests.doubles.warehouses import MONDAY, People, Row, at, settings_of
from tests.servers.postgresql import PostgresqlServer, programs

PEOPLE = People(users=1500)
CANARY = [name for name, day in zip(PEOPLE.names(), PEOPLE.exposed(), strict=True) if day == 0]
SUNDAY = MONDAY + timedelta(days=6)
LAST = MONDAY + timedelta(days=10)  # the newest day that has settled
FEW, MANY = 60, 500  # of about 9,750 rows: under and over 1 %
Change = Callable[[list[Row]], list[Row]]


def more(score: object, day: object = SUNDAY, number: int = FEW) -> Change:
    """Rows of canary users are added."""
    return lambda rows: [*rows, *((CANARY[one % len(CANARY)], day, score) for one in range(number))]


def of_users(*names: str | None) -> Change:
    return lambda rows: [*rows, *((name, SUNDAY, 0.0) for name in names)]


def without(gone: Callable[[str, date], bool]) -> Change:
    return lambda rows: [row for row in rows if not gone(row[0], row[1])]


@dataclass(frozen=True)
class Case:
    """What is changed of healthy rows, and what comes of it: the verdict, its reason, and what was left out."""

    change: Change = list
    reason: Reason | None = None  # None: healthy
    left_out: dict[str, int] = field(default_factory=dict)
    types: tuple[str, str, str] = ("VARCHAR", "DATE", "DOUBLE PRECISION")
    query: str = "select user_id, day, csat from {table} where day >= :since"
    literal: Reason | None = None
    in_duckdb: Reason | None = None  # where it sees the column's type beforehand


CASES = {
    "scores that are no number": Case(more(math.nan), None, {"a value out of range": FEW}),
    "many scores that are no number": Case(more(math.nan, number=MANY), Reason.GARBAGE),
    "infinite scores": Case(more(-math.inf), None, {"a value out of range": FEW}),
    "scores out of range": Case(more(-1e9), None, {"a value out of range": FEW}),
    "many scores out of range": Case(more(-1e9, number=MANY), Reason.GARBAGE),
    "texts as scores": Case(
        more("terrible"), None, {"a value out of range": FEW}, types=("VARCHAR", "DATE", "VARCHAR")
    ),
    "only texts as scores": Case(
        lambda rows: [(name, day, "bad") for name, day, _ in rows], Reason.GARBAGE, types=("VARCHAR", "DATE", "VARCHAR")
    ),
    "decimals": Case(types=("VARCHAR", "DATE", "DECIMAL(6, 2)")),
    "no users": Case(of_users(None, ""), None, {"no user": 2}),
    "a user of ten kilobytes": Case(of_users("x" * 10_000)),
    "only no users": Case(lambda rows: [(None, day, score) for _, day, score in rows], Reason.GARBAGE),
    "days to come": Case(more(0.0, date(2027, 1, 1)), None, {"a day still to come": FEW}),
    "days as whole numbers": Case(
        reason=Reason.GARBAGE,
        in_duckdb=Reason.SOURCE_REFUSED,
        query="select user_id, 20261108 as day, csat from {table}",
    ),
    "every row twice": Case(lambda rows: [*rows, *rows]),
    "another order of columns": Case(query="select csat, 'x' as more, day, user_id from {table} where day >= :since"),
    "a column that is missing": Case(reason=Reason.SOURCE_REFUSED, query="select user_id, day from {table}"),
    "an empty table": Case(lambda _: [], Reason.NO_DATA),
    "a gap of two days": Case(without(lambda _, day: day in (SUNDAY, SUNDAY - timedelta(days=1)))),
    "a newest day that is late": Case(without(lambda _, day: day == LAST), Reason.PARTIAL_ANSWER),
    "canary rows of a day that are late": Case(
        without(lambda name, day: day == LAST and name in set(CANARY)), None, literal=Reason.GAP
    ),
    "canary rows that are half missing": Case(without(lambda name, _: name in set(CANARY[::2])), Reason.TRAFFIC_SPLIT),
    "only the canary": Case(without(lambda name, _: name not in set(CANARY)), Reason.TRAFFIC_SPLIT),
    "nothing since two days": Case(without(lambda _, day: day > LAST), Reason.STALE),
    "two statements": Case(
        reason=Reason.SOURCE_REFUSED,
        query="select user_id, day, 0.0 as csat from {table} where user_id <> $$'$$; commit; delete from {table};"
        " select user_id, day, csat from {table} where user_id <> $$'$$",
    ),
    "a statement that writes": Case(
        reason=Reason.SOURCE_REFUSED,
        query="with gone as (delete from {table} returning *) select * from gone",
    ),
}  # fmt: skip


class DuckdbPlace:
    """A database file, to which a test writes a table."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "w.duckdb"
        self.source = f"duckdb:///{self.path}"
        self.more: dict[str, Any] = {}
        self.table = "csat"

    def write(self, rows: list[Row], types: tuple[str, str, str]) -> None:
        with duckdb_module().connect(str(self.path)) as connection:
            connection.execute(f"CREATE TABLE csat (user_id {types[0]}, day {types[1]}, csat {types[2]})")
            connection.execute("BEGIN")
            for start in range(0, len(rows), 500):
                some = rows[start : start + 500]
                values = [value for row in some for value in row]
                connection.execute(f"INSERT INTO csat VALUES {', '.join(['(?, ?, ?)'] * len(some))}", values)
            connection.execute("COMMIT")

    def count(self) -> int:
        with duckdb_module().connect(str(self.path)) as connection:
            return int(connection.execute("SELECT count(*) FROM csat").fetchall()[0][0])


class PostgresqlPlace:
    """A table of a server."""

    def __init__(self, server: PostgresqlServer) -> None:
        self.server = server
        # the owner's own account: nothing but the transaction keeps it from writing
        self.source = server.url_of("owner")
        self.more: dict[str, Any] = {"password": f"file:{server.password_file}"}
        self.table = "support.csat"

    def write(self, rows: list[Row], types: tuple[str, str, str]) -> None:
        self.server.execute(
            "DROP TABLE IF EXISTS support.csat",
            f"CREATE TABLE support.csat (user_id {types[0]}, day {types[1]}, csat {types[2]})",
        )
        self.server.copy("support.csat", rows)

    def count(self) -> int:
        return int(self.server.execute("SELECT count(*) FROM support.csat")[0][0])


Place = DuckdbPlace | PostgresqlPlace


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed")
    if programs() is None:
        pytest.skip("PostgreSQL is not installed: make servers")
    with PostgresqlServer() as running:
        yield running


@pytest.fixture(params=["duckdb", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "duckdb":
        return DuckdbPlace(tmp_path)
    return PostgresqlPlace(request.getfixturevalue("server"))


def judged(place: Place, query: str, **changes: Any) -> SlowFinding:
    settings = settings_of(place.source, users=query.format(table=place.table), **place.more | changes)
    (found,) = evaluate(settings, PEOPLE.history, at(PEOPLE.days, 7), timeout=60.0).findings
    return found


@pytest.mark.parametrize("name", CASES)
def test_it_has_a_defined_outcome_and_pins_nothing(place: Place, name: str) -> None:
    case = CASES[name]
    rows = case.change(list(PEOPLE.rows()))
    if case.query == Case.query:
        place.write(rows, case.types)
    else:
        place.write(list(PEOPLE.rows()), case.types)
    before = place.count()
    found = judged(place, case.query)
    assert Verdict.BREACH not in (found.verdict, found.by_evidence.verdict, found.literal.verdict), found.sentence
    reason = (case.in_duckdb or case.reason) if isinstance(place, DuckdbPlace) else case.reason
    wanted = (Verdict.HEALTHY, None) if reason is None else (Verdict.UNKNOWN, reason)
    assert (found.verdict, found.reason) == wanted, found.sentence
    assert found.left_out.items() >= case.left_out.items()
    if case.reason is None:
        assert found.literal.reason is case.literal
    assert place.count() == before


def test_rows_that_come_late_count_at_the_next_look(place: Place) -> None:
    """Nothing is kept of an earlier look: a day that was half there counts as a whole when it is."""
    rows = list(PEOPLE.rows())
    place.write([row for number, row in enumerate(rows) if row[1] < LAST or number % 3 == 0], CASES["decimals"].types)
    assert judged(place, Case.query).reason is Reason.PARTIAL_ANSWER
    if isinstance(place, DuckdbPlace):
        place.path.unlink()
    place.write(rows, CASES["decimals"].types)
    found = judged(place, Case.query)
    assert (found.verdict, found.last_day - found.first_day) == (Verdict.HEALTHY, 8)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "America/Santiago", "Australia/Lord_Howe"])
def test_both_engines_see_one_day_around_daylight_saving(zone: str) -> None:
    """Each quarter of an hour of 2026, as a time with an offset: a day may have 23 to 25 hours."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    expression = day_in_duckdb("t", "TIMESTAMP WITH TIME ZONE", zone)
    found = (
        duckdb_module()
        .connect()
        .execute(
            f"SELECT {expression} FROM (SELECT unnest(generate_series($start::TIMESTAMPTZ, $end::TIMESTAMPTZ,"
            " INTERVAL 15 MINUTE)) AS t) ORDER BY t",
            {"start": start.isoformat(), "end": (start + timedelta(days=364)).isoformat()},
        )
        .fetchall()
    )
    wanted = [day_here(start + timedelta(minutes=15 * number), ZoneInfo(zone)) for number in range(len(found))]
    assert [day for (day,) in found] == wanted
    assert len({wanted.count(day) for day in set(wanted[200:-200])}) > 1  # 23, 24 and 25 hours
