"""The examples of docs/shadow.md for the integrations run as they are written."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
import types
from pathlib import Path
from typing import Any

import httpx
import litellm
import pytest
from openai import OpenAI
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from killswitch.router import CohortMetrics
from killswitch.router.instruments import PrometheusInstruments
from killswitch.router.integrations.openai import shadow_ask
from killswitch.router.shadow import Shadow
from killswitch.spend.standing import standings
from killswitch.stores import keys
from killswitch.stores.opening import open_store
from tests.doubles.held_split import router_over, shadowed
from tests.doubles.llm_server import LLMServer
from tests.doubles.raw_pairs import Written
from tests.servers.etcd import wait_until

PAGE = (Path(__file__).parents[3] / "docs" / "shadow.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "ok"}]}


def names(folder: Path) -> dict[str, Any]:
    router, _ = router_over(shadowed(100.0))
    metrics = CohortMetrics(router, instruments=PrometheusInstruments.of(CollectorRegistry()))
    return {"router": router, "metrics": metrics, "folder": folder}


def run(word: str, known: dict[str, Any]) -> None:
    """The block that has ``word``."""
    (block,) = (one for one in BLOCKS if word in one)
    block = block.replace("/etc/killswitch", str(known["folder"].parent))
    exec(block.replace("/var/spool/killswitch", str(known["folder"])), known)


def other_text(known: dict[str, Any]) -> str:
    """What the canary said; a tenth of the requests has a second pair, with control."""
    written = Written(known["shadow"], known["folder"])
    (pair,) = (pair for pair in written.pairs if pair.kind == "candidate")
    return pair.other.text


def test_the_anthropic_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Anthropic:
        """In place of the library, which is not installed here."""

        def __init__(self, api_key: str = "key of production") -> None:
            self.api_key = api_key
            self.messages = self

        def create(self, **arguments: Any) -> dict[str, Any]:
            text = f"{arguments['model']} by the {self.api_key}"
            return {"type": "message", "content": [{"type": "text", "text": text}], "stop_reason": "end_turn"}

    library = types.ModuleType("anthropic")
    library.Anthropic = Anthropic  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "anthropic", library)
    monkeypatch.setenv("SHADOW_API_KEY", "key of the shadow")
    known = names(tmp_path / "spool")
    run("RoutedAnthropic", known)
    assert known["message"]["content"][0]["text"] == "model-old by the key of production"
    assert other_text(known) == "model-new by the key of the shadow"


def test_the_ledgers_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the shadow spent is in the account of its scope, and the cap is the example's."""
    prices = [
        f"- {{model: {name}, valid_from: 2026-01-01, input: 1, output: 10}}" for name in ("model-old", "model-new")
    ]
    (tmp_path / "prices.yaml").write_text("\n".join(["prices:", *prices]))
    with LLMServer() as server:
        monkeypatch.setenv("KILLSWITCH_STORE", f"sqlite://{tmp_path}/store.db")
        monkeypatch.setenv("SHADOW_API_KEY", "key of the shadow")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        known = names(tmp_path / "spool") | {"os": os, "Shadow": Shadow, "OpenAI": OpenAI, "shadow_ask": shadow_ask}
        run("for_scopes", known)
        with known["metrics"].request(known["router"].route("ann"), user="ann") as request:
            request.shadow(known["shadow"], {"model": "model-old", **CHAT}, user="ann", request_id="r")
            request.answer({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]})
        assert other_text(known) == "answered by model-new"
        known["ledger"].close()
    store = open_store(f"sqlite://{tmp_path}/store.db")
    ((standing,), _) = standings(store.list(keys.LEDGER), time.time())
    store.close()
    assert (standing.book.scope, standing.book.hard) == ("shadow:support-copilot", 40_000_000)
    assert standing.used > 0


def test_the_middlewares_example(tmp_path: Path) -> None:
    async def chat(request: Request) -> JSONResponse:
        await request.json()
        message = {"role": "assistant", "content": f"answered by {request.state.killswitch.route.model}"}
        return JSONResponse({"choices": [{"message": message, "finish_reason": "stop"}]})

    known = names(tmp_path / "spool")
    known["app"] = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])
    answer = {"choices": [{"message": {"content": "answered unseen"}, "finish_reason": "stop"}]}
    known["shadow"] = Shadow(known["router"], ask=lambda asking: answer, spool=known["folder"])
    run("KillswitchMiddleware", known)

    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(app=known["app"])
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.post(
                "/v1/chat/completions", json={"model": "support-copilot", **CHAT}, headers={"x-user-id": "ann"}
            )

    assert "answered by model-old" in asyncio.run(post()).text
    assert other_text(known) == "answered unseen"


def test_litellms_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LLMServer() as production, LLMServer() as other:
        monkeypatch.setenv("SHADOW_API_KEY", "key of the shadow")
        monkeypatch.setenv("SHADOW_URL", other.url)
        known = names(tmp_path / "spool")
        reached = {"model": "openai/model-old", "api_base": production.url, "api_key": "key of production"}
        known["model_list"] = [{"model_name": "model-old", "litellm_params": reached}]
        try:
            run("LiteLLMSwitch", known)
            answer = known["litellm_router"].completion(model="support-copilot", user="ann", **CHAT)
            assert answer.choices[0].message.content == "answered by model-old"
            wait_until(lambda: bool(other.models), "LiteLLM has told its callbacks, on a thread of its own")
            assert other_text(known) == "answered by model-new"
            assert production.models == ["model-old"]
        finally:
            litellm.logging_callback_manager._reset_all_callbacks()
