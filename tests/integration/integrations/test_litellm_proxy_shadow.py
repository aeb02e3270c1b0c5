"""The real LiteLLM proxy with a shadow: pairs arrive, and whatever the canary does, users get control's answer.

Only in ``make compat``, which installs the proxy (`tests.servers.litellm`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from killswitch.flags import flag
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.shadow_share import ShadowShare
from killswitch.router.shadow.raw_pair import RawPair
from tests.doubles.finished_requests import drops, pairs
from tests.doubles.llm_server import LLMServer
from tests.servers.etcd import wait_until
from tests.servers.litellm import LiteLLMProxy, needs_proxy

REPOSITORY = Path(__file__).parents[3]
pytestmark = needs_proxy
ROLLOUT = "support-copilot"
SHADOW_KEY = "sk-key-of-the-shadow"
CONFIGURATION = """
model_list:
  - model_name: model-old
    litellm_params: {model: openai/model-old, api_base: os.environ/OLD_URL, api_key: sk-of-production, max_retries: 0}
  - model_name: model-new
    litellm_params: {model: openai/model-new, api_base: os.environ/NEW_URL, api_key: sk-of-production, max_retries: 0}
litellm_settings: {callbacks: switched.switch, num_retries: 2}
router_settings: {model_group_alias: {support-copilot: model-old}, num_retries: 2}
"""
# a call of the canary that hangs takes one of two places for two seconds
CALLBACK = """
import os

from killswitch.router import CohortMetrics, Router
from killswitch.router.integrations.litellm import LiteLLMSwitch, shadow_ask
from killswitch.router.shadow import Shadow

router = Router("support-copilot", os.environ["KILLSWITCH_STORE"], control="model-old")
own = {"api_base": os.environ["SHADOW_URL"], "api_key": os.environ["SHADOW_KEY"]}
ask = shadow_ask({name: {"model": f"openai/{name}", **own} for name in ("model-old", "model-new")})
metrics = CohortMetrics(router)
shadow = Shadow(router, ask=ask, spool=os.environ["SPOOL"], metrics=metrics, timeout=2.0, workers=2, noise=0.0)
switch = LiteLLMSwitch(router, metrics, canary="model-new", shadow=shadow)
"""


class Bench:
    """``old`` and ``new`` are production's providers, ``other`` the shadow's own."""

    def __init__(self, folder: Path, old: LLMServer, new: LLMServer, other: LLMServer) -> None:
        self.old, self.new, self.other = old, new, other
        self.spool = folder / "spool"
        armed = flag.arm(
            None,
            rollout=ROLLOUT,
            control="model-old",
            canary="model-new",
            percent=0,
            stage="shadow",
            shadow=ShadowShare(100),
            now=1e9,
            by="me",
        )
        (folder / "flag.json").write_bytes(flag_document(armed))
        (folder / "config.yaml").write_text(CONFIGURATION)
        (folder / "switched.py").write_text(CALLBACK)
        self.proxy = LiteLLMProxy(
            folder,
            {
                "OLD_URL": old.url,
                "NEW_URL": new.url,
                "SHADOW_URL": other.url,
                "SHADOW_KEY": SHADOW_KEY,
                "SPOOL": str(self.spool),
                "KILLSWITCH_STORE": f"file://{folder / 'flag.json'}",
                "PYTHONPATH": os.pathsep.join([str(folder), str(REPOSITORY)]),
            },
        )

    def ask(self, how: str = "ok", *, path: str = "/v1/chat/completions", **more: Any) -> httpx.Response:
        said: dict[str, Any] = {"messages": [{"role": "user", "content": how}]}
        said = {"input": how} if path.endswith("/responses") else said
        said = {**said, "max_tokens": 9} if path.endswith("/messages") else said
        return self.proxy.client.post(path, json={"model": ROLLOUT, "user": "u", **said, **more})

    def pairs_of(self, *answers: httpx.Response) -> list[RawPair]:
        """Those of the requests that got ``answers``; waits for the first."""
        ids = {answer.headers["x-litellm-call-id"] for answer in answers}
        found: list[RawPair] = []

        def written() -> bool:
            found[:] = [pair for pair in pairs(self.spool) if pair.id in ids]
            return bool(found)

        wait_until(written, "a pair is written")
        return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with LLMServer() as old, LLMServer() as new, LLMServer() as other:
        bench = Bench(tmp_path_factory.mktemp("proxy"), old, new, other)
        with bench.proxy:
            wait_until(lambda: _shadows(bench), "the flag has arrived")
            yield bench


def _shadows(bench: Bench) -> bool:
    assert bench.ask().status_code == 200
    return bool(pairs(bench.spool))


def text_of(answer: httpx.Response) -> str:
    document = answer.json()
    for read in _READERS:
        try:
            return str(read(document))
        except (KeyError, IndexError):
            continue
    raise AssertionError(document)


_READERS: tuple[Callable[[Any], Any], ...] = (
    lambda document: document["choices"][0]["message"]["content"],
    lambda document: document["output"][0]["content"][0]["text"],
    lambda document: document["content"][0]["text"],
)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
def test_a_pair_of_each_endpoint_arrives(bench: Bench, path: str) -> None:
    answer = bench.ask(path=path)
    assert (answer.status_code, text_of(answer)) == (200, "answered by model-old")
    (pair,) = bench.pairs_of(answer)
    assert (pair.control.text, pair.other.text) == ("answered by model-old", "answered by model-new")
    assert bench.other.requests[-1][1]["authorization"] == f"Bearer {SHADOW_KEY}"
    assert bench.new.models == []


def test_a_stream_makes_a_pair(bench: Bench) -> None:
    answer = bench.ask(stream=True)
    assert "Hello" in answer.text
    (pair,) = bench.pairs_of(answer)
    assert (pair.control.text, pair.other.text) == ("Hello there", "Hello there")
    assert pair.control.streamed
    assert pair.other.streamed


@pytest.mark.parametrize(
    ("how", "stream", "outcome"),
    [
        ("slow@model-new", False, "timeout"),
        ("error@model-new", False, "error"),
        ("cut@model-new", True, "error"),
        ("half@model-new", True, "error"),
        ("stall@model-new", True, "timeout"),
        ("japanese@model-new", False, "ok"),
        ("limit@model-new", False, "budget"),  # the last: after it the shadow rests
    ],
)
def test_whatever_the_canary_does_users_get_control(bench: Bench, how: str, stream: bool, outcome: str) -> None:
    """While the canary hangs, breaks off or is limited, all users are answered, each by one call of control."""
    asked, shadowed = len(bench.old.models), len(bench.other.models)
    answers = [bench.ask(how, stream=stream) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert all("Hello" in answer.text if stream else text_of(answer) == "answered by model-old" for answer in answers)
    assert {pair.other.outcome for pair in bench.pairs_of(*answers)} == {outcome}
    assert len(bench.old.models) == asked + 2
    assert len(bench.other.models) <= shadowed + 2  # nothing is tried again
    assert bench.new.models == []


def test_nothing_of_the_service_is_in_the_pairs(bench: Bench) -> None:
    raw = b"".join(path.read_bytes() for path in bench.spool.glob("*.raw"))
    for word in (SHADOW_KEY, "sk-of-production", bench.proxy.client.headers["authorization"].split()[1]):
        assert word.encode() not in raw
    assert not set(drops(bench.spool)) - {"budget"}
