"""A double of ClickHouse that speaks its HTTP protocol as far as shadow mode uses it.

Its answers were compared with ClickHouse 26.9: an insert whose token it has seen adds nothing and is answered as usual.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from killswitch.shadow import sinks
from tests.doubles.http_double import Answer, HttpDouble, Received

TABLES = Path(sinks.__file__).with_name("clickhouse_tables.sql")


def columns_of(table: str) -> dict[str, str]:
    """The columns of a table in the file of tables, with their types."""
    (body,) = re.findall(rf"CREATE TABLE IF NOT EXISTS {table}\n\((.*?)\n\)\n", TABLES.read_text(), re.DOTALL)
    return dict(re.findall(r"^\s+(\w+) ([\w(), ]+?)(?: TTL .*)?,?$", body, re.MULTILINE))


class ClickHouseDouble(HttpDouble):
    """``rows`` by table. ``lost``: of the next insert the answer is lost, after it was carried out.

    ``lacks``: columns of its tables that an older version did not make.
    """

    def __init__(self, *, user: str = "", password: str = "", made: bool = True) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {"shadow_pairs": [], "shadow_drops": []} if made else {}
        self.tokens: set[tuple[str, str]] = set()
        self.lost = False
        self.lacks: frozenset[str] = frozenset()
        self.status = 200
        self._authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode() if user else None
        super().__init__(self.answer)

    def answer(self, request: Received) -> Answer:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
        if self._authorization is not None and request.headers.get("authorization") != self._authorization:
            return Answer(403, b"Code: 516. DB::Exception: Authentication failed (AUTHENTICATION_FAILED)")
        if self.status != 200:
            return Answer(self.status, b"Code: 242. DB::Exception: Table is in readonly mode (TABLE_IS_READ_ONLY)")
        assert asked["database"] == "analytics"
        query = asked["query"]
        if insert := re.fullmatch(r"INSERT INTO (\w+) FORMAT JSONEachRow", query):
            return self._insert(insert[1], asked, request.body)
        user = asked["param_user"]
        if query == "SELECT count() FROM shadow_pairs WHERE user = {user:String}":
            return Answer(body=b"%d\n" % sum(row["user"] == user for row in self.rows["shadow_pairs"]))
        assert query == "ALTER TABLE shadow_pairs DELETE WHERE user = {user:String}"
        assert asked["mutations_sync"] == "2"
        self.rows["shadow_pairs"] = [row for row in self.rows["shadow_pairs"] if row["user"] != user]
        return Answer(body=b"")

    def _insert(self, table: str, asked: dict[str, str], body: bytes) -> Answer:
        if table not in self.rows:
            return Answer(404, b"Code: 60. DB::Exception: Table does not exist (UNKNOWN_TABLE)")
        assert asked["insert_deduplicate"] == "1"
        assert asked["async_insert"] == "0"
        new = [json.loads(line) for line in body.splitlines()]
        for row in new:
            if not row.keys() <= columns_of(table).keys() - self.lacks:
                return Answer(400, b"Code: 117. DB::Exception: Unknown field found while parsing JSONEachRow format")
        key = (table, asked["insert_deduplication_token"])
        if key not in self.tokens:
            self.tokens.add(key)
            self.rows[table] += new
        lost, self.lost = self.lost, False
        return Answer(body=b"", lost=lost)
