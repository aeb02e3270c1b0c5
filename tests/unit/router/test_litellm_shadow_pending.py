"""Calls that LiteLLM never reports, such as a stream whose reader has left, are bounded in number and in bytes."""

from __future__ import annotations

from typing import Any

import pytest

from killswitch.router.integrations import litellm_shadow
from killswitch.router.integrations.litellm_calls import EndpointCall
from killswitch.router.integrations.litellm_shadow import ShadowedCalls
from killswitch.router.route_types import Route
from tests.doubles.held_split import shadowed

ROUTE = shadowed().control_route
MANY = 100_000


class NotedCall:
    def __init__(self, arguments: Any) -> None:
        self.arguments = arguments
        self.left: list[str] = []

    def leave(self, reason: str) -> None:
        self.left.append(reason)


class Noting:
    """A shadow that takes every request into its sample."""

    def __init__(self) -> None:
        self.noted: list[NotedCall] = []

    def begin(self, route: Route, arguments: Any, **_: object) -> NotedCall:
        assert route is ROUTE
        self.noted.append(NotedCall(arguments))
        return self.noted[-1]


def over(shadow: Any) -> ShadowedCalls:
    """``shadow`` has what these calls use of one."""
    return ShadowedCalls(shadow, "support")


def begin(calls: ShadowedCalls, words: object) -> str:
    asked = {"model": "model-old", "messages": [{"role": "user", "content": words}]}
    return calls.begin("acompletion", EndpointCall(print, 0, (), asked), "metadata", ROUTE, "ann")


def test_what_is_never_reported_keeps_a_bounded_memory() -> None:
    """The oldest are left, each once, and are counted."""
    shadow = Noting()
    calls = over(shadow)
    for number in range(2_000):
        begin(calls, f"{number:{MANY}d}")
    left = [one for one in shadow.noted if one.left]
    assert 64_000_000 * 0.9 < MANY * (len(shadow.noted) - len(left)) <= 64_000_000
    assert left == shadow.noted[: len(left)]
    assert {tuple(one.left) for one in left} == {("not_comparable",)}


def test_what_was_reported_takes_no_room() -> None:
    """However much has gone by, what is under way is kept."""
    shadow = Noting()
    calls = over(shadow)
    first = begin(calls, "slow")
    event: dict[str, Any] = {
        "litellm_params": {"metadata": {"killswitch shadow support": "", "model_group": "another"}}
    }
    for number in range(2_000):
        event["litellm_params"]["metadata"]["killswitch shadow support"] = begin(calls, f"{number:{MANY}d}")
        calls.succeeded(event, None, None, None)  # type: ignore[arg-type]  # of an answer that is not compared
    assert first
    assert not shadow.noted[0].left


def test_one_request_larger_than_all_room_is_kept_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litellm_shadow, "_MOST_PENDING_BYTES", 1_000)
    shadow = Noting()
    calls = over(shadow)
    assert begin(calls, "a")
    assert begin(calls, "b" * 10_000)
    assert begin(calls, "c")
    assert [bool(one.left) for one in shadow.noted] == [True, True, False]


def test_a_call_that_cannot_be_noted_is_logged_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Noting):
        def begin(self, route: Route, arguments: Any, **_: object) -> NotedCall:
            raise ValueError(arguments["messages"])

    assert begin(over(Failing()), "my own words") == ""
    assert "could not be noted (ValueError)" in caplog.text
    assert "my own words" not in caplog.text
