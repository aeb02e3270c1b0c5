"""Cohort metrics: which series there are before the first request, and that they fail at nobody's expense."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from killswitch.model import CohortLabel
from killswitch.router import CohortMetrics, FeedbackTokens, Outcome
from killswitch.router.instruments import PrometheusInstruments
from tests.doubles.held_split import armed, router_over, tripped
from tests.unit.router.counting_bench import CANARY, CONTROL, KEY, Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_every_label_combination_is_0_before_the_first_request(bench: Bench) -> None:
    for route in (CONTROL, CANARY):
        for prefix in ("llm_", "llm_judged_"):
            for outcome in Outcome:
                assert bench.value(f"{prefix}requests_total", route, outcome=str(outcome)) == 0.0
            assert bench.value(f"{prefix}latency_ms_count", route) == 0.0
            assert bench.value(f"{prefix}refusals_total", route) == 0.0
            assert bench.value(f"{prefix}thumbs_down_total", route) == 0.0
        assert bench.value("llm_completion_tokens_count", route) == 0.0


def test_the_names_and_labels_are_exactly_the_schema(bench: Bench) -> None:
    names = {
        line.split("{")[0]
        for line in generate_latest(bench.registry).decode().splitlines()
        if not line.startswith("#") and "_created" not in line
    }
    assert names == {
        *(f"llm_{twin}{name}_total" for twin in ("", "judged_") for name in ("requests", "refusals", "thumbs_down")),
        *(f"llm_{twin}latency_ms_{part}" for twin in ("", "judged_") for part in ("bucket", "count", "sum")),
        *(f"llm_completion_tokens_{part}" for part in ("bucket", "count", "sum")),
        *("llm_tokens_total", "llm_unmetered_requests_total"),
    }


def test_a_new_model_is_0_at_the_next_scrape(bench: Bench) -> None:
    """A new model is exposed as 0 at the next scrape, before its first request."""
    bench.held.current = tripped()
    newer = armed().between("model-older", "model-newest")
    bench.held.current = newer
    text = generate_latest(bench.registry).decode()
    assert 'llm_requests_total{cohort="canary",model="model-newest",outcome="error"} 0.0' in text
    assert 'llm_judged_refusals_total{cohort="control",model="model-older"} 0.0' in text


def test_a_request_of_one_cohort_declares_the_others_new_model(bench: Bench) -> None:
    bench.held.current = armed(revision=99).between("model-old", "model-newest")
    with bench.metrics.request(bench.held.current.control_route, user="u"):
        pass
    fresh = bench.held.current.canary_route
    assert ("canary", "model-newest") in {(str(c), m) for c, m in bench.metrics._series}
    assert bench.value("llm_requests_total", fresh, outcome="ok") == 0.0


class Broken:
    def series(self, cohort: CohortLabel, model: str) -> Any:
        raise OSError("disk full")

    def shadow_pairs(self, rollout: str) -> Any:
        raise OSError("disk full")

    def before_scrape(self, declare: Callable[[], None]) -> None:
        pass


def test_instruments_that_fail_do_not_fail_the_request(caplog: pytest.LogCaptureFixture) -> None:
    router, _ = router_over(armed())
    metrics = CohortMetrics(router, instruments=Broken(), tokens=FeedbackTokens([KEY]))
    for _ in range(3):
        with metrics.request(CANARY, user="u") as request:
            request.thumbs_down()
    assert metrics.thumbs_down(CANARY)
    assert len(caplog.records) == 1


def test_many_rollouts_of_one_process_share_one_registry() -> None:
    registry = CollectorRegistry()
    for _ in range(3):
        CohortMetrics(router_over(armed())[0], instruments=PrometheusInstruments.of(registry))


def test_a_route_without_a_model_declares_nothing(bench: Bench) -> None:
    bench.held.current = armed().between("", "model-new")
    bench.metrics.declare()
    assert ("control", "") not in {(str(c), m) for c, m in bench.metrics._series}
