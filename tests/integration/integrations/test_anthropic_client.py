"""The wrapper of clients of Anthropic's form, over HTTP to a loopback server. Their library is not installed here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from killswitch.router import CohortMetrics
from killswitch.router.instruments import PrometheusInstruments
from killswitch.router.integrations.anthropic import RoutedAnthropic, shadow_ask
from killswitch.router.shadow import Shadow
from tests.doubles.held_split import router_over, shadowed
from tests.doubles.llm_server import LLMServer
from tests.doubles.raw_pairs import Written

ASKED: dict[str, Any] = {"max_tokens": 9, "messages": [{"role": "user", "content": "ok"}]}


class Client:
    """As much of `anthropic.Anthropic` as the wrapper calls."""

    def __init__(self, server: LLMServer, key: str) -> None:
        self.api_key = key
        self._http = httpx.Client(base_url=server.url, headers={"x-api-key": key, "anthropic-version": "2023-06-01"})
        self.messages = self

    def with_options(self, *, max_retries: int) -> Client:
        return self

    def create(self, *, model: str, max_tokens: int, messages: list[Any], timeout: float = 9.0, **more: Any) -> Any:
        body = {"model": model, "max_tokens": max_tokens, "messages": messages, **more}
        answer = self._http.post("/messages", json=body, timeout=timeout)
        answer.raise_for_status()
        return Events(answer) if more.get("stream") else answer.json()


class Events:
    def __init__(self, response: httpx.Response) -> None:
        self.response = response

    def __iter__(self) -> Iterator[Any]:
        lines = self.response.iter_lines()
        return (json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))

    async def __aiter__(self) -> AsyncIterator[Any]:
        for event in self:
            yield event

    def close(self) -> None:
        self.response.close()


class AsyncClient(Client):
    async def create(self, **arguments: Any) -> Any:
        return super().create(**arguments)


class Setting:
    def __init__(self, production: LLMServer, other: LLMServer, folder: Path) -> None:
        self.production, self.other, self.folder = production, other, folder
        self.registry = CollectorRegistry()
        self.router, _ = router_over(shadowed(100.0))
        self.metrics = CohortMetrics(self.router, instruments=PrometheusInstruments.of(self.registry))
        ask = shadow_ask(Client(other, "key of the shadow"))
        self.shadow = Shadow(self.router, ask=ask, spool=folder, noise=0.0)

    def messages(self, kind: type[Client] = Client) -> Any:
        client = kind(self.production, "key of production")
        llm = RoutedAnthropic(client, router=self.router, metrics=self.metrics, shadow=self.shadow)
        return llm.for_user("u").messages

    def written(self) -> Written:
        return Written(self.shadow, self.folder)


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    with LLMServer() as production, LLMServer() as other:
        setting = Setting(production, other, tmp_path / "spool")
        yield setting
        setting.shadow.close(0.5)


def test_a_message_is_routed_counted_and_shadowed(setting: Setting) -> None:
    answer = setting.messages().create(**ASKED, metadata={"user_id": "alice"})
    assert answer["content"][0]["text"] == "answered by model-old"
    labels = {"cohort": "control", "model": "model-old"}
    assert setting.registry.get_sample_value("llm_completion_tokens_sum", labels) == 7.0
    pair = setting.written().pair
    assert (pair.control.text, pair.other.text) == ("answered by model-old", "answered by model-new")
    assert (pair.control.finish_reason, pair.other.finish_reason) == ("end_turn", "end_turn")
    assert setting.other.bodies == [{"model": "model-new", **ASKED}]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_stream_of_messages_is_shadowed_as_a_stream(setting: Setting, asynchronous: bool) -> None:
    if asynchronous:

        async def run() -> list[Any]:
            return [event async for event in await setting.messages(AsyncClient).create(**ASKED, stream=True)]

        events = asyncio.run(run())
    else:
        events = list(setting.messages().create(**ASKED, stream=True))
    assert [event["type"] for event in events][-1] == "message_stop"
    labels = {"cohort": "control", "model": "model-old", "outcome": "ok"}
    assert setting.registry.get_sample_value("llm_requests_total", labels) == 1.0
    pair = setting.written().pair
    assert (pair.control.text, pair.other.text) == ("answered by model-old", "answered by model-new")
    assert (pair.control.streamed, pair.other.streamed) == (True, True)


def test_what_the_provider_keeps_or_runs_is_not_asked(setting: Setting) -> None:
    for stateful in ({"container": "c"}, {"mcp_servers": [{"type": "url", "url": "https://x"}]}):
        setting.messages().create(**ASKED, **stateful)
    assert setting.written().pairs == []
    assert setting.other.bodies == []
