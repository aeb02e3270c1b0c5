"""Records in ClickHouse, over its HTTP protocol."""

from __future__ import annotations

from pathlib import Path

import pytest

from killswitch.errors import AccessDenied, BadSettings, Refused, Unavailable
from killswitch.net.credentials import Secret
from killswitch.router.shadow.raw_pair import Dropped
from killswitch.shadow.pairs import COLUMNS
from killswitch.shadow.sinks import Batch
from killswitch.shadow.sinks.clickhouse import ClickHouse
from killswitch.shadow.sinks.opening import open_sink
from tests.doubles.clickhouse import ClickHouseDouble, columns_of
from tests.doubles.pair_records import BEGAN, pair

TYPES = {"VARCHAR": "String", "BIGINT": "Int64", "DOUBLE": "Float64", "BOOLEAN": "Bool", "VARCHAR[]": "Array(String)"}


def batch(name: str = "b1", *numbers: int) -> Batch:
    drops = (Dropped("support", BEGAN, {"queue_full": 2}),)
    return Batch(name, "support", "2026-04-19", tuple(pair(number, user="u1") for number in numbers or (1, 2)), drops)


def address(server: ClickHouseDouble) -> str:
    return f"clickhouse+{server.url}/analytics"


def test_the_table_has_the_columns_of_a_record() -> None:
    columns = columns_of("shadow_pairs")
    assert columns.keys() == COLUMNS.keys()
    for name, kind in COLUMNS.items():
        assert TYPES[kind] in columns[name], name
    assert {name for name, kind in columns.items() if "Nullable" in kind} >= {"similarity", "equivalent", "other_text"}


def test_a_batch_is_inserted_and_its_repeat_adds_nothing() -> None:
    """Also where the first one's answer was lost: nobody can know whether it was carried out."""
    with ClickHouseDouble() as server:
        sink = open_sink(address(server))
        server.lost = True
        with pytest.raises(Unavailable):
            sink.write(batch())
        for _ in range(2):
            sink.write(batch())
        assert [row["pair"] for row in server.rows["shadow_pairs"]] == ["p1", "p2"]
        assert [row["reasons"] for row in server.rows["shadow_drops"]] == [{"queue_full": 2}]
        sink.write(batch("b2", 3))
        assert len(server.rows["shadow_pairs"]) == 3
        sink.close()


def test_tables_of_an_older_version_are_named() -> None:
    """The file of tables adds the column, so the message says to run it again. Nothing was inserted."""
    with ClickHouseDouble() as server:
        server.lacks = frozenset({"reused"})
        with pytest.raises(Refused, match=r"older version: run .*clickhouse_tables\.sql again"):
            ClickHouse(address(server)).write(batch())
        assert server.rows["shadow_pairs"] == []


def test_a_user_is_forgotten() -> None:
    with ClickHouseDouble() as server:
        sink = ClickHouse(address(server))
        sink.write(batch())
        assert sink.forget("nobody' OR 1=1 --") == 0
        assert sink.forget("u1") == 2
        assert server.rows["shadow_pairs"] == []


def test_failures_say_whether_to_wait_or_what_to_fix(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret")
    password = Secret.from_file(tmp_path / "password")
    with ClickHouseDouble(user="killswitch", password="secret") as server:
        ClickHouse(address(server), user="killswitch", password=password).write(batch())
        with pytest.raises(AccessDenied) as denied:
            ClickHouse(address(server)).write(batch())
        assert "credentials" in str(denied.value)
        server.status = 503
        with pytest.raises(Unavailable) as down:
            ClickHouse(address(server), user="killswitch", password=password).write(batch())
        assert "secret" not in str(down.value)
    with ClickHouseDouble(made=False) as empty, pytest.raises(Refused, match="clickhouse_tables"):
        ClickHouse(address(empty)).write(batch())


@pytest.mark.parametrize(
    "url",
    [
        "clickhouse+http://host:8123",
        "clickhouse+http://host:8123/a/b",
        "clickhouse+http://user:password@host:8123/analytics",
        "clickhouse+http:///analytics",
        "clickhouse+http://host:8123/analytics?x=1",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(BadSettings, match="clickhouse\\+http"):
        open_sink(url)
