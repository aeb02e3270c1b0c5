"""Pages as real clients write them, read by the `scrape` source and through a real Prometheus: the same counts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeHistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from killswitch.deadline import Deadline
from killswitch.model import (
    Buckets,
    Cohort,
    Counts,
    Matcher,
    Measurement,
    QuantileSignal,
    Range,
    RatioSignal,
    Reason,
    Selector,
    Unreadable,
    Want,
)
from killswitch.sources import Source
from killswitch.sources.opening import open_source
from tests.servers.etcd import wait_until
from tests.servers.prometheus import PrometheusServer

COHORTS = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}
ERRORS = RatioSignal((Selector("llm_errors_total"),), (Selector("llm_requests_total"),))
LATENCY = QuantileSignal(Selector("llm_latency_seconds_bucket"), 0.95, 1.0)
WAITING = QuantileSignal(Selector("llm_waiting_seconds_bucket"), 0.95, 1.0)
WANTS = {
    name: Want("r", name, "window", signal, COHORTS, 30.0, Range.WINDOW)
    for name, signal in (("errors", ERRORS), ("latency", LATENCY), ("waiting", WAITING))
}


class Waiting(Collector):
    """What waits in a queue now, by age."""

    def collect(self) -> Iterator[GaugeHistogramMetricFamily]:
        family = GaugeHistogramMetricFamily("llm_waiting_seconds", "age of what waits", labels=["cohort"])
        for cohort in Cohort:
            family.add_metric([cohort.value], [("1.0", 3.0), ("+Inf", 5.0)], 7.0)
        yield family


class Page:
    """A service whose page is in the format that is asked for, with exemplars and `_created` samples."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.requests = Counter("llm_requests", "requests", ["cohort"], registry=registry)
        self.errors = Counter("llm_errors", "errors", ["cohort"], registry=registry)
        self.latency = Histogram("llm_latency_seconds", "s", ["cohort"], buckets=(0.5, 1, 2), registry=registry)
        registry.register(Waiting())

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                # to the daemon, too, the page that holds the most
                accept = "application/openmetrics-text; version=1.0.0"
                encoder, content_type = choose_encoder(accept)
                body = encoder(registry)
                self.send_response(200)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.serve(7, 2)

    def serve(self, requests: int, errors: int) -> None:
        for cohort in Cohort:
            for _ in range(requests):
                self.requests.labels(cohort.value).inc(exemplar={"trace_id": 'a b#{}"1', "kind": "x_total"})
                self.latency.labels(cohort.value).observe(0.7, exemplar={"trace_id": "7"})
            self.errors.labels(cohort.value).inc(errors, exemplar={"trace_id": "# 99"})


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    page = Page()
    yield page
    page.server.shutdown()


@pytest.fixture(scope="module")
def prometheus(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    job = {"job_name": "llm", "static_configs": [{"targets": [f"127.0.0.1:{page.server.server_port}"]}]}
    folder = tmp_path_factory.mktemp("openmetrics")
    flags = ["--enable-feature=exemplar-storage"]
    with PrometheusServer(folder, scrape_configs=[job], scrape_interval="500ms", flags=flags) as server:
        yield server


@pytest.fixture(params=["prometheus", "scrape"])
def source(request: pytest.FixtureRequest, page: Page, tmp_path: Path) -> Iterator[Source]:
    if request.param == "scrape":
        url = f"scrape+http://127.0.0.1:{page.server.server_port}"
    else:
        url = f"prometheus+{request.getfixturevalue('prometheus').url}"
    source = open_source(url, scrape_interval=0.5, samples=tmp_path / "samples.sqlite")
    yield source
    source.close()


def canary(source: Source, name: str) -> Measurement:
    tick = source.now(Deadline(5))
    return source.read([WANTS[name]], tick, Deadline(5))[WANTS[name].key].canary


def test_exemplars_and_created_samples_count_nothing(source: Source, page: Page) -> None:
    """Of 40 requests 10 failed: a time in `_created`, or an exemplar's value, would be a million requests."""
    wait_until(lambda: isinstance(canary(source, "errors"), Counts), "two scrapes")
    wait_until(lambda: isinstance(canary(source, "latency"), Buckets), "two scrapes of the histogram")
    page.serve(40, 10)
    wait_until(lambda: _settled(source), "the requests are counted")
    found = canary(source, "errors")
    assert isinstance(found, Counts)
    assert found.events / found.trials == pytest.approx(0.25, rel=0.15)
    assert found.trials < 120
    slow = canary(source, "latency")
    assert isinstance(slow, Buckets)
    assert slow.bounds[:3] == (0.5, 1.0, 2.0)
    assert slow.counts[0] == 0.0
    assert slow.counts[1] == slow.counts[-1]


def _settled(source: Source) -> bool:
    found = canary(source, "errors")
    return isinstance(found, Counts) and found.trials >= 38


def test_a_histogram_of_gauge_type_is_refused_plainly(source: Source) -> None:
    """What waits in a queue now is no request, also while it only grows."""
    refused: Callable[[], bool] = lambda: _reason(canary(source, "waiting")) is Reason.GARBAGE  # noqa: E731
    wait_until(refused, "the histogram is refused")
    found = canary(source, "waiting")
    assert isinstance(found, Unreadable)
    assert "llm_waiting_seconds_gcount" in found.detail
    assert "gauge type" in found.detail
    assert isinstance(canary(source, "latency"), Buckets) or _reason(canary(source, "latency")) is Reason.NO_DATA


def _reason(found: Measurement) -> Reason | None:
    return found.reason if isinstance(found, Unreadable) else None
