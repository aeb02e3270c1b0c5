"""The `litellm` preset on the real proxy: what users of each cohort got, and what the preset's counters say of it.

Only in ``make compat``, which installs the proxy (`tests.servers.litellm`). Each situation has groups of its own, with
one deployment and with two for the canary, so that the cooldown of one touches no other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from killswitch.model import Buckets, Counts, Rollout, Unreadable
from killswitch.rules.loading import load_text
from tests.doubles.expositions import Pages, counted, read_between
from tests.doubles.llm_server import LLMServer
from tests.servers.etcd import wait_until
from tests.servers.litellm import LiteLLMProxy, needs_proxy

pytestmark = needs_proxy
CANARY_ASKED, CONTROL_ASKED = 6, 2
DEPLOYMENTS = (1, 2)
TIMEOUT = 1.0  # seconds, of the proxy for its upstream


@dataclass(frozen=True)
class Situation:
    """What upstream does (`LLMServer`'s words), how it is asked, and what users get of it."""

    upstream: str
    stream: bool = False
    fallback: bool = False
    retries: int = 0
    control_fails: bool = False


SITUATIONS = {
    "healthy": Situation("ok"),
    "healthy-stream": Situation("ok", stream=True),
    "server-error": Situation("error@new"),
    "server-error-stream": Situation("error@new", stream=True),
    "rate-limit": Situation("limit@new"),
    "timeout": Situation("slow@new"),
    "stream-cut": Situation("cut@new", stream=True),
    "stream-unfinished": Situation("half@new", stream=True),
    "stream-error-in-band": Situation("in-band@new", stream=True),
    "stream-stalls": Situation("stall@new", stream=True),
    "server-error-falls-back": Situation("error@new", fallback=True),
    "server-error-stream-falls-back": Situation("error@new", stream=True, fallback=True),
    "rate-limit-falls-back": Situation("limit@new", fallback=True),
    "timeout-falls-back": Situation("slow@new", fallback=True),
    # no fallback in the middle of an answer; once a stall has cooled the deployments down, all fall back
    "stream-cut-with-fallback": Situation("cut@new", stream=True, fallback=True),
    "stream-stalls-with-fallback": Situation("stall@new", stream=True, fallback=True),
    "both-fail": Situation("error", fallback=True, control_fails=True),
    "retried-in-vain": Situation("error@new", retries=1),
}
CASES = [(name, count) for name in SITUATIONS for count in DEPLOYMENTS]
OTHERS = ("cooldown-2", "half-sick-2", "impatient-1", "left-1")
OTHERS_FALLING_BACK = ("fallback-cut-1", "latency-fallback-1")


@dataclass
class Users:
    """How the requests of one cohort ended. A request that fell back was served, but not by what was asked for."""

    asked: int = 0
    failed: int = 0
    fell_back: int = 0
    no_deployment: int = 0


@pytest.fixture(scope="module")
def upstream() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, upstream: LLMServer) -> Iterator[LiteLLMProxy]:
    folder = tmp_path_factory.mktemp("proxy")
    # JSON is YAML
    (folder / "config.yaml").write_text(json.dumps(configuration(upstream.url)))
    with LiteLLMProxy(folder, {}) as proxy:
        yield proxy


def configuration(url: str) -> dict[str, Any]:
    def deployment(group: str, model: str) -> dict[str, Any]:
        of_upstream = {"model": f"openai/{model}", "api_base": url, "api_key": "x", "max_retries": 0}
        return {"model_name": group, "litellm_params": {**of_upstream, "timeout": TIMEOUT, "stream_timeout": TIMEOUT}}

    falling_back = [*(f"{name}-{count}" for name, count in CASES if SITUATIONS[name].fallback), *OTHERS_FALLING_BACK]
    groups = [*(f"{name}-{count}" for name, count in CASES), *OTHERS, *OTHERS_FALLING_BACK]
    return {
        "model_list": [
            *(deployment(f"{group}-old", "old-0") for group in groups),
            *(deployment(f"{group}-new", f"new-{at}") for group in groups for at in range(int(group[-1]))),
        ],
        "litellm_settings": {"callbacks": ["prometheus"], "num_retries": 0},
        "router_settings": {
            "num_retries": 0,
            "allowed_fails": 1,
            "cooldown_time": 300,
            "fallbacks": [{f"{group}-new": [f"{group}-old"]} for group in falling_back],
        },
    }


