"""One query, one answer: asks Prometheus' API through `prometheus-api-client`; whatever goes wrong is a reason.

The library is given a session of ours, because its own retries turn a timeout of 3 s into 18 s, and it drops the
warnings that mark a partial answer.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from prometheus_api_client import PrometheusConnect

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, BadSettings
from killswitch.model import Reason, Unreadable
from killswitch.net.bounded_http import NoAnswer, find_no_answer
from killswitch.sources.asks import Ask, Free
from killswitch.sources.columns import Column
from killswitch.sources.prometheus import answers
from killswitch.sources.prometheus.answers import Unusable
from killswitch.sources.prometheus.queries import Query
from killswitch.sources.prometheus.session import PrometheusSession
from killswitch.sources.prometheus.user_queries import UserQuery

_log = logging.getLogger(__name__)
_Found = TypeVar("_Found")

_UNKNOWN_START: Final = datetime.fromtimestamp(0, tz=UTC)  # of a range; `params` says it to the millisecond


class PrometheusClient:
    """Asks the server at ``url`` (``http(s)://host:port/prefix``). Raises BadSettings for a URL that is none."""

    def __init__(self, url: str, session: PrometheusSession) -> None:
        _check_url(url)
        self._session = session
        self._library = PrometheusConnect(url=url.rstrip("/"), session=session, method="POST")
        # a parsed answer takes ten times its bytes
        self._one_parsed = threading.Lock()

    def close(self) -> None:
        self._library.close()

    def columns(
        self, query: Query | UserQuery | Free, text: str, ticks: Sequence[float], deadline: Deadline
    ) -> Mapping[Ask, Column]:
        asks: Sequence[Ask] = [query] if isinstance(query, Free) else list(query.cells.values())
        step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0

        def points() -> Mapping[Ask, Column]:
            body = self.body(text, ticks, step, deadline)
            with self._one_parsed:
                return self._parsed(body, numbers)

        def numbers(body: bytes) -> Mapping[Ask, Column]:
            rows = answers.rows(body, self._session.showable)
            if isinstance(query, Free):
                return {query: answers.single(rows, ticks, step)}
            return answers.grouped(query, rows, ticks, step)

        found = self.guarded(points, deadline)
        return dict.fromkeys(asks, found) if isinstance(found, Unreadable) else found

    def body(self, text: str, ticks: Sequence[float], step: float, deadline: Deadline) -> bytes:
        params = {"timeout": f"{max(deadline.remaining(), 0.001):.3f}"}
        with self._session.deadline(deadline):
            if len(ticks) == 1:
                body: bytes = self._library.custom_query(text, {**params, "time": f"{ticks[0]:.3f}"})
            else:
                params |= {"start": f"{ticks[0]:.3f}", "end": f"{ticks[-1]:.3f}", "step": f"{step:.3f}"}
                body = self._library.custom_query_range(text, _UNKNOWN_START, _UNKNOWN_START, "", params)
        return body

    def rows_at(self, text: str, at: float | None, deadline: Deadline) -> Sequence[Any]:
        """At the server's own now if ``at`` is None."""
        with self._session.deadline(deadline):
            body = self._library.custom_query(text, {} if at is None else {"time": f"{at:.3f}"})
        return self._parsed(body, lambda said: answers.rows(said, self._session.showable))

    def listed(
        self, label: str | None, match: str | None, span: tuple[float, float], deadline: Deadline
    ) -> frozenset[str]:
        """The values of ``label`` in the time of ``span``, or the names of all labels where it is None.

        ``match``: a selector; of the series that it selects alone.
        """
        params: dict[str, Any] = {"start": f"{span[0]:.3f}", "end": f"{span[1]:.3f}"}
        if match is not None:
            params["match[]"] = match
        with self._session.deadline(deadline):
            if label is None:
                said: Any = self._library.get_label_names(params)
            else:
                said = self._library.get_label_values(label, params)
        return self._parsed(said["result"], lambda body: answers.listed(body, self._session.showable))

    def _parsed(self, body: bytes, parse: Callable[[bytes], _Found]) -> _Found:
        """Raises Unusable as ``parse`` does, of an answer that repeats no credential."""
        try:
            return parse(body)
        except Unusable:
            parse(self._session.showable(body))
            raise Unusable(Reason.GARBAGE, "the answer cannot be read, and it repeats a credential") from None

    def instant(self, text: str, at: float | None, deadline: Deadline) -> float | Unreadable:
        """One number of a query that always gives one and asks no store; at the server's own now if ``at`` is None."""

        def value() -> float:
            rows: Sequence[Any]
            try:
                rows = self.rows_at(text, at, deadline)
            except Unusable as unusable:
                if not unusable.partial:
                    raise
                rows = unusable.partial
            try:
                found = answers.number(rows[0]["value"][1])
            except (LookupError, TypeError, Unusable):
                raise Unusable(Reason.GARBAGE, f"the answer to {text} holds no number") from None
            if not 0 < found < 1e11:
                raise Unusable(Reason.GARBAGE, f"the answer to {text} is {found!r}")
            return found

        return self.guarded(value, deadline)

    def guarded(self, ask: Callable[[], _Found], deadline: Deadline) -> _Found | Unreadable:
        """The answer, or the reason why there is none; raises nothing."""
        try:
            return ask()
        except Unusable as unusable:
            return unusable.unreadable
        except Exception as error:  # noqa: BLE001  an error is not data
            no_answer = find_no_answer(error)
            if no_answer is None:
                _log.exception("unexpected error while reading the metric store")
                return Unreadable(Reason.INTERNAL_ERROR, f"reading failed ({type(error).__name__}); see the log")
            if isinstance(no_answer.failure, AccessDenied):
                return Unreadable(Reason.SOURCE_REFUSED, str(no_answer))
            late = deadline.expired or _is_timeout(no_answer)
            return Unreadable(Reason.SOURCE_TIMEOUT if late else Reason.SOURCE_DOWN, str(no_answer))


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        # the URL is not repeated, because a part in the wrong place may be a secret
        raise BadSettings(["a Prometheus server is given as http(s)://host:port/prefix, without query and fragment"])
    if parts.username is not None:
        raise BadSettings(["put no user or password into the Prometheus URL; give them as files or variables"])


def _is_timeout(error: NoAnswer) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TimeoutError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
