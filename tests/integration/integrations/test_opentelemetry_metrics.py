"""The schema through the real OpenTelemetry SDK: the same names, labels and counts."""

from __future__ import annotations

from collections.abc import Iterator

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint

from killswitch.router import CohortMetrics, Outcome
from killswitch.router.instruments import LATENCY_BUCKETS_MS
from killswitch.router.integrations.opentelemetry import OpenTelemetryInstruments
from killswitch.token_usage import KINDS
from tests.doubles.held_split import armed, router_over

LABELS = {"model": "model-new", "cohort": "canary"}


def points(reader: InMemoryMetricReader) -> Iterator[tuple[str, NumberDataPoint | HistogramDataPoint]]:
    data = reader.get_metrics_data()
    assert data is not None
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    yield metric.name, point  # type: ignore[misc]  # exponential histograms are not used


def counter(reader: InMemoryMetricReader, name: str, **labels: str) -> float | None:
    found = [point for at, point in points(reader) if at == name and point.attributes == {**LABELS, **labels}]
    assert len(found) <= 1
    assert not found or isinstance(found[0], NumberDataPoint)
    return found[0].value if found else None  # type: ignore[union-attr]


def bench() -> tuple[CohortMetrics, InMemoryMetricReader]:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    router, _ = router_over(armed())
    return CohortMetrics(router, instruments=OpenTelemetryInstruments(provider.get_meter("test"))), reader


def test_every_counter_stands_at_0_before_the_first_request() -> None:
    _, reader = bench()
    for twin in ("", "judged_"):
        for outcome in Outcome:
            assert counter(reader, f"llm_{twin}requests", outcome=str(outcome)) == 0
        assert counter(reader, f"llm_{twin}refusals") == counter(reader, f"llm_{twin}thumbs_down") == 0
    for kind in KINDS:
        assert counter(reader, "llm_tokens", kind=kind) == 0
    assert counter(reader, "llm_unmetered_requests") == 0


def test_billed_tokens_are_counted_by_kind() -> None:
    metrics, reader = bench()
    for usage in ({"input_tokens": 7, "cache_read_input_tokens": 5, "output_tokens": 3}, None):
        with metrics.request(armed().canary_route) as request:
            request.answer({"usage": usage})
    assert [counter(reader, "llm_tokens", kind=kind) for kind in KINDS] == [7, 5, 0, 3, 0]
    assert counter(reader, "llm_unmetered_requests") == 1


def test_every_kind_of_event_is_counted_with_its_judged_twin() -> None:
    """Requests, refusals, tokens, thumbs-down and latency are counted, each with its judged twin."""
    metrics, reader = bench()
    for _ in range(2):
        with metrics.request(armed().canary_route, user="u") as request:
            request.refused()
            request.tokens(9)
            request.thumbs_down()
    for twin, count in (("", 2), ("judged_", 1)):
        assert counter(reader, f"llm_{twin}requests", outcome="refused") == count
        assert counter(reader, f"llm_{twin}refusals") == counter(reader, f"llm_{twin}thumbs_down") == count
    histograms = {name: point for name, point in points(reader) if isinstance(point, HistogramDataPoint)}
    assert histograms["llm_latency_ms"].count == 2
    assert histograms["llm_judged_latency_ms"].count == 1
    assert histograms["llm_completion_tokens"].sum == 18
    assert tuple(histograms["llm_latency_ms"].explicit_bounds) == LATENCY_BUCKETS_MS
