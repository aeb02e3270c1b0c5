"""A PostgreSQL as warehouse: it counts what DuckDB counts, may only read, and each failure is UNKNOWN with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from killswitch.model import Reason, Verdict
from killswitch.net.credentials import Secret
from killswitch.slow.findings import SlowFinding
from killswitch.slow.reading import evaluate
from killswitch.slow.sql_source import SqlWarehouse
from killswitch.slow.user_days import UserDays, open_user_days
from killswitch.slow.warehouse import SlowStatement
from killswitch.slow.window import window_of
from tests.doubles.warehouses import People, at, settings_of, signal_of, write_parquet
from tests.servers.etcd import wait_until
from tests.servers.postgresql import PostgresqlServer, programs

pytest.importorskip("sqlalchemy", reason="the extra [warehouse] is not installed")
pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed")
if programs() is None:
    pytest.skip("PostgreSQL is not installed: make servers", allow_module_level=True)

PEOPLE = People(users=1500, drop=12.0, silent=0.2, percents={0: 10.0, 4: 40.0})
QUERY = "select user_id, day, csat from support.csat where day >= :since"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with PostgresqlServer() as running:
        running.execute(
            "CREATE TABLE support.csat (user_id text, day date, csat double precision)",
            'CREATE TABLE support.log ("user" text, rollout text, generation int, cohort text, at timestamptz)',
            "CREATE FUNCTION support.writes() RETURNS text LANGUAGE sql AS"
            " $$ INSERT INTO support.csat VALUES ('x', '2026-11-08', 1) RETURNING user_id $$",
        )
        running.copy("support.csat", PEOPLE.rows())
        running.copy("support.log", PEOPLE.assignments())
        yield running


def judged(server: PostgresqlServer, *, user: str = "reader", timeout: float = 60.0, **changes: Any) -> SlowFinding:
    known = {"users": QUERY, "password": f"file:{server.password_file}"}
    settings = settings_of(server.url_of(user), **known | changes)
    (found,) = evaluate(settings, PEOPLE.history, at(PEOPLE.days, 7), timeout=timeout).findings
    return found


@pytest.fixture
def tables() -> Iterator[UserDays]:
    with open_user_days() as (connection, _):
        window = window_of(settings_of("sqlite://"), signal_of(), PEOPLE.history, at(PEOPLE.days, 7))
        users = UserDays(connection, PEOPLE.history, window)
        users.begin()
        yield users


@pytest.mark.parametrize("assignments", [None, "support.log"])
def test_it_counts_what_duckdb_counts(server: PostgresqlServer, tmp_path: Path, assignments: str | None) -> None:
    """With the cohorts computed, and with the table of assignments: one breach, and the same numbers."""
    write_parquet(tmp_path / "csat.parquet", PEOPLE.rows())
    (other,) = evaluate(settings_of(f"duckdb:///{tmp_path}"), PEOPLE.history, at(PEOPLE.days, 7)).findings
    found = judged(server, assignments=assignments)
    assert (found.verdict, found.left_out) == (Verdict.BREACH, other.left_out), found.sentence
    for name in ("canary", "control", "canary_users", "control_users", "worse", "low", "high"):
        assert getattr(found, name) == pytest.approx(getattr(other, name)), name


@pytest.mark.parametrize("assignments", [None, "support.log"])
def test_a_statement_may_group_by_user_and_day(server: PostgresqlServer, assignments: str | None) -> None:
    """Then one row a user and day travels, and the numbers are those of all rows."""
    many = "(select user_id, day, csat from support.csat union all select user_id, day, csat * 0.9 from support.csat)"
    whole = judged(server, users=f"select user_id, day, csat from {many} as t", assignments=assignments)
    grouped = judged(
        server,
        users=f"select user_id, day, avg(csat) as csat from {many} as t where day >= :since group by user_id, day",
        assignments=assignments,
    )
    assert (grouped.verdict, grouped.canary_users) == (whole.verdict, whole.canary_users)
    for name in ("canary", "control", "worse", "low", "high", "evidence"):
        assert getattr(grouped, name) == pytest.approx(getattr(whole, name)), name


def test_no_message_holds_a_value_of_a_row(server: PostgresqlServer) -> None:
    """It is a user's text, and what is said of a signal is logged and paged."""
    found = judged(server, users="select user_id, cast('card ' || user_id as float) as csat, day from support.csat")
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, Reason.GARBAGE)
    assert "invalid input syntax for type double precision: …" in found.sentence
    assert "card" not in found.sentence


def test_the_transaction_can_only_read(server: PostgresqlServer) -> None:
    """Even the owner's, and even in a function that the statement calls."""
    before = server.execute("SELECT count(*) FROM support.csat")
    found = judged(server, user="owner", users="select support.writes() as user_id, now() as day, 1 as csat")
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, Reason.SOURCE_REFUSED)
    assert "read-only transaction" in found.sentence
    assert server.execute("SELECT count(*) FROM support.csat") == before


def test_a_slow_statement_is_ended_at_the_server(server: PostgresqlServer) -> None:
    found = judged(server, timeout=1.0, users="select pg_sleep(600)::text as user_id, now() as day, 1 as csat")
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, Reason.SOURCE_TIMEOUT)
    active = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader' AND state = 'active'"
    wait_until(lambda: server.execute(active) == [(0,)], "the statement to end", 20.0)


def test_a_wrong_password_is_refused_and_not_repeated(server: PostgresqlServer, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("geheim-wort")
    found = judged(server, password=f"file:{tmp_path}/password")
    assert found.reason is Reason.SOURCE_REFUSED
    assert "geheim" not in found.sentence


def test_a_statement_that_cannot_work_is_refused(server: PostgresqlServer) -> None:
    assert judged(server, users="select user_id, day, score from support.csat").reason is Reason.SOURCE_REFUSED


def test_an_error_after_half_of_the_rows_is_no_answer(server: PostgresqlServer) -> None:
    """Rows come in batches; what came before the error is not data."""
    half = (
        "select user_id, day, csat / (case when row_number() over () > 9000 then 0 else 1 end) as csat"
        " from support.csat"
    )
    found = judged(server, users=half)
    assert (found.verdict, found.reason, found.canary_users) == (Verdict.UNKNOWN, Reason.GARBAGE, 0)


def test_a_connection_that_ends_in_the_middle_is_no_answer(server: PostgresqlServer, tables: UserDays) -> None:
    warehouse = SqlWarehouse(server.url_of("reader"), Secret.from_file(server.password_file))
    ends = (
        "select case when i = 90000 then pg_terminate_backend(pg_backend_pid())::text else i::text end as user_id,"
        " now() as day, 1 as csat from generate_series(1, 100000) as i"
    )
    found = warehouse.read(SlowStatement(ends, "user_id", "day", "csat", 0.0, 1.0), tables)
    assert found is not None
    assert found.reason is Reason.SOURCE_DOWN


def test_a_server_that_hangs_is_left_behind(server: PostgresqlServer) -> None:
    server.pause()
    try:
        found = judged(server, timeout=1.0)
    finally:
        server.resume()
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, Reason.SOURCE_TIMEOUT)
    wait_until(lambda: judged(server).verdict is Verdict.BREACH, "the thread left behind to end")


def test_a_server_that_is_away_is_down(server: PostgresqlServer) -> None:
    source = server.url_of("reader").replace(f":{server.port}/", ":1/")
    settings = settings_of(source, users=QUERY, password=f"file:{server.password_file}")
    (found,) = evaluate(settings, PEOPLE.history, at(PEOPLE.days, 7), timeout=30.0).findings
    assert found.reason is Reason.SOURCE_DOWN