def rollout_of(group: str) -> Rollout:
    text = f"rollout: r\ncontrol: {group}-old\ncanary: {group}-new\nmetrics: litellm\n"
    (one,) = load_text(text.encode(), name="f.yaml").rollouts
    return one


def page_of(proxy: LiteLLMProxy) -> Pages:
    return {"proxy": proxy.exposition()}


def ask(proxy: LiteLLMProxy, model: str, situation: Situation, users: Users) -> None:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": situation.upstream}],
        "stream": situation.stream,
        "num_retries": situation.retries,
    }
    answer = proxy.client.post("/v1/chat/completions", json=body)
    users.asked += 1
    users.no_deployment += "No deployments available" in answer.text
    if answer.status_code != 200 or '"error"' in answer.text or (situation.stream and '"stop"' not in answer.text):
        users.failed += 1
    elif answer.headers["x-litellm-model-group"] != model:
        users.fell_back += 1


def counts_settle(proxy: LiteLLMProxy, before: Pages, rollout: Rollout, trials: int) -> dict[str, tuple[float, float]]:
    """The proxy counts a moment after it has answered; what is asserted is what has been counted then."""
    found: dict[str, tuple[float, float]] = {}

    def settled() -> bool:
        page = page_of(proxy)
        reading = read_between(before, page, rollout, "error_rate")
        if not (isinstance(reading.control, Counts) and isinstance(reading.canary, Counts)):
            return False  # a cohort that nothing was counted of yet has no series
        found.update(counted(before, page, rollout))
        return sum(of for _, of in found.values()) >= trials

    wait_until(settled, f"{trials} requests are counted")
    return found


def asked_of_both(proxy: LiteLLMProxy, group: str, situation: Situation) -> tuple[Users, Users]:
    canary, control = Users(), Users()
    for _ in range(CANARY_ASKED):
        ask(proxy, f"{group}-new", situation, canary)
    for _ in range(CONTROL_ASKED):
        ask(proxy, f"{group}-old", situation, control)
    return canary, control


@pytest.mark.parametrize(("name", "count"), CASES)
def test_the_preset_counts_what_users_got(proxy: LiteLLMProxy, name: str, count: int) -> None:
    """Failures of the canary are the canary's, whatever the proxy picked, and control's are control's."""
    situation, group = SITUATIONS[name], f"{name}-{count}"
    before = page_of(proxy)
    canary, control = asked_of_both(proxy, group, situation)
    # the situation is what its name says
    assert canary.failed + canary.fell_back == (0 if situation.upstream == "ok" else CANARY_ASKED)
    assert canary.fell_back == 0 or situation.fallback
    assert canary.failed == 0 or not name.endswith("-falls-back")
    assert (control.failed, control.fell_back) == (CONTROL_ASKED if situation.control_fails else 0, 0)

    found = counts_settle(proxy, before, rollout_of(group), CANARY_ASKED + CONTROL_ASKED)
    assert found == {
        "canary": (canary.failed + canary.fell_back, CANARY_ASKED),
        "control": (control.failed, CONTROL_ASKED),
    }


def test_a_cooldown_counts_as_the_canarys(proxy: LiteLLMProxy) -> None:
    """Nothing was picked, so there is no deployment's name: a preset that counts by deployment reads 0 here."""
    situation, group = Situation("limit@new"), "cooldown-2"
    before = page_of(proxy)
    canary, _ = asked_of_both(proxy, group, situation)
    assert canary.no_deployment > 0
    found = counts_settle(proxy, before, rollout_of(group), CANARY_ASKED + CONTROL_ASKED)
    assert found == {"canary": (CANARY_ASKED, CANARY_ASKED), "control": (0, CONTROL_ASKED)}


