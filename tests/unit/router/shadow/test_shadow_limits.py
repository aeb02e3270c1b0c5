"""Money and quota: what is no error of the canary, when the shadow rests, and what a reservation must hold."""

from __future__ import annotations

from typing import Any

import pytest

from killswitch.router.shadow.ledger import (
    OUTPUT_TOKENS_AT_MOST,
    TOKENS_OF_AN_IMAGE,
    as_sent,
    bound_output,
    input_tokens_at_most,
)
from killswitch.router.shadow.pressure import Pressure
from killswitch.router.shadow.quota import codes_of, is_budget, is_spent, retry_after, status_of, was_never_sent


class SDKError(Exception):
    def __init__(self, **fields: Any) -> None:
        super().__init__("sk-secret in the text")
        self.__dict__.update(fields)


class RateLimitError(Exception):
    pass


class ConnectError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "budget", "spent"),
    [
        (SDKError(status_code=429), True, False),
        (SDKError(status_code=402), True, True),
        (SDKError(status_code=400, code="project_spend_limit_exceeded"), True, True),
        (SDKError(status_code=429, body={"error": {"code": "insufficient_quota"}}), True, True),
        (SDKError(body={"code": "billing_hard_limit_reached"}), True, True),
        (SDKError(code=429), True, False),  # urllib's HTTPError
        (SDKError(body={"error": {"type": "budget_exceeded"}}), True, True),
        (SDKError(body={"type": "error", "error": {"type": "rate_limit_error"}}), True, False),
        (RateLimitError(), True, False),
        (SDKError(status_code=500), False, False),
        (SDKError(status_code=400, code="context_length_exceeded"), False, False),
        (TimeoutError(), False, False),
    ],
)
def test_money_and_quota_are_told_from_errors(error: Exception, budget: bool, spent: bool) -> None:
    assert (is_budget(error), is_spent(error)) == (budget, spent)


def test_properties_that_raise_say_nothing() -> None:
    class Hostile(Exception):
        @property
        def status_code(self) -> int:
            raise ValueError

    assert status_of(Hostile()) is None
    assert codes_of(Hostile()) == frozenset()


def test_a_connection_that_failed_was_never_sent() -> None:
    wrapped = SDKError()
    wrapped.__cause__ = ConnectError()
    assert was_never_sent(wrapped)
    assert was_never_sent(ConnectionRefusedError())
    assert not was_never_sent(ConnectionResetError())
    assert not was_never_sent(TimeoutError())
    circle = SDKError()
    circle.__cause__ = circle
    assert not was_never_sent(circle)


def test_what_was_handled_just_then_is_no_cause() -> None:
    """The first address refused, the second took the request and did not answer."""
    late = SDKError()
    late.__context__ = ConnectError()
    assert not was_never_sent(late)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        *(({"retry-after": "20"}, 20.0), ({"Retry-After": "1.5"}, 1.5), ({"retry-after": "soon"}, None)),
        *(({"retry-after": "-1"}, None), ({"retry-after": "nan"}, None), (None, None), ({}, None), (5, None)),
    ],
)
def test_retry_after_is_read(headers: object, seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def openai(left: object, limit: object, kind: str = "requests") -> dict[str, object]:
    return {f"x-ratelimit-remaining-{kind}": left, f"x-ratelimit-limit-{kind}": limit}


@pytest.mark.parametrize(
    ("headers", "rests"),
    [
        (openai("19", "100"), True),
        (openai("20", "100"), False),
        (openai("5000", "100000", "tokens"), True),
        ({"anthropic-ratelimit-tokens-remaining": "10", "anthropic-ratelimit-tokens-limit": "100"}, True),
        ({"llm_provider-x-ratelimit-remaining-requests": 1, "llm_provider-x-ratelimit-limit-requests": 100}, True),
        ({"retry-after": "3"}, True),
        (openai("many", "100"), False),
        (openai("0", "0"), False),
        (openai("nan", "100"), False),
        ({}, False),
        (None, False),
        (object(), False),
    ],
)
def test_the_shadow_rests_when_control_has_little_left(headers: object, rests: bool) -> None:
    pressure = Pressure(0.2, 30.0)
    pressure.read(headers, 1000.0)
    assert pressure.rests(1000.0) is rests
    assert pressure.rests(1029.9) is rests
    assert not pressure.rests(1030.1)


def test_a_long_wait_is_bounded_and_a_short_one_shortens_nothing() -> None:
    pressure = Pressure(0.2, 30.0)
    pressure.read({"retry-after": "86400"}, 0.0)
    pressure.limited(1.0)
    assert pressure.rests(599.0)
    assert not pressure.rests(601.0)
    assert "600 s" in pressure.sentence


def test_bytes_bound_the_tokens_of_a_request() -> None:
    text = {"messages": [{"role": "user", "content": "日本" * 100}]}
    assert (input_tokens_at_most(text) or 0) >= 600
    image = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}]}
    assert (input_tokens_at_most(image) or 0) >= TOKENS_OF_AN_IMAGE


