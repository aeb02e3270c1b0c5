"""The real LiteLLM proxy with examples/litellm_proxy: a trip stops every way to the canary.

The proxy's dependencies are many and it wants its own environment: ``pip install 'litellm[proxy]' prometheus-client``
there, and ``LITELLM_PROXY=/path/to/bin/litellm`` here.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from killswitch import flag
from tests.doubles.llm_server import LLMServer

EXAMPLE = Path(__file__).parents[3] / "examples" / "litellm_proxy"
PROXY = os.environ.get("LITELLM_PROXY", "")
pytestmark = pytest.mark.skipif(
    not PROXY, reason="set LITELLM_PROXY to the litellm command of an environment with its proxy"
)
ROLLOUT = "support-copilot"


def until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come about"
        time.sleep(0.2)


class Proxy:
    def __init__(self, folder: Path, old: LLMServer, new: LLMServer) -> None:
        self.old, self.new = old, new
        self.flag_file = folder / "flag.json"
        self.armed = flag.arm(
            None, rollout=ROLLOUT, control="model-old", canary="model-new", percent=99, stage="full", now=1e9, by="me"
        )
        self.flag_file.write_bytes(flag.to_document(self.armed))
        shutil.copytree(EXAMPLE, folder / "proxy")
        # the worst lists an operator could write
        config = folder / "proxy" / "config.yaml"
        text = config.read_text().replace(
            "[{support-copilot: [model-old]}]", "[{support-copilot: [model-new]}, {model-old: [model-new]}]"
        )
        config.write_text(text)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        key = f"sk-{secrets.token_hex(24)}"
        environment = {
            **os.environ,
            "OLD_URL": old.url,
            "NEW_URL": new.url,
            "UPSTREAM_KEY": "x",
            "LITELLM_MASTER_KEY": key,
            "KILLSWITCH_STORE": f"file://{self.flag_file}",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "PYTHONPATH": os.pathsep.join([str(folder / "proxy"), str(EXAMPLE.parents[1])]),
        }
        command = [PROXY, "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
        self.process = subprocess.Popen(command, cwd=folder / "proxy", env=environment, stdout=subprocess.DEVNULL)
        headers = {"Authorization": f"Bearer {key}"}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30)
        until(self._alive, 120)

    def _alive(self) -> bool:
        assert self.process.poll() is None, "the proxy has ended"
        try:
            return self.client.get("/health/liveliness").status_code == 200
        except httpx.HTTPError:
            return False

    def trip(self) -> None:
        person = flag.Actor.PERSON
        tripped = flag.trip(
            self.armed, rollout=ROLLOUT, reason="x", rules=(), incident="i", now=1e9, by="me", actor=person
        )
        self.flag_file.write_bytes(flag.to_document(tripped))

    def ask(self, model: str, **more: Any) -> httpx.Response:
        body = {"model": model, "user": "u", "messages": [{"role": "user", "content": "ok"}], **more}
        return self.client.post("/v1/chat/completions", json=body)

    def answer(self, model: str) -> str:
        return str(self.ask(model).json()["choices"][0]["message"]["content"])


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with LLMServer() as old, LLMServer() as new:
        proxy = Proxy(tmp_path, old, new)
        yield proxy
        proxy.client.close()
        proxy.process.terminate()
        proxy.process.wait()


def test_a_trip_stops_every_way_to_the_canary(proxy: Proxy) -> None:
    assert proxy.answer(ROLLOUT) == "answered by model-new"
    proxy.trip()
    until(lambda: proxy.answer(ROLLOUT) == "answered by model-old", 15)
    before = len(proxy.new.models)
    assert proxy.answer("model-new") == "answered by model-old"
    proxy.old.failing = True  # now every fallback is tried
    for model in (ROLLOUT, "model-new", "model-old"):
        assert proxy.ask(model).status_code >= 500
        assert proxy.ask(model, fallbacks=["model-new"]).status_code >= 500
    assert len(proxy.new.models) == before
