"""A real Prometheus behind a server that spoils its answers as told: what a broken proxy or store may send.

Every lie but `Lie.REMARKS` makes an answer that must not be judged.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from tests.doubles.http_double import Answer, HttpDouble, Received

_JSON = {"Content-Type": "application/json"}
_HUGE = 9 * 1024 * 1024  # bytes; answers are read up to 8 MiB


class Lie(StrEnum):
    TRUNCATED = "truncated JSON"
    UNAVAILABLE = "503"
    REDIRECT = "a redirect elsewhere"
    HUGE = "a huge body"
    ERROR = "200 with status error"
    WARNING = "a partial answer"
    PARTIAL = "a partial answer in another mark"
    HTML = "HTML"
    NAN = "NaN for every number"
    EMPTY = "no series"
    REMARKS = "remarks beside a good answer"


class LyingPrometheus(HttpDouble):
    """Stands before the Prometheus at ``url``; honest until ``lie`` is set. Use as a context manager."""

    def __init__(self, url: str) -> None:
        super().__init__(self._serve)
        self._truth = url
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.lie: Lie | None = None

    def _serve(self, request: Received) -> Answer:
        self.received.clear()  # queries for minutes are not worth their memory
        answer = self._ask(request)
        return answer if self.lie is None or answer.status != 200 else _LIES[self.lie](answer)

    def _ask(self, request: Received) -> Answer:
        headers = {name: value for name, value in request.headers.items() if name in ("content-type", "accept")}
        url = f"{self._truth}{request.path}"
        try:
            question = urllib.request.Request(url, request.body or None, headers, method=request.method)
            with self._opener.open(question, timeout=10) as answer:
                return Answer(answer.status, answer.read(), _JSON)
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read(), _JSON)
        except OSError:
            return Answer(lost=True)  # nobody is behind this server


def _with(**fields: Any) -> Callable[[Answer], Answer]:
    return lambda answer: Answer(200, json.dumps({**json.loads(answer.body), **fields}).encode(), _JSON)


def _results(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Answer], Answer]:
    def lie(answer: Answer) -> Answer:
        document = json.loads(answer.body)
        data = document.get("data")
        if isinstance(data, dict) and data.get("resultType") in ("vector", "matrix"):
            data["result"] = change(data["result"])
        return Answer(200, json.dumps(document).encode(), _JSON)

    return lie


def _nan(result: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for row in result:
        for pair in [row["value"]] if "value" in row else row.get("values", []):
            pair[1] = "NaN"
    return result


_LIES: dict[Lie, Callable[[Answer], Answer]] = {
    Lie.TRUNCATED: lambda answer: Answer(200, answer.body[: len(answer.body) // 2], _JSON),
    Lie.UNAVAILABLE: lambda _: Answer(503, b"<html>upstream is unwell</html>", {"Content-Type": "text/html"}),
    Lie.REDIRECT: lambda _: Answer(302, b"", {"Location": "http://127.0.0.1:9/api/v1/query"}),
    Lie.HUGE: lambda answer: Answer(200, answer.body + b" " * _HUGE, _JSON),
    Lie.ERROR: lambda _: Answer(200, b'{"status":"error","errorType":"execution","error":"out of memory"}', _JSON),
    Lie.WARNING: _with(warnings=["2 of 3 stores did not answer"]),
    Lie.PARTIAL: _with(isPartial=True),
    Lie.HTML: lambda _: Answer(200, b"<html><body>please sign in</body></html>", {"Content-Type": "text/html"}),
    Lie.NAN: _results(_nan),
    Lie.EMPTY: _results(lambda _: []),
    Lie.REMARKS: _with(infos=["PromQL info: a remark"], warnings=["PromQL info: what 2.48 to 2.53 called a warning"]),
}
