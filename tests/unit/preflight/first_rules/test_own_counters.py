"""Counters of the user's own: two values that look like arms, what counts requests, and which of them failed."""

from __future__ import annotations

import pytest

from killswitch.preflight.first_rules.own_counters import errors_by_label, family_of, requests_among, two_arms


@pytest.mark.parametrize(
    ("values", "arms"),
    [
        (["canary", "stable"], ("stable", "canary")),
        (["Canary", "CONTROL", "shadow"], ("CONTROL", "Canary")),
        (["blue", "green"], ("blue", "green")),
        (["b", "a"], ("a", "b")),
        (["canary"], None),
        (["eu", "us"], None),
        ([], None),
    ],
)
def test_two_values_look_like_two_arms(values: list[str], arms: tuple[str, str] | None) -> None:
    assert two_arms(values) == arms


def test_requests_are_counted_by_the_likeliest_counter() -> None:
    names = {
        *("chat_requests_total", "chat_errors_total", "chat_latency_seconds_count", "chat_latency_seconds_bucket"),
        *("tokens_total", "llm_requests_total", "vllm:num_requests_running", "queue_size"),
    }
    assert requests_among(names) == ["chat_requests_total"]
    assert requests_among(names - {"chat_requests_total"}) == ["chat_latency_seconds_count"]


def test_failures_and_latency_belong_to_the_same_service() -> None:
    names = {
        "chat_requests_total",
        "chat_request_failures_total",
        "mail_errors_total",
        "mail_latency_bucket",
        "chat_time_bucket",
    }
    family = family_of("chat_requests_total", names, "variant", ("stable", "canary"))
    assert family.metrics == {
        "requests": "chat_requests_total",
        "errors": "chat_request_failures_total",
        "latency": "chat_time",
        "latency_unit": "seconds",
    }


def test_no_name_of_a_metric_can_be_more_than_a_name() -> None:
    """Prometheus 3 lets a metric have any name; one with a quote, a brace or a line end is no candidate."""
    hostile = {'x_requests_total"}', "x_requests_total\nmode: enforce", 'x_latency{a="_bucket'}
    assert requests_among(hostile) == []
    assert "latency" not in family_of("x_requests_total", hostile, "variant", None).metrics


@pytest.mark.parametrize(
    ("values", "matchers"),
    [
        ({"status": ["200", "503", "404"]}, '{status=~"5.."}'),
        ({"code": ["2xx", "5xx"]}, '{code=~"5.."}'),
        ({"outcome": ["ok", "error", "timeout"]}, '{outcome!~"ok"}'),
        ({"result": ["success", "completed", "bad"]}, '{result!~"completed|success"}'),
        ({"error_type": ["", "timeout"]}, '{error_type!=""}'),
        ({"outcome": ["weird", "odd"]}, None),
        ({"status": [str(number) for number in range(400)]}, None),
        ({}, None),
    ],
)
def test_failed_requests_are_told_by_a_label(values: dict[str, list[str]], matchers: str | None) -> None:
    assert errors_by_label(values) == matchers