# --- what the preset cannot see, or sees twice: as its text says -------------------------------------


def test_what_a_retry_made_good_is_not_seen(proxy: LiteLLMProxy, upstream: LLMServer) -> None:
    """One of the canary's two deployments fails always: users wait longer, none fails, no rule sees it."""
    situation, group = Situation("error@new-0", retries=2), "half-sick-2"
    before, asked_before = page_of(proxy), len(upstream.models)
    canary, _ = asked_of_both(proxy, group, situation)
    assert canary.failed == canary.fell_back == 0
    assert "new-0" in upstream.models[asked_before:]
    found = counts_settle(proxy, before, rollout_of(group), CANARY_ASKED + CONTROL_ASKED)
    assert found == {"canary": (0, CANARY_ASKED), "control": (0, CONTROL_ASKED)}


def test_a_client_that_gave_up_is_counted_when_the_proxy_does(proxy: LiteLLMProxy) -> None:
    """The canary hangs and clients leave first: their requests fail with the proxy's own timeout, and no earlier."""
    group = "impatient-1"
    before = page_of(proxy)
    for _ in range(CANARY_ASKED):
        with pytest.raises(httpx.ReadTimeout):
            proxy.client.post(
                "/v1/chat/completions",
                json={"model": f"{group}-new", "messages": [{"role": "user", "content": "slow@new"}]},
                timeout=TIMEOUT / 3,
            )
    ask(proxy, f"{group}-old", Situation("ok"), Users())
    found = counts_settle(proxy, before, rollout_of(group), CANARY_ASKED + 1)
    assert found == {"canary": (CANARY_ASKED, CANARY_ASKED), "control": (0, 1)}


def test_a_client_that_left_a_stream_is_no_failure(proxy: LiteLLMProxy) -> None:
    group = "left-1"
    before = page_of(proxy)
    for cohort in ("new", "old"):
        body = {"model": f"{group}-{cohort}", "messages": [{"role": "user", "content": "ok"}], "stream": True}
        with proxy.client.stream("POST", "/v1/chat/completions", json=body) as answer:
            next(answer.iter_bytes())
    found = counts_settle(proxy, before, rollout_of(group), 2)
    assert found == {"canary": (0, 1), "control": (0, 1)}


def test_metrics_ask_for_a_key(proxy: LiteLLMProxy) -> None:
    assert httpx.get(f"{proxy.client.base_url}/metrics", follow_redirects=True).status_code == 401


def test_a_fallback_whose_stream_breaks_is_counted_twice(proxy: LiteLLMProxy) -> None:
    """As a fallback, and as a failure: two events of one request, both the canary's."""
    situation, group = Situation("error@new,cut@old", stream=True), "fallback-cut-1"
    before = page_of(proxy)
    canary, control = asked_of_both(proxy, group, situation)
    assert (canary.failed, control.failed) == (CANARY_ASKED, CONTROL_ASKED)
    found = counts_settle(proxy, before, rollout_of(group), CANARY_ASKED + CONTROL_ASKED)
    assert found == {"canary": (2 * CANARY_ASKED, CANARY_ASKED), "control": (CONTROL_ASKED, CONTROL_ASKED)}


def test_latency_is_of_answers_under_the_group_that_served_them(proxy: LiteLLMProxy) -> None:
    """A canary that fell back is missing in its latency, and adds to control's."""
    situation, group = Situation("error@new", fallback=True), "latency-fallback-1"
    before = page_of(proxy)
    asked_of_both(proxy, group, situation)
    counts_settle(proxy, before, rollout_of(group), CANARY_ASKED + CONTROL_ASKED)
    after = page_of(proxy)
    reading = read_between(before, after, rollout_of(group), "latency_p95")
    assert isinstance(reading.control, Buckets)
    assert reading.control.counts[-1] == CANARY_ASKED + CONTROL_ASKED
    assert isinstance(reading.canary, Unreadable)
