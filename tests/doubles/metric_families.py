"""Metrics pages of every family that is known, of counters that grow evenly: as a history, or served and scraped.

Names and labels are those of the recorded pages (`tests/unit/rules/expositions`), and of LiteLLM 1.110's exporter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Self

RATE = {"old": 380.0, "new": 20.0}
ERRORS = {"old": 0.004, "new": 0.25}
_UP_TO = {"0.25": 0.2, "0.5": 0.55, "1.0": 0.85, "1.5": 0.93, "2.0": 0.97, "4.0": 0.99, "8.0": 1.0, "+Inf": 1.0}
Page = Mapping[str, float]
"""Values by series, ``name{labels}``."""


def _histogram(name: str, labels: str, requests: float, scale: float = 1.0) -> Iterator[tuple[str, float]]:
    for edge, share in _UP_TO.items():
        le = edge if edge == "+Inf" else f"{float(edge) * scale:g}"
        yield f'{name}_bucket{{{labels},le="{le}"}}', requests * share
    yield f"{name}_count{{{labels}}}", requests
    yield f"{name}_sum{{{labels}}}", requests * 0.6 * scale


def _sdk(requests: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    for model, cohort in (("old", "control"), ("new", "canary")):
        labels = f'model="{model}",cohort="{cohort}"'
        for prefix in ("llm_", "llm_judged_"):
            failed = requests[model] * ERRORS[model]
            yield f'{prefix}requests_total{{{labels},outcome="ok"}}', requests[model] - failed
            yield f'{prefix}requests_total{{{labels},outcome="error"}}', failed
            yield f"{prefix}refusals_total{{{labels}}}", requests[model] * 0.01
            yield f"{prefix}thumbs_down_total{{{labels}}}", requests[model] * 0.005
            yield from _histogram(f"{prefix}latency_ms", labels, requests[model], 1000.0)


def _litellm(requests: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    for model, served in requests.items():
        labels = f'requested_model="{model}",team="None",end_user="None"'
        yield f"litellm_proxy_total_requests_metric_total{{{labels}}}", served
        yield f'litellm_proxy_failed_requests_metric_total{{{labels},exception_status="500"}}', served * ERRORS[model]
        yield from _histogram("litellm_llm_api_latency_metric", f'requested_model="{model}",model="{model}-1"', served)


def _vllm(requests: Mapping[str, float], model: str) -> Iterator[tuple[str, float]]:
    failed = requests[model] * ERRORS[model]
    for status, count in (("2xx", requests[model] - failed), ("5xx", failed)):
        yield f'http_requests_total{{handler="/v1/chat/completions",method="POST",status="{status}"}}', count
    yield 'http_requests_total{handler="/health",method="GET",status="2xx"}', requests[model]
    yield from _histogram("vllm:e2e_request_latency_seconds", f'engine="0",model_name="{model}"', requests[model])


def _vllm_router(requests: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    for model, served in requests.items():
        for status, share in (("success", 1 - ERRORS[model]), ("error", ERRORS[model])):
            labels = f'model="{model}",server="http://10.0.0.1:8000",status="{status}"'
            yield from _histogram("vllm:request_latency_seconds", labels, served * share)


def _duration(name: str) -> Callable[[Mapping[str, float]], Iterator[tuple[str, float]]]:
    def page(requests: Mapping[str, float]) -> Iterator[tuple[str, float]]:
        for model, served in requests.items():
            for error, share in (("", 1 - ERRORS[model]), ("timeout", ERRORS[model])):
                labels = f'gen_ai_operation_name="chat",gen_ai_request_model="{model}",error_type="{error}"'
                yield from _histogram(name, labels, served * share)

    return page


def _own(requests: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    for model, variant in (("old", "stable"), ("new", "canary")):
        for status, share in (("200", 1 - ERRORS[model]), ("503", ERRORS[model])):
            yield f'chat_requests_total{{variant="{variant}",status="{status}"}}', requests[model] * share
        yield from _histogram("chat_latency_seconds", f'variant="{variant}"', requests[model])


# by job, as Prometheus labels what it scrapes of it
FAMILIES: Mapping[str, Callable[[Mapping[str, float]], Iterator[tuple[str, float]]]] = {
    "cohort-labels": _sdk,
    "litellm": _litellm,
    "vllm": lambda requests: _vllm(requests, "old"),
    "vllm-canary": lambda requests: _vllm(requests, "new"),
    "vllm-router": _vllm_router,
    "opentelemetry-genai": _duration("gen_ai_client_inference_duration_seconds"),
    "envoy-ai-gateway": _duration("gen_ai_server_request_duration_seconds"),
    "own": _own,
}


def page_at(job: str, seconds: float) -> Page:
    """The page of a job that has been up for so long."""
    requests = {model: rate * seconds for model, rate in RATE.items()}
    return {series: float(int(value)) for series, value in FAMILIES[job](requests)}


def history(jobs: Mapping[str, str], *, until: float, seconds: float, interval: float) -> str:
    """What Prometheus would have scraped, as a recording; ``jobs``: by name of a job, its instance."""
    lines = []
    for job, instance in jobs.items():
        for at in range(int(seconds // interval), -1, -1):
            stamp = until - at * interval
            for series, value in page_at(job, seconds - at * interval + 1).items():
                lines.append(f'{series[:-1]},job="{job}",instance="{instance}"}} {value:.0f} {stamp:.3f}')
    return "\n".join([*lines, "# EOF", ""])


class ServedFamily:
    """A small exporter of one job's page, which has been up since ``began`` (Unix seconds)."""

    def __init__(self, job: str, began: float) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = page_at(job, time.time() - began + 1)
                body = "".join(f"{series} {value:.0f}\n" for series, value in page.items()).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing: tests read no log of it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
