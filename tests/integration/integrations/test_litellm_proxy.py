"""The real LiteLLM proxy with examples/litellm_proxy: a trip stops every way to the canary.

Only in ``make compat``, which installs the proxy (`tests.servers.litellm`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from killswitch.flags import flag
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.transitions import Actor
from tests.doubles.llm_server import LLMServer
from tests.servers.etcd import wait_until
from tests.servers.litellm import LiteLLMProxy, needs_proxy

EXAMPLE = Path(__file__).parents[3] / "examples" / "litellm_proxy"
pytestmark = needs_proxy
ROLLOUT = "support-copilot"


class Bench:
    def __init__(self, folder: Path, old: LLMServer, new: LLMServer) -> None:
        self.old, self.new = old, new
        self.flag_file = folder / "flag.json"
        self.armed = flag.arm(
            None, rollout=ROLLOUT, control="model-old", canary="model-new", percent=99, stage="full", now=1e9, by="me"
        )
        self.flag_file.write_bytes(flag_document(self.armed))
        shutil.copytree(EXAMPLE, folder / "proxy")
        # the worst lists an operator could write
        config = folder / "proxy" / "config.yaml"
        text = config.read_text().replace(
            "[{support-copilot: [model-old]}]", "[{support-copilot: [model-new]}, {model-old: [model-new]}]"
        )
        config.write_text(text)
        self.proxy = LiteLLMProxy(
            folder / "proxy",
            {
                "OLD_URL": old.url,
                "NEW_URL": new.url,
                "UPSTREAM_KEY": "x",
                "KILLSWITCH_STORE": f"file://{self.flag_file}",
                "PYTHONPATH": os.pathsep.join([str(folder / "proxy"), str(EXAMPLE.parents[1])]),
            },
        )

    def trip(self) -> None:
        person = Actor.PERSON
        tripped = flag.trip(
            self.armed, rollout=ROLLOUT, reason="x", rules=(), incident="i", now=1e9, by="me", actor=person
        )
        self.flag_file.write_bytes(flag_document(tripped))

    def ask(self, model: str, **more: Any) -> httpx.Response:
        body = {"model": model, "user": "u", "messages": [{"role": "user", "content": "ok"}], **more}
        return self.proxy.client.post("/v1/chat/completions", json=body)

    def answer(self, model: str) -> str:
        return str(self.ask(model).json()["choices"][0]["message"]["content"])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with LLMServer() as old, LLMServer() as new:
        bench = Bench(tmp_path, old, new)
        with bench.proxy:
            yield bench


def test_a_trip_stops_every_way_to_the_canary(bench: Bench) -> None:
    assert bench.answer(ROLLOUT) == "answered by model-new"
    bench.trip()
    wait_until(lambda: bench.answer(ROLLOUT) == "answered by model-old", "the trip has arrived")
    before = len(bench.new.models)
    assert bench.answer("model-new") == "answered by model-old"
    bench.old.failing = True  # now every fallback is tried
    for model in (ROLLOUT, "model-new", "model-old"):
        assert bench.ask(model).status_code >= 500
        assert bench.ask(model, fallbacks=["model-new"]).status_code >= 500
    assert len(bench.new.models) == before
