"""A metric store that answers in this process, and what is read from it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import requests
from requests.adapters import HTTPAdapter

from killswitch.deadline import Deadline
from killswitch.model import (
    Cohort,
    Matcher,
    QuantileSignal,
    QuerySignal,
    RatioSignal,
    Reading,
    Reason,
    Selector,
    Unreadable,
    Want,
)
from killswitch.sources.prometheus.session import PrometheusSession
from killswitch.sources.prometheus.source import Prometheus

TICK = 1_770_000_000.0
COHORTS = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}
ERRORS = Want("r", "errors", "window", RatioSignal((Selector("errors_total"),), (Selector("all_total"),)), COHORTS, 300)
LATENCY = Want("r", "p95", "window", QuantileSignal(Selector("latency_bucket"), 0.95), COHORTS, 300)
FREE = Want("r", "free", "window", QuerySignal("free_canary", "free_control"), COHORTS, 300)
WANTS = (ERRORS, LATENCY, FREE)

Answer = Callable[[str], tuple[int, bytes] | tuple[int, bytes, dict[str, str]]]


class InProcess(HTTPAdapter):
    """Answers queries without a network: query -> status and body."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[dict[str, list[str]]] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        body = request.body.decode() if isinstance(request.body, bytes) else str(request.body)
        form = parse_qs(body)
        self.asked.append(form)
        response = requests.Response()
        response.status_code, content, *headers = self.answer(form["query"][0])
        response.headers.update(*headers)
        response.raw = io.BytesIO(content)
        response.url = request.url or ""
        response.request = request
        return response


class InProcessSession(PrometheusSession):
    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.transport = InProcess(answer)

    def get_adapter(self, url: str | bytes) -> HTTPAdapter:
        return self.transport


def read(answer: Answer, *wants: Want) -> dict[str, Reading]:
    source = Prometheus("http://in-process:9090", session=InProcessSession(answer), parallel=1)
    try:
        return {key[1]: reading for key, reading in source.read(wants or WANTS, TICK, Deadline(10)).items()}
    finally:
        source.close()


def reasons(answer: Answer, *wants: Want) -> set[Reason | None]:
    return {
        side.reason if isinstance(side, Unreadable) else None
        for reading in read(answer, *wants).values()
        for side in (reading.canary, reading.control)
    }


def good_rows(query: str) -> list[dict[str, Any]]:
    """What a healthy Prometheus would say: 5 errors of 500 requests in each cohort."""
    if query.startswith("free"):
        return [{"metric": {}, "value": [TICK, "7"]}]
    cohorts = [{"cohort": cohort.value} for cohort in Cohort]
    if query.startswith("max by"):  # how often a counter fell
        bucket = {"le": "+Inf"} if "latency" in query else {}
        return [{"metric": {**labels, **bucket}, "value": [TICK, "0"]} for labels in cohorts]
    if "count_over_time" in query:
        bucket = {"le": "+Inf"} if "latency" in query else {}
        return [{"metric": {**labels, **bucket}, "value": [TICK, "2"]} for labels in cohorts]
    if "latency" in query:
        edges = {"0.1": "100", "0.5": "400", "+Inf": "500"}
        return [
            {"metric": {**labels, "le": edge}, "value": [TICK, count]}
            for labels in cohorts
            for edge, count in edges.items()
        ]
    return [{"metric": labels, "value": [TICK, "5" if "errors" in query else "500"]} for labels in cohorts]


def envelope(rows: Any, **more: Any) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": rows}, **more}).encode()
