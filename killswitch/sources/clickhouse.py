"""ClickHouse as a metric source: a table with one row a request, over its HTTP interface."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, BadSettings, Refused, Unavailable
from killswitch.model import Readings, Reason, Unreadable, Want
from killswitch.net.bounded_http import BoundedSession, Credentials, NoAnswer, excerpt, refusal
from killswitch.net.credentials import TLS
from killswitch.sources.rows.questions import RowCell, RowQuestion, cells_of
from killswitch.sources.rows.reading import RowReader
from killswitch.sources.rows.request_table import RequestTable

_MOST_BYTES: Final = 64 * 1024 * 1024
_MOST_ROWS: Final = 400_000
LATE_AFTER: Final = 8.0
_TIMEOUTS: Final = (b"Code: 159", b"Code: 160", b"Code: 209")


class ClickHouseRows:
    """A `Source`. ``url`` is ``http(s)://host:8123/table`` or ``…/database.table``, with ``?late_after=8`` (seconds).

    ``timeout`` is the total of one query in seconds. Raises BadSettings for a URL of another form.
    """

    def __init__(
        self,
        url: str,
        *,
        scrape_interval: float = 15.0,
        credentials: Credentials | None = None,
        tls: TLS | None = None,
        proxy: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        self._server, self._table, late_after = _parts(url)
        self._session = BoundedSession(
            timeout=timeout, max_body=_MOST_BYTES, credentials=credentials, tls=tls, proxy=proxy
        )
        self._timeout = timeout
        self._limits = threading.local()  # the deadline of the call that is under way in this thread
        self._reader = RowReader(self._table, self._cells, interval=scrape_interval, late_after=late_after)

    def close(self) -> None:
        self._session.close()

    def now(self, deadline: Deadline) -> float:
        """The server's own clock, to a second. Raises Unavailable or AccessDenied."""
        found = self._rows("SELECT toUnixTimestamp(now())", deadline)
        if isinstance(found, Unreadable):
            raise (AccessDenied if found.reason is Reason.SOURCE_REFUSED else Unavailable)(found.detail)
        try:
            return float(found[0][0])
        except (LookupError, TypeError, ValueError):
            raise Unavailable("the server's answer holds no time") from None

    def read(self, wants: Sequence[Want], tick: float, deadline: Deadline) -> Readings:
        return self.read_back(wants, [tick], deadline)[tick]

    def read_back(self, wants: Sequence[Want], ticks: Sequence[float], deadline: Deadline) -> Mapping[float, Readings]:
        self._limits.deadline = deadline
        return self._reader.read_back(wants, ticks)

    def _cells(self, question: RowQuestion) -> Sequence[RowCell] | Unreadable:
        rows = self._rows(sql(question, self._table), self._limits.deadline)
        return rows if isinstance(rows, Unreadable) else cells_of(question, rows)

    def _rows(self, text: str, deadline: Deadline) -> Sequence[Any] | Unreadable:
        """The rows of a whole answer, or why there is none."""
        settings = {
            "wait_end_of_query": "1",  # without it a query that fails half-way answers 200 and a part of its rows
            "timeout_before_checking_execution_speed": "0",  # else the first 10 s are estimated, not measured
            "max_execution_time": str(max(1, round(min(self._timeout, deadline.remaining())))),
            "max_result_rows": str(_MOST_ROWS),
            "result_overflow_mode": "throw",
        }
        try:
            with self._session.deadline(deadline):
                response = self._session.post(self._server, params=settings, data=f"{text} FORMAT JSONCompact".encode())
        except NoAnswer as error:
            if isinstance(error.failure, AccessDenied):
                return Unreadable(Reason.SOURCE_REFUSED, str(error))
            late = deadline.expired or "in time" in str(error)
            return Unreadable(Reason.SOURCE_TIMEOUT if late else Reason.SOURCE_DOWN, str(error))
        failure = refusal(response)
        if failure is not None:
            if any(code in response.content[:200] for code in _TIMEOUTS):
                return Unreadable(Reason.SOURCE_TIMEOUT, str(failure))
            refused = isinstance(failure, Refused) or b"DB::Exception" in response.content
            return Unreadable(Reason.SOURCE_REFUSED if refused else Reason.SOURCE_DOWN, str(failure))
        return _whole(response.content)


