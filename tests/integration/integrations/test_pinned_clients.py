"""Real clients that are wrapped for a role: the pin is asked, and an alias that moves is counted, streams too."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import litellm
import openai
import pytest
from prometheus_client import CollectorRegistry

from killswitch.roles.document import to_document
from killswitch.router import Roles
from killswitch.router.integrations.pinned import PinnedAnthropic, PinnedLiteLLM, PinnedOpenAI
from killswitch.router.pinned.role_errors import RoleNotFound
from tests.doubles.llm_server import LLMServer
from tests.doubles.roles import REVIEW, role

PIN, MOVED = "gpt-5-2026-01-10", "gpt-5-2026-06-01"
MESSAGES = [{"role": "user", "content": "ok"}]


class Setting:
    def __init__(self, server: LLMServer, roles: Roles, registry: CollectorRegistry) -> None:
        self.server, self.roles, self._registry = server, roles, registry
        self.options: dict[str, Any] = {"base_url": server.url, "api_key": "x", "max_retries": 0, "timeout": 10.0}

    @property
    def moved(self) -> float:
        labels = {"role": REVIEW, "pinned": self.roles.model_for(REVIEW), "answered": MOVED}
        return self._registry.get_sample_value("llm_model_mismatch_total", labels) or 0.0


@contextlib.contextmanager
def serving(folder: Path, prod: str) -> Iterator[Setting]:
    path = folder / "roles.json"
    path.write_bytes(to_document(role(prod=prod)))
    registry = CollectorRegistry()
    with LLMServer() as server, Roles(f"file://{path}", registry=registry) as roles:
        assert roles.wait_ready(20.0)
        yield Setting(server, roles, registry)


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    with serving(tmp_path, PIN) as one:
        yield one


@pytest.mark.parametrize("api", ["chat", "responses", "completions"])
def test_an_alias_that_moves_at_midnight_is_counted(setting: Setting, api: str) -> None:
    """Until midnight the pin answers and nothing is counted; the client's own object comes back."""
    llm = PinnedOpenAI(openai.OpenAI(**setting.options), roles=setting.roles).for_role(REVIEW)
    endpoint: Any = llm.chat.completions if api == "chat" else getattr(llm, api)
    shapes: dict[str, dict[str, Any]] = {
        "chat": {"messages": MESSAGES}, "responses": {"input": "ok"}, "completions": {"prompt": "ok"},
    }  # fmt: skip
    asked = shapes[api]
    assert endpoint.create(**asked).model == PIN
    assert setting.moved == 0.0
    setting.server.moved[PIN] = MOVED
    assert endpoint.create(model="another", extra_body={"fallbacks": ["x"]}, **asked).model == MOVED
    assert setting.moved == 1.0
    assert setting.server.models == [PIN, PIN]
    assert "fallbacks" not in setting.server.bodies[-1]


def test_a_stream_is_compared_once(setting: Setting) -> None:
    setting.server.moved[PIN] = MOVED
    llm = PinnedOpenAI(openai.OpenAI(**setting.options), roles=setting.roles).for_role(REVIEW)
    with llm.chat.completions.create(messages=MESSAGES, stream=True) as stream:
        assert len(list(stream)) > 1
    assert setting.moved == 1.0


def test_async_clients_are_compared_too(setting: Setting) -> None:
    setting.server.moved[PIN] = MOVED

    async def ask() -> None:
        client = openai.AsyncOpenAI(**setting.options)
        llm = PinnedOpenAI(client, roles=setting.roles).for_role(REVIEW)
        await llm.chat.completions.create(messages=MESSAGES)
        async for _ in await llm.chat.completions.create(messages=MESSAGES, stream=True):
            pass
        await client.close()

    asyncio.run(ask())
    assert setting.moved == 2.0


def test_anthropics_client_is_compared(setting: Setting) -> None:
    setting.server.moved[PIN] = MOVED
    asked: dict[str, Any] = {"max_tokens": 9, "messages": MESSAGES}
    options = {**setting.options, "base_url": setting.server.url.removesuffix("/v1")}
    llm = PinnedAnthropic(anthropic.Anthropic(**options), roles=setting.roles).for_role(REVIEW)
    assert llm.messages.create(**asked).model == MOVED
    assert [event.type for event in llm.messages.create(stream=True, **asked)][-1] == "message_stop"

    async def ask() -> None:
        client = anthropic.AsyncAnthropic(**options)
        asynchronous = PinnedAnthropic(client, roles=setting.roles).for_role(REVIEW)
        async for _ in await asynchronous.messages.create(stream=True, **asked):
            pass
        await client.close()

    asyncio.run(ask())
    assert setting.moved == 3.0


def test_litellm_is_compared(tmp_path: Path) -> None:
    """The pin has LiteLLM's name of the provider in front; the provider's answer has not.

    LiteLLM's streams repeat the name that was asked for, except for Azure and OpenRouter: nothing is seen in them.
    """
    with serving(tmp_path, f"openai/{PIN}") as setting:
        reached: dict[str, Any] = {"api_base": setting.server.url, "api_key": "x", "messages": MESSAGES}
        llm = PinnedLiteLLM(litellm, roles=setting.roles).for_role(REVIEW)
        llm.completion(**reached)
        assert setting.moved == 0.0
        setting.server.moved[PIN] = MOVED
        llm.completion(fallbacks=["openai/another"], **reached)
        list(llm.completion(stream=True, **reached))

        async def ask() -> None:
            await llm.acompletion(**reached)
            async for _ in await llm.acompletion(stream=True, **reached):
                pass

        asyncio.run(ask())
        assert setting.moved == 2.0
        assert set(setting.server.models) == {PIN}


def test_a_typo_sends_nothing(setting: Setting) -> None:
    llm = PinnedOpenAI(openai.OpenAI(**setting.options), roles=setting.roles).for_role("reviewtriage")
    with pytest.raises(RoleNotFound):
        llm.chat.completions.create(messages=MESSAGES)
    with pytest.raises(RoleNotFound):
        _ = llm.model
    assert setting.server.models == []


def test_a_failed_call_is_no_mismatch(setting: Setting) -> None:
    llm = PinnedOpenAI(openai.OpenAI(**setting.options), roles=setting.roles).for_role(REVIEW)
    setting.server.moved[PIN] = MOVED
    with pytest.raises(openai.InternalServerError):
        llm.chat.completions.create(messages=[{"role": "user", "content": "error"}])
    assert setting.moved == 0.0
