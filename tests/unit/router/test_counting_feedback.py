"""Thumbs count for the cohort that served, once, and only where their request was judged."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from killswitch.router import CohortMetrics, FeedbackTokens, Route
from killswitch.router.instruments import PrometheusInstruments
from killswitch.router.route_types import RouteReason
from tests.doubles.held_split import armed, control_only, router_over, tripped
from tests.unit.router.counting_bench import CANARY, CONTROL, KEY, Bench, Shared, Unreachable


@pytest.fixture
def bench() -> Bench:
    return Bench()


def thumbs(bench: Bench, route: Route = CANARY) -> tuple[float | None, float | None]:
    return bench.value("llm_thumbs_down_total", route), bench.value("llm_judged_thumbs_down_total", route)


def test_a_thumb_an_hour_later_counts_for_the_cohort_that_served(bench: Bench) -> None:
    """A thumb an hour later counts for the cohort that served the request, even after a trip."""
    with bench.metrics.request(CANARY, user="u") as request:
        token = request.token
    bench.held.current = tripped()
    bench.clock.now += 3600.0
    assert bench.metrics.thumbs_down(token)
    assert thumbs(bench) == (1.0, 1.0)
    assert thumbs(bench, CONTROL) == (0.0, 0.0)


def test_a_thumb_on_an_unjudged_request_is_not_judged(bench: Bench) -> None:
    bench.metrics.request(CANARY, user="u")
    token = bench.metrics.request(CANARY, user="u").token
    assert bench.metrics.thumbs_down(token)
    assert thumbs(bench) == (1.0, 0.0)


def test_one_token_counts_once_however_often_it_is_sent(bench: Bench) -> None:
    token = bench.metrics.request(CANARY, user="u").token
    answers = [bench.metrics.thumbs_down(token) for _ in range(10)]
    assert answers == [True] + [False] * 9
    bench.clock.now += 86_399.0
    assert not bench.metrics.thumbs_down(token)
    assert thumbs(bench) == (1.0, 1.0)


@pytest.mark.parametrize("token", ["", "a.b", "x" * 10_000, None, 7, b"x"])
def test_a_forged_token_counts_for_nothing_and_does_not_raise(bench: Bench, token: Any) -> None:
    assert not bench.metrics.thumbs_down(token)
    assert thumbs(bench) == (0.0, 0.0)


def test_an_expired_token_counts_for_nothing(bench: Bench) -> None:
    token = bench.metrics.request(CANARY, user="u").token
    bench.clock.now += 86_400.0
    assert not bench.metrics.thumbs_down(token)


def test_without_a_key_there_is_no_feedback_by_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key, tokens are empty and feedback by token is not counted."""
    monkeypatch.delenv("KILLSWITCH_FEEDBACK_KEY", raising=False)
    monkeypatch.delenv("KILLSWITCH_FEEDBACK_KEY_FILE", raising=False)
    bench = Bench(tokens=None)
    assert bench.metrics.request(CANARY).token == ""
    assert not bench.metrics.thumbs_down("a.b")


def test_a_thumb_on_an_unknown_request_is_counted_not_judged(bench: Bench) -> None:
    """Another process served it. Judged thumbs without judged requests made a rate of 194 % of a healthy canary."""
    for user in ("u", "u", None):
        assert bench.metrics.thumbs_down(CANARY, user=user)
    assert thumbs(bench) == (3.0, 0.0)


def test_a_thumb_on_a_route_is_judged_where_its_only_request_was(bench: Bench) -> None:
    bench.metrics.request(CANARY, user="u")
    bench.metrics.request(CONTROL, user="u")  # in the same five minutes, so not judged
    for _ in range(3):
        assert bench.metrics.thumbs_down(CANARY, user="u")
        assert bench.metrics.thumbs_down(CONTROL, user="u")
    assert thumbs(bench) == (3.0, 1.0)
    assert thumbs(bench, CONTROL) == (3.0, 0.0)


def test_a_token_of_another_rollout_or_generation_is_ignored(bench: Bench) -> None:
    """With one key for all. After a re-arm the canary was charged with thumbs about the generation before."""
    other = CohortMetrics(
        router_over(armed(), rollout="search-copilot")[0],
        instruments=PrometheusInstruments.of(CollectorRegistry()),
        tokens=FeedbackTokens([KEY], clock=bench.clock),
        clock=bench.clock,
    )
    assert not bench.metrics.thumbs_down(other.request(CANARY, user="u").token)
    token = bench.metrics.request(CANARY, user="u").token
    for generation in (2, 3):
        bench.held.current = armed(generation=generation)
        assert not bench.metrics.thumbs_down(token)
    assert thumbs(bench) == (0.0, 0.0)
    bench.held.current = control_only(RouteReason.ERROR, generation=0)  # its document cannot be understood
    assert not bench.metrics.thumbs_down(token)
    bench.held.current = armed()
    assert bench.metrics.thumbs_down(token)


def test_an_unreadable_flag_keeps_its_last_generation(bench: Bench) -> None:
    token = bench.metrics.request(CANARY, user="u").token
    assert bench.metrics.thumbs_down(bench.metrics.request(CANARY, user="u").token)
    bench.held.current = control_only(RouteReason.ERROR, generation=0)
    assert bench.metrics.thumbs_down(token)


def test_a_token_without_a_router_is_good_for_its_own_metrics(bench: Bench) -> None:
    """A token made without a router is good for the metrics that signed it."""

    def alone() -> CohortMetrics:
        return CohortMetrics(
            None,
            instruments=PrometheusInstruments.of(bench.registry),
            tokens=FeedbackTokens([KEY], clock=bench.clock),
            clock=bench.clock,
        )

    one, other = alone(), alone()
    first, second = one.request(CANARY).token, one.request(CANARY._replace(generation=2)).token
    assert not other.thumbs_down(second)
    assert one.thumbs_down(second)
    assert not one.thumbs_down(first)


def test_with_a_shared_memory_a_token_counts_once_in_the_service() -> None:
    shared = Shared()
    processes = [Bench(used_tokens=shared) for _ in range(4)]
    token = processes[0].metrics.request(CANARY, user="u").token
    assert [bench.metrics.thumbs_down(token) for bench in (*processes, *processes)].count(True) == 1
    assert shared.keys == [shared.keys[0]] * 4  # a process asks once a token
    assert str(shared.keys[0]).startswith("support-copilot:token:")


def test_without_the_shared_memory_a_token_counts_once_a_process() -> None:
    """While the shared memory is out of reach, a token counts once in each process."""
    processes = [Bench(used_tokens=Unreachable()) for _ in range(2)]
    token = processes[0].metrics.request(CANARY, user="u").token
    assert [bench.metrics.thumbs_down(token) for bench in (*processes, *processes)] == [True, True, False, False]


def test_a_thumb_while_the_request_is_served_is_judged_as_it(bench: Bench) -> None:
    """A thumb that comes while the request is served is judged if the request is."""
    for _ in range(2):
        with bench.metrics.request(CANARY, user="u") as request:
            request.thumbs_down()
            request.thumbs_down()  # it is the same answer
    assert thumbs(bench) == (2.0, 1.0)