def _whole(body: bytes) -> Sequence[Any] | Unreadable:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return Unreadable(Reason.GARBAGE, f"the answer is not JSON but {len(body)} bytes of something else")
    rows = found.get("data") if isinstance(found, dict) else None
    if not isinstance(rows, list):
        return Unreadable(Reason.GARBAGE, "the answer holds no rows; is this ClickHouse's HTTP port?")
    if found.get("rows") != len(rows):
        said = excerpt(str(found.get("rows")), 20)
        return Unreadable(Reason.PARTIAL_ANSWER, f"the answer has {len(rows)} rows and says that it has {said}")
    return rows


def sql(question: RowQuestion, table: RequestTable) -> str:
    """A question in ClickHouse's SQL. It holds numbers and the names of columns, and no value of a rule file."""
    start, end = question.bounds[0], question.bounds[-1]
    at = f"toInt64({table.time})"
    if table.inserted:
        at = f"greatest(toInt64({table.time}), toInt64({table.inserted}) - {question.late_after})"
    columns = (table.rollout, table.cohort, table.model, table.outcome, table.latency_ms, table.refused)
    names = ("r", "c", "m", "o", "l", "f", "d")
    taken = (*columns, table.thumbs_down)
    inner = f"{at} AS at, " + ", ".join(f"{one} AS {name}" for one, name in zip(taken, names, strict=True))
    source = (
        f"(SELECT {inner}{f', {table.user} AS u' if question.judged else ''} FROM {table.name} "  # noqa: S608  names alone
        f"PREWHERE {table.time} >= {question.earliest} AND {table.time} < {end} WHERE {at} < {end}"
        f"{'' if question.judged else f' AND {at} >= {start}'})"
    )
    if question.judged:
        firsts = ", ".join(f"argMin({name}, at) AS first_{name}" for name in names[1:])
        alone = "if(u = '', rowNumberInAllBlocks() + 1, 0)"
        renamed = ", ".join(f"first_{name} AS {name}" for name in names[1:])
        source = (
            f"(SELECT r, {renamed}, first_at AS at FROM (SELECT r, min(at) AS first_at, {firsts} FROM {source} "  # noqa: S608
            f"GROUP BY r, u, intDiv(at + toInt64(sipHash64(u) % 300000), 300000), {alone}) WHERE first_at >= {start})"
        )
    # no lambdas: 18.16 loses a column that one captures behind PREWHERE
    slot = _ladder([f"at < {bound}" for bound in question.bounds[1:]])
    edge = f"if(l < 0, -1, {_ladder([f'l <= {one!r}' for one in question.edges])})" if question.edges else "-1"
    return (
        f"SELECT {slot} AS slot, r, c, m, o, {edge} AS edge, "  # noqa: S608
        f"count(), sum(f), sum(d) FROM {source} GROUP BY slot, r, c, m, o, edge"
    )


def _ladder(conditions: Sequence[str]) -> str:
    """The number of the first condition that holds, from 0; without any, how many there are."""
    rungs = ", ".join(f"{condition}, {at}" for at, condition in enumerate(conditions))
    return f"multiIf({rungs}, {len(conditions)})"


def _parts(url: str) -> tuple[str, RequestTable, float]:
    parts = urlsplit(url)
    query = parse_qs(parts.query, keep_blank_values=True)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None or parts.fragment:
        raise BadSettings(["ClickHouse is given as clickhouse+http(s)://host:8123/table, without user and password"])
    try:
        late_after = float(query.pop("late_after", [str(LATE_AFTER)])[0])
    except ValueError:
        late_after = -1.0
    if query or not 0.0 <= late_after <= 600.0:
        raise BadSettings(["after ? a ClickHouse URL may have only late_after, from 0 to 600 (seconds)"])
    name = parts.path.strip("/") or RequestTable.__dataclass_fields__["name"].default
    return f"{parts.scheme}://{parts.netloc}/", RequestTable(name=str(name)), late_after
