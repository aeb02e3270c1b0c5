"""Records in ClickHouse over HTTP: JSONEachRow, one insert a batch, with a token that makes a repeat harmless.

The tables are those of `clickhouse_tables.sql`; a person makes them once. ClickHouse removes old texts by itself (TTL).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from killswitch.errors import BadSettings, Refused, Unavailable
from killswitch.net.bounded_http import BoundedSession, killswitch_errors, refusal
from killswitch.net.credentials import HttpCredentials, Secret
from killswitch.shadow.flat_record import dropped_row, lines_of, row_of
from killswitch.shadow.sinks import Batch

SCHEMES: Final = ("clickhouse+http", "clickhouse+https")
PAIRS: Final = "shadow_pairs"
DROPS: Final = "shadow_drops"
_UNKNOWN_FIELD: Final = b"Code: 117."
_TIMEOUT: Final = 60.0  # seconds for one insert


class ClickHouse:
    """A `Sink`. ``url``: ``clickhouse+http://host:8123/database``. The password comes from a file."""

    def __init__(self, url: str, *, user: str = "", password: Secret | None = None) -> None:
        parts = urlsplit(url)
        database = parts.path.strip("/")
        plain = bool(database) and database.replace("_", "").isalnum()
        if parts.scheme not in SCHEMES or not parts.hostname or parts.username or parts.query or not plain:
            raise BadSettings(
                ["records in ClickHouse are at clickhouse+http(s)://host:8123/database; user and password have options"]
            )
        if (user == "") != (password is None):
            raise BadSettings(["ClickHouse needs a user and a password file, or neither of them"])
        basic = (user, password) if password is not None else None
        self._url = f"{parts.scheme.removeprefix('clickhouse+')}://{parts.netloc}/"
        self._database = database
        self._session = BoundedSession(timeout=_TIMEOUT, credentials=HttpCredentials(basic=basic))

    def write(self, batch: Batch) -> None:
        """Raises Unavailable or OutcomeUnknown; a later try with the same batch adds nothing a second time."""
        token = f"{batch.name}/{batch.rollout}/{batch.day}"
        if batch.records:
            self._insert(PAIRS, token, lines_of(map(row_of, batch.records)))
        if batch.drops:
            self._insert(DROPS, token, lines_of(map(dropped_row, batch.drops)))

    def forget(self, user: str) -> int:
        """Removes the rows from the disk before it returns."""
        found = self._post(f"SELECT count() FROM {PAIRS} WHERE user = {{user:String}}", {"param_user": user})  # noqa: S608  a constant
        try:
            rows = int(found)
        except ValueError as error:
            raise Unavailable(f"ClickHouse counted {found!r:.80} rows; is this its HTTP port?") from error
        if rows:
            removal = {"param_user": user, "mutations_sync": "2"}
            self._post(f"ALTER TABLE {PAIRS} DELETE WHERE user = {{user:String}}", removal)
        return rows

    def remove_texts(self, before: Callable[[str], float]) -> int:  # noqa: ARG002  the table's own TTL does it
        return 0

    def close(self) -> None:
        self._session.close()

    def _insert(self, table: str, token: str, lines: bytes) -> None:
        settings = {
            "insert_deduplicate": "1",
            "insert_deduplication_token": token,
            "async_insert": "0",  # an answer means that it is written
            "input_format_skip_unknown_fields": "0",
        }
        self._post(f"INSERT INTO {table} FORMAT JSONEachRow", settings, lines)

    def _post(self, query: str, settings: dict[str, str], body: bytes = b"") -> str:
        """The answer's text. A change that had no answer raises Unavailable: the token makes a second try safe."""
        asked = {"database": self._database, "query": query, **settings}
        with killswitch_errors():
            response = self._session.post(self._url, params=asked, data=body)
            refused = refusal(response)
            if isinstance(refused, Refused) and response.status_code == 404:
                raise Refused(f"{refused}; make the tables once: killswitch/shadow/sinks/clickhouse_tables.sql")
            if refused is not None and response.content.startswith(_UNKNOWN_FIELD):
                raise Refused(
                    f"{refused}; the tables are of an older version: run killswitch/shadow/sinks/clickhouse_tables.sql"
                    " again, which adds the columns that are missing and changes nothing else"
                )
            if refused is not None:
                raise refused
            # with a status of 200 an exception may still end the body
            if "X-ClickHouse-Exception-Code" in response.headers:
                raise Unavailable(f"ClickHouse failed after it had begun to answer: {response.text[:200]}")
            return response.text.strip()