@pytest.mark.parametrize(
    "request_",
    [
        {"input": "x", "previous_response_id": "r"},
        {"prompt": {"id": "p"}},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
        {"input": [{"type": "input_file", "file_id": "f"}]},
        {"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "https://x"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "document"}]}]}]},
        {"messages": [{"role": "user", "content": [{"inline_data": {"data": "x"}}]}]},
        {"input": "x", "tools": [{"type": "web_search"}]},
        {"input": "x", "tools": [{"googleSearch": {}}]},
        {"input": "x", "tools": [{"type": "namespace", "name": "n", "tools": [{"type": "web_search"}]}]},
        *({"messages": [], name: {"a": 1}} for name in ("web_search_options", "plugins", "audio", "search_parameters")),
        *({"messages": [], "extra_body": {"service_tier": tier}} for tier in ("priority", "a new one")),
    ],
)
def test_what_the_provider_keeps_has_no_bound(request_: dict[str, Any]) -> None:
    """An unknown is never 0."""
    assert input_tokens_at_most(request_) is None


def test_an_image_in_the_result_of_a_tool_is_counted() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://x"}}
    result = {"role": "user", "content": [{"type": "tool_result", "content": [image]}]}
    assert (input_tokens_at_most({"messages": [result]}) or 0) >= TOKENS_OF_AN_IMAGE
    shot = {"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": "https://x"}}
    assert (input_tokens_at_most({"input": [shot]}) or 0) >= TOKENS_OF_AN_IMAGE


def test_own_tools_are_bounded_by_their_bytes() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}, {"name": "weather", "input_schema": {}}]
    said = [{"role": "user", "content": [{"type": "text", "text": "x"}]}, {"role": "assistant", "content": None}]
    assert 0 < (input_tokens_at_most({"messages": said, "tools": tools}) or 0) < 500


@pytest.mark.parametrize(
    ("request_", "api", "bound"),
    [
        ({"extra_body": {"max_tokens": 500_000, "n": 8}}, "chat", 4_000_000),
        ({"max_tokens": 5, "max_completion_tokens": 7}, "chat", 7),
        ({"max_tokens": 5, "extra_body": {"max_tokens": 50}}, "chat", 50),
        ({"max_tokens": 10, "n": 2, "best_of": 5}, "completions", 100),
        ({"max_tokens": 10, "prompt": ["a", "b", "c"]}, "completions", 30),
        ({"max_tokens": 10, "extra_body": {"enable_thinking": True, "thinking_budget": 90}}, "chat", 100),
        *(({"max_tokens": number}, "chat", None) for number in ("500000", 5e5, True)),
        *(({"max_tokens": 5, "n": number}, "chat", None) for number in ("8", 8.0)),
        ({"max_tokens": 5, "extra_body": {"enable_thinking": True}}, "chat", None),
    ],
)
def test_the_bound_is_of_the_body_that_is_sent(request_: dict[str, Any], api: str, bound: int | None) -> None:
    assert bound_output(request_, api) == bound


def test_a_bound_that_the_api_does_not_obey_is_none() -> None:
    request: dict[str, Any] = {"max_tokens": 5, "extra_body": {"max_output_tokens": None}}
    assert bound_output(request, "responses") == OUTPUT_TOKENS_AT_MOST
    assert as_sent(request)["max_output_tokens"] == OUTPUT_TOKENS_AT_MOST


@pytest.mark.parametrize(
    ("request_", "api", "bound", "set_as"),
    [
        ({"max_tokens": 50}, "chat", 50, None),
        ({"max_completion_tokens": 60, "n": 3}, "chat", 180, None),
        ({"max_output_tokens": 70}, "responses", 70, None),
        ({}, "chat", OUTPUT_TOKENS_AT_MOST, "max_completion_tokens"),
        ({"n": 2}, "chat", 2 * OUTPUT_TOKENS_AT_MOST, "max_completion_tokens"),
        ({}, "responses", OUTPUT_TOKENS_AT_MOST, "max_output_tokens"),
        ({}, "completions", OUTPUT_TOKENS_AT_MOST, "max_tokens"),
        ({"max_tokens": None}, "messages", OUTPUT_TOKENS_AT_MOST, "max_tokens"),
    ],
)
def test_a_call_without_a_bound_gets_one(request_: dict[str, Any], api: str, bound: int, set_as: str | None) -> None:
    before = dict(request_)
    assert bound_output(request_, api) == bound
    assert request_ == (before if set_as is None else {**before, set_as: OUTPUT_TOKENS_AT_MOST})
