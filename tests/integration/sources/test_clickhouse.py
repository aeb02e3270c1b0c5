"""Requests counted in a real ClickHouse: the same numbers as from the rows themselves, and never zeros from a fault."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from killswitch.deadline import Deadline
from killswitch.errors import Unavailable
from killswitch.model import Range, Reason, Unreadable
from killswitch.net.credentials import HttpCredentials, Secret
from killswitch.sources.clickhouse import ClickHouseRows
from killswitch.sources.rows.questions import PERIOD_MS
from killswitch.sources.rows.reading import RowReader
from killswitch.sources.rows.request_table import RequestTable
from tests.servers.clickhouse import PASSWORD, ClickHouseServer
from tests.unit.sources.test_row_counts import TICK, Row, answered, want

SCHEMA = Path(__file__).parents[3] / "deploy" / "clickhouse" / "schema.sql"


def random_rows() -> list[Row]:
    luck = random.Random(5)
    rows = []
    for number in range(2000):
        at = luck.randrange(-500_000, 60_000) / 1000
        came = at + (luck.choice((1.0, 20.0, 100.0)) if number % 5 == 0 else 1.0)
        outcome = luck.choice(("ok", "ok", "error", "refused"))
        rows.append(
            Row(at, luck.choice(("canary", "control")), outcome, luck.uniform(5, 3000), outcome == "refused", "", came)
        )
    return rows


ROWS = random_rows()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    with ClickHouseServer(tmp_path_factory.mktemp("clickhouse")) as server:
        server.run(SCHEMA.read_text())
        values = ",".join(
            f"({round((TICK + row.at) * 1000)},{round((TICK + (row.came or row.at)) * 1000)},'r','{row.cohort}','m',"
            f"'{row.outcome}',{row.latency_ms!r},{row.refused:d})"
            for row in ROWS
        )
        columns = "time,inserted,rollout,cohort,model,outcome,latency_ms,refused"
        server.run(f"INSERT INTO llm_requests ({columns}) VALUES {values}")
        yield server


@pytest.mark.parametrize("name", ["error_rate", "refusal_rate", "latency_p95"])
def test_clickhouse_counts_what_the_rows_say(name: str, server: ClickHouseServer) -> None:
    source = ClickHouseRows(f"{server.url}/llm_requests?late_after=10")
    plain = RowReader(RequestTable(), lambda question: answered(ROWS, question), interval=15)
    wanted = [want(name, kind, seconds) for kind, seconds in ((Range.STEP, 30.0), (Range.WINDOW, 123.456))]
    ticks = [TICK + 30 * at for at in range(-5, 3)]
    expected = plain.read_back(wanted[:1], ticks)
    found = source.read_back(wanted[:1], ticks, Deadline(30))
    assert found == expected
    assert {tick: source.read(wanted[:1], tick, Deadline(30)) for tick in ticks} == expected
    assert source.read(wanted[1:], TICK, Deadline(30)) == plain.read_back(wanted[1:], [TICK])[TICK]
    source.close()


def test_clickhouse_judges_a_user_once_in_five_minutes(server: ClickHouseServer) -> None:
    """The first of a user's requests counts, whatever the others' outcomes are; requests without a user all count."""
    at = round(TICK * 1000) + 10 * PERIOD_MS
    users = [("a", "error"), *[("a", "ok")] * 9, ("", "ok"), ("", "error")]
    values = ",".join(
        f"({at + number},{at + number},'r','canary','m','{user}','{outcome}')"
        for number, (user, outcome) in enumerate(users)
    )
    server.run(f"INSERT INTO llm_requests (time,inserted,rollout,cohort,model,user,outcome) VALUES {values}")
    source = ClickHouseRows(f"{server.url}/llm_requests")
    asked, tick = want("error_rate", judged=True), at / 1000 + 20
    found = source.read([asked], tick, Deadline(30))[asked.key].canary
    source.close()
    assert (getattr(found, "events", None), getattr(found, "trials", None)) == (2, 3)


def test_a_user_who_may_only_read_is_enough(server: ClickHouseServer, tmp_path: Path) -> None:
    """As the guide says: readonly 2, because the limits are sent with each query. A wrong password is a reason."""
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    reader = HttpCredentials(basic=("reader", Secret.from_file(password)))
    source = ClickHouseRows(f"{server.url}/llm_requests?late_after=10", credentials=reader)
    asked = want("error_rate")
    plain = RowReader(RequestTable(), lambda question: answered(ROWS, question), interval=15)
    assert source.read([asked], TICK, Deadline(30)) == plain.read_back([asked], [TICK])[TICK]
    password.write_text("another")
    refused = source.read([asked], TICK, Deadline(30))[asked.key].canary
    source.close()
    assert isinstance(refused, Unreadable)
    assert refused.reason is Reason.SOURCE_REFUSED
    assert PASSWORD not in refused.detail


def test_a_clickhouse_that_is_gone_is_a_reason_and_no_zero(tmp_path: Path) -> None:
    asked = want("error_rate")
    with ClickHouseServer(tmp_path) as server:
        source = ClickHouseRows(f"{server.url}/llm_requests", timeout=2)
        without_table = source.read([asked], TICK, Deadline(10))[asked.key].canary
        server.run(SCHEMA.read_text())
        server.pause()
        frozen = source.read([asked], TICK, Deadline(1))[asked.key].canary
        server.kill()
        gone = source.read([asked], TICK, Deadline(5))[asked.key].canary
        with pytest.raises(Unavailable):
            source.now(Deadline(5))
        source.close()
    reasons = [each.reason for each in (without_table, frozen, gone) if isinstance(each, Unreadable)]
    assert reasons == [Reason.SOURCE_REFUSED, Reason.SOURCE_TIMEOUT, Reason.SOURCE_DOWN]
