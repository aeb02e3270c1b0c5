"""The wrapper of the real OpenAI client, sync and async, against a loopback server that speaks its API."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from prometheus_client import CollectorRegistry

from killswitch.router import CohortMetrics, Outcome
from killswitch.router.instruments import PrometheusInstruments
from killswitch.router.integrations.openai import RoutedOpenAI
from tests.doubles.held_split import armed, router_over, tripped
from tests.doubles.llm_server import LLMServer


class Setting:
    def __init__(self, server: LLMServer) -> None:
        self.server = server
        self.registry = CollectorRegistry()
        self.router, self.held = router_over(armed(100.0))
        self.metrics = CohortMetrics(self.router, instruments=PrometheusInstruments.of(self.registry))
        options: dict[str, Any] = {"base_url": server.url, "api_key": "x", "max_retries": 0, "timeout": 10.0}
        self.client = RoutedOpenAI(openai.OpenAI(**options), router=self.router, metrics=self.metrics)
        self.impatient = RoutedOpenAI(
            openai.OpenAI(**{**options, "timeout": 0.2}), router=self.router, metrics=self.metrics
        )
        self.asynchronous = RoutedOpenAI(openai.AsyncOpenAI(**options), router=self.router, metrics=self.metrics)

    def ask(self, how: str, client: RoutedOpenAI | None = None, **more: Any) -> Any:
        messages = [{"role": "user", "content": how}]
        return (client or self.client).for_user("u").chat.completions.create(messages=messages, **more)

    def outcomes(self, cohort: str = "canary", model: str = "model-new") -> dict[str, float]:
        values = {
            str(o): self.registry.get_sample_value(
                "llm_requests_total", {"cohort": cohort, "model": model, "outcome": str(o)}
            )
            for o in Outcome
        }
        return {outcome: value for outcome, value in values.items() if value}


@pytest.fixture
def setting() -> Iterator[Setting]:
    with LLMServer() as server:
        yield Setting(server)


def test_the_routes_model_replaces_one_that_the_caller_names(setting: Setting) -> None:
    """The route names the model. A model that the caller names is replaced."""
    assert setting.ask("ok").choices[0].message.content == "answered by model-new"
    setting.held.current = tripped()
    assert setting.ask("ok", model="model-new").choices[0].message.content == "answered by model-old"
    assert setting.server.models == ["model-new", "model-old"]
    assert setting.outcomes() == setting.outcomes("control", "model-old") == {"ok": 1.0}


@pytest.mark.parametrize("name", ["chat", "responses", "completions"])
def test_no_extra_body_reaches_the_canary_after_a_trip(setting: Setting, name: str) -> None:
    """The client merges ``extra_body`` over the request, so a model in it would win over the route's."""
    setting.held.current = tripped()
    body = {"model": "model-new", "models": ["model-new"], "fallbacks": ["model-new"], "top_k": 3}
    for client in (setting.client, setting.asynchronous):
        user = client.for_user("u")
        endpoint: Any = user.chat.completions if name == "chat" else getattr(user, name)
        shapes: dict[str, dict[str, Any]] = {
            "chat": {"messages": [{"role": "user", "content": "ok"}]},
            "responses": {"input": "ok"},
            "completions": {"prompt": "ok"},
        }
        answer = endpoint.create(extra_body=body, **shapes[name])
        if client is setting.asynchronous:
            asyncio.run(answer)
    assert setting.server.models == ["model-old", "model-old"]
    assert all(sent.get("top_k") == 3 and not {"models", "fallbacks"} & set(sent) for sent in setting.server.bodies)


def test_a_kept_user_client_obeys_a_trip(setting: Setting) -> None:
    """A session or an agent may keep what `for_user` returned for hours."""
    user = setting.client.for_user("u")
    ask = {"messages": [{"role": "user", "content": "ok"}]}
    user.chat.completions.create(**ask)
    completions = user.chat.completions
    setting.held.current = tripped()
    completions.create(**ask)
    assert user.route.model == "model-old"
    assert setting.server.models == ["model-new", "model-old"]
    assert setting.outcomes() == setting.outcomes("control", "model-old") == {"ok": 1.0}


def test_the_answers_usage_is_the_token_count(setting: Setting) -> None:
    setting.ask("ok")
    labels = {"cohort": "canary", "model": "model-new"}
    assert setting.registry.get_sample_value("llm_completion_tokens_sum", labels) == 7.0


@pytest.mark.parametrize(
    ("how", "error", "outcome"),
    [("error", openai.InternalServerError, "error"), ("filter", openai.BadRequestError, "refused")],
)
def test_the_clients_own_exception_comes_out_and_is_counted(
    setting: Setting, how: str, error: type[Exception], outcome: str
) -> None:
    with pytest.raises(error):
        setting.ask(how)
    assert setting.outcomes() == {outcome: 1.0}


def test_a_timeout_of_the_client_counts_as_timeout(setting: Setting) -> None:
    with pytest.raises(openai.APITimeoutError):
        setting.ask("slow", setting.impatient)
    assert setting.outcomes() == {"timeout": 1.0}


def test_a_refusal_field_counts_as_refused(setting: Setting) -> None:
    setting.ask("refuse")
    setting.client.for_user("u").responses.create(input="refuse")
    setting.client.for_user("u").responses.create(input="ok")
    assert setting.outcomes() == {"refused": 2.0, "ok": 1.0}


def test_a_whole_stream_is_ok_and_half_a_one_is_an_error(setting: Setting) -> None:
    assert len(list(setting.ask("ok", stream=True))) == 3
    assert len(list(setting.ask("half", stream=True))) == 2
    assert setting.outcomes() == {"ok": 1.0, "error": 1.0}


def test_a_stream_left_early_is_cancelled(setting: Setting) -> None:
    with setting.ask("ok", stream=True) as stream:
        next(stream)
        assert stream.response.status_code == 200  # the client's own attributes are there
    assert setting.outcomes() == {"cancelled": 1.0}


def test_the_asynchronous_client_counts_alike(setting: Setting) -> None:
    async def run() -> None:
        assert (await setting.ask("ok", setting.asynchronous)).model == "model-new"
        with pytest.raises(openai.InternalServerError):
            await setting.ask("error", setting.asynchronous)
        stream = await setting.ask("ok", setting.asynchronous, stream=True)
        assert len([chunk async for chunk in stream]) == 3
        async with await setting.ask("ok", setting.asynchronous, stream=True) as stream:
            await anext(stream)
        task = asyncio.create_task(setting.ask("slow", setting.asynchronous))
        while setting.server.models.count("model-new") < 5:  # noqa: ASYNC110  # the server is a thread
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert setting.outcomes() == {"ok": 2.0, "error": 1.0, "cancelled": 2.0}


def test_a_canary_may_live_at_a_provider_of_its_own(setting: Setting) -> None:
    with LLMServer() as other:
        apart = RoutedOpenAI(
            openai.OpenAI(base_url=setting.server.url, api_key="x"),
            router=setting.router,
            metrics=setting.metrics,
            canary_client=openai.OpenAI(base_url=other.url, api_key="x"),
        )
        setting.ask("ok", apart)
        setting.held.current = tripped()
        setting.ask("ok", apart)
        assert other.models == ["model-new"]
        assert setting.server.models == ["model-old"]
        setting.held.current = armed(100.0).between("model-old", "model-old")  # stage aa
        setting.ask("ok", apart)
        assert other.models == ["model-new"]
        assert setting.outcomes("canary", "model-old") == {"ok": 1.0}
