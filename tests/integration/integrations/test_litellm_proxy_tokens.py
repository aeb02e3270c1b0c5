"""The tokens that the `litellm` preset bills, on the real proxy's `/metrics`, against what upstream said it used.

Only in ``make compat``, which installs the proxy (`tests.servers.litellm`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import pytest

from killswitch.model import Cohort, Rollout
from killswitch.rules.loading import load_text
from tests.doubles.expositions import Pages, billed_between
from tests.doubles.llm_server import LLMServer
from tests.servers.etcd import wait_until
from tests.servers.litellm import LiteLLMProxy, needs_proxy

pytestmark = needs_proxy
GROUPS = ("plain", "details", "stream", "failing")
# of one answer of upstream: `DETAILED_USAGE`, each token once
DETAILED = {"input": 25.0, "cached_input": 60.0, "cache_write": 15.0, "output": 15.0, "reasoning": 25.0}
PLAIN = {"input": 3.0, "output": 7.0}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiteLLMProxy]:
    folder = tmp_path_factory.mktemp("proxy")
    with LLMServer() as upstream:
        of_upstream = {"api_base": upstream.url, "api_key": "x", "max_retries": 0}
        models = [
            {"model_name": f"{group}-{cohort}", "litellm_params": {"model": f"openai/{cohort}", **of_upstream}}
            for group in GROUPS
            for cohort in ("old", "new")
        ]
        settings = {"callbacks": ["prometheus"], "num_retries": 0}
        configuration = {"model_list": models, "litellm_settings": settings}
        (folder / "config.yaml").write_text(json.dumps(configuration))  # JSON is YAML
        with LiteLLMProxy(folder, {}) as proxy:
            yield proxy


def rollout_of(group: str) -> Rollout:
    models = f"control: {group}-old\ncanary: {group}-new\n"
    text = f"rollout: r\n{models}metrics: litellm\nspend: {{prices: prices.json}}\n"
    (one,) = load_text(text.encode(), name="f.yaml").rollouts
    return one


def page_of(proxy: LiteLLMProxy) -> Pages:
    return {"proxy": proxy.exposition()}


def ask(proxy: LiteLLMProxy, model: str, upstream: str, *, times: int = 1, stream: bool = False) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": upstream}], "stream": stream}
    for _ in range(times):
        proxy.client.post("/v1/chat/completions", json=body).read()


def billed(proxy: LiteLLMProxy, before: Pages, group: str, output: float) -> Mapping[Cohort, Mapping[str, float]]:
    """What both cohorts are billed, once that of the canary has arrived: the proxy counts after it has answered."""
    found: dict[Cohort, Mapping[str, float]] = {}

    def settled() -> bool:
        read = billed_between(before, page_of(proxy), rollout_of(group))
        found.update({cohort: tokens for cohort, tokens in read.items() if tokens is not None})
        canary = found.get(Cohort.CANARY, {})
        return canary.get("output", 0.0) + canary.get("reasoning", 0.0) >= output

    wait_until(settled, "the tokens of the canary are counted")
    return found


def begun(proxy: LiteLLMProxy, group: str) -> Pages:
    """A page on which both cohorts have their counters."""
    for cohort in ("old", "new"):
        ask(proxy, f"{group}-{cohort}", "ok")
    pages: dict[str, str] = {}

    def counted() -> bool:
        pages.update(page_of(proxy))
        lines = pages["proxy"].splitlines()
        named = [line for line in lines if line.startswith("litellm_output_tokens_metric_total{")]
        return all(any(f'"{group}-{cohort}"' in line for line in named) for cohort in ("old", "new"))

    wait_until(counted, "both cohorts have counters of tokens")
    return pages


def test_tokens_are_billed_to_the_cohort_that_used_them(proxy: LiteLLMProxy) -> None:
    before = begun(proxy, "plain")
    ask(proxy, "plain-new", "ok", times=4)
    expected = {kind: 4 * count for kind, count in PLAIN.items()}
    assert billed(proxy, before, "plain", 4 * 7) == {Cohort.CONTROL: {}, Cohort.CANARY: expected}


def test_cached_and_reasoning_tokens_are_billed_once(proxy: LiteLLMProxy) -> None:
    """`prompt_tokens` of the proxy holds what was cached and what was written to the cache."""
    before = begun(proxy, "details")
    ask(proxy, "details-new", "details", times=3)
    assert billed(proxy, before, "details", 3 * 40)[Cohort.CANARY] == {
        kind: 3 * count for kind, count in DETAILED.items()
    }


def test_a_streams_tokens_are_billed(proxy: LiteLLMProxy) -> None:
    before = begun(proxy, "stream")
    ask(proxy, "stream-new", "details", times=2, stream=True)
    assert billed(proxy, before, "stream", 2 * 40)[Cohort.CANARY] == {
        kind: 2 * count for kind, count in DETAILED.items()
    }


def test_failed_requests_bill_nothing(proxy: LiteLLMProxy) -> None:
    before = begun(proxy, "failing")
    ask(proxy, "failing-new", "error", times=3)
    ask(proxy, "failing-new", "ok")
    assert billed(proxy, before, "failing", 7) == {Cohort.CONTROL: {}, Cohort.CANARY: PLAIN}
