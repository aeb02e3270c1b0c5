"""The real LiteLLM router over two upstream servers: whatever its lists say, a tripped canary is not reached."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import Callable, Iterator
from typing import Any

import litellm
import pytest
from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER
from prometheus_client import CollectorRegistry

from killswitch.router import CohortMetrics, Outcome
from killswitch.router.instruments import PrometheusInstruments
from killswitch.router.integrations.litellm import LiteLLMSwitch
from killswitch.router.integrations.litellm_proof import PROVED, GuardNotReached
from tests.doubles.held_split import armed, router_over, tripped
from tests.doubles.llm_server import LLMServer

# one loop, as a service has: in older releases LiteLLM's logging belongs to the first loop that uses it
LOOP = asyncio.new_event_loop()
MESSAGES = [{"role": "user", "content": "ok"}]


class Setting:
    """One LiteLLM router over a control upstream and a canary upstream."""

    def __init__(self, old: LLMServer, new: LLMServer) -> None:
        self.old, self.new = old, new
        self.registry = CollectorRegistry()
        self.router, self.held = router_over(armed(100.0))
        self.metrics = CohortMetrics(self.router, instruments=PrometheusInstruments.of(self.registry))
        self.switch = LiteLLMSwitch(self.router, self.metrics, canary="model-new")

    def deployment(self, group: str, model: str, server: LLMServer, **info: Any) -> dict[str, Any]:
        parameters = {"model": f"openai/{model}", "api_base": server.url, "api_key": "x"}
        return {"model_name": group, "litellm_params": parameters, "model_info": info}

    def litellm_router(self, more: list[dict[str, Any]] | None = None, **options: Any) -> Any:
        models = [
            self.deployment("model-old", "model-old", self.old, id="old-1"),
            self.deployment("model-new", "model-new", self.new, id="new-1"),
            *(more or []),
        ]
        options.setdefault("num_retries", 0)
        return self.switch.install(litellm.Router(model_list=models, disable_cooldowns=True, **options))

    def outcomes(self, cohort: str, model: str, prefix: str = "llm_") -> dict[str, float]:
        values = {
            str(o): self.registry.get_sample_value(
                f"{prefix}requests_total", {"cohort": cohort, "model": model, "outcome": str(o)}
            )
            for o in Outcome
        }
        return {outcome: value for outcome, value in values.items() if value}


@pytest.fixture
def setting() -> Iterator[Setting]:
    with LLMServer() as old, LLMServer() as new:
        try:
            yield Setting(old, new)
        finally:
            litellm.logging_callback_manager._reset_all_callbacks()


def ask(router: Any, model: str = "support-copilot", user: str | None = "u", **more: Any) -> Any:
    async def answer() -> Any:
        try:
            return await router.acompletion(model=model, messages=MESSAGES, user=user, **more)
        finally:
            await logged()

    return LOOP.run_until_complete(answer())


async def logged() -> None:
    """LiteLLM tells its callbacks from tasks of its own; a loop that ends takes them along."""
    await asyncio.sleep(0)
    await GLOBAL_LOGGING_WORKER.flush()
    pending = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    await asyncio.wait(pending, timeout=0.3) if pending else None


def ask_synchronously(router: Any, model: str = "support-copilot", user: str | None = "u", **more: Any) -> Any:
    return router.completion(model=model, messages=MESSAGES, user=user, **more)


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come about"
        time.sleep(0.02)


WAYS = pytest.mark.parametrize("way", [ask, ask_synchronously])
FALLBACKS: list[dict[str, Any]] = [
    {"fallbacks": [{"support-copilot": ["model-new"]}]},
    {"fallbacks": [{"model-old": ["model-new"]}, {"support-copilot": ["model-old", "model-new"]}]},
    {"default_fallbacks": ["model-new"]},
    {"context_window_fallbacks": [{"model-old": ["model-new"]}], "fallbacks": [{"*": ["model-new"]}]},
    {"model_group_alias": {"sneaky": "model-new"}, "fallbacks": [{"support-copilot": ["sneaky"]}]},
    {"model_group_alias": {"model-old": "model-new"}},
    {"fallbacks": [{"support-copilot": ["new-1"]}]},
]  # fmt: skip


@WAYS
def test_clients_that_ask_for_the_rollout_get_their_routes_model(setting: Setting, way: Any) -> None:
    """A client asks for the rollout by name and gets the model of its route."""
    router = setting.litellm_router()
    assert way(router).choices[0].message.content == "answered by model-new"
    setting.held.current = tripped()
    assert way(router).choices[0].message.content == "answered by model-old"
    assert (len(setting.new.models), len(setting.old.models)) == (1, 1)


@WAYS
def test_the_split_is_the_sticky_hash_of_the_user(setting: Setting, way: Any) -> None:
    setting.held.current = armed(50.0)
    router = setting.litellm_router()
    for number in range(12):
        user = f"user-{number}"
        assert way(router, user=user).choices[0].message.content == f"answered by {setting.router.route(user).model}"


@WAYS
@pytest.mark.parametrize("options", FALLBACKS, ids=range(len(FALLBACKS)))
def test_no_fallback_list_reaches_the_canary_after_a_trip(setting: Setting, options: dict[str, Any], way: Any) -> None:
    setting.held.current = tripped()
    setting.old.failing = True  # so that every fallback is tried
    router = setting.litellm_router(**options)
    with pytest.raises(Exception, match=r"the model is broken|No deployments available|a model group of its own"):
        way(router)
    assert setting.new.models == []


@WAYS
@pytest.mark.parametrize("options", FALLBACKS, ids=range(len(FALLBACKS)))
def test_no_fallback_list_takes_a_control_user_to_an_armed_canary(
    setting: Setting, options: dict[str, Any], way: Any
) -> None:
    setting.held.current = armed(0.0)
    setting.old.failing = True
    router = setting.litellm_router(**options)
    with pytest.raises(Exception, match=r"the model is broken|No deployments available|a model group of its own"):
        way(router)
    assert setting.new.models == []


@WAYS
def test_fallbacks_named_in_the_request_do_not_reach_it_either(setting: Setting, way: Any) -> None:
    setting.held.current = tripped()
    setting.old.failing = True
    router = setting.litellm_router()
    with pytest.raises(Exception, match="the model is broken"):
        way(router, fallbacks=["model-new"])
    assert setting.new.models == []


@WAYS
@pytest.mark.parametrize("name", ["model-new", "new-1"])
def test_direct_canary_requests_go_to_control_after_a_trip(setting: Setting, name: str, way: Any) -> None:
    """After a trip, a request that names the canary directly is served by control."""
    setting.held.current = tripped()
    router = setting.litellm_router()
    assert way(router, model=name).choices[0].message.content == "answered by model-old"
    assert setting.new.models == []


@WAYS
def test_a_specific_canary_deployment_gets_nothing_after_a_trip(setting: Setting, way: Any) -> None:
    """After a trip, a request for a specific deployment of the canary does not reach it."""
    setting.held.current = tripped()
    router = setting.litellm_router()
    assert way(router, model="openai/model-new", specific_deployment=True).model == "model-old"
    assert setting.new.models == []


@WAYS
def test_a_canary_in_a_mixed_group_is_not_picked_after_a_trip(setting: Setting, way: Any) -> None:
    """After a trip, LiteLLM does not pick a canary deployment from a group that also holds control."""
    setting.held.current = tripped()
    upstreams = {"model-old": setting.old, "model-new": setting.new}
    router = setting.litellm_router([setting.deployment("mixed", name, at) for name, at in upstreams.items()])
    for _ in range(10):
        way(router, model="mixed")
    assert setting.new.models == []
    assert len(setting.old.models) == 10


@WAYS
def test_a_control_group_of_only_the_canary_is_refused(setting: Setting, way: Any) -> None:
    """If control's model group holds only the canary, the request is refused and the error says what to fix."""
    setting.held.current = tripped()
    models = [setting.deployment("model-old", "model-new", setting.new)]
    router = setting.switch.install(litellm.Router(model_list=models, num_retries=0))
    with pytest.raises(Exception, match=r"a model group of its own|No deployments available"):
        way(router)
    assert setting.new.models == []


@WAYS
def test_a_canary_users_fallback_to_control_is_served(setting: Setting, way: Any) -> None:
    setting.new.failing = True
    router = setting.litellm_router(fallbacks=[{"support-copilot": ["model-old"]}])
    assert way(router).choices[0].message.content == "answered by model-old"


@WAYS
def test_other_model_groups_are_left_alone(setting: Setting, way: Any) -> None:
    setting.held.current = tripped()
    router = setting.litellm_router([setting.deployment("embeddings", "other", setting.new)])
    assert way(router, model="embeddings").choices[0].message.content == "answered by other"


@WAYS
def test_without_a_user_it_is_control(setting: Setting, way: Any) -> None:
    assert way(setting.litellm_router(), user=None).choices[0].message.content == "answered by model-old"


def test_a_trip_between_attempts_sends_the_retry_to_control(setting: Setting) -> None:
    """If a trip comes between two attempts of one request, the second attempt goes to control."""
    router = setting.litellm_router(num_retries=2)
    setting.new.failing = True
    setting.new.asked = lambda: setattr(setting.held, "current", tripped())
    assert ask(router).choices[0].message.content == "answered by model-old"
    assert setting.new.models == ["model-new"]


def test_attempts_count_on_their_cohort_and_the_first_is_judged(setting: Setting) -> None:
    """Each attempt is counted on its own cohort, and only the first attempt is judged."""
    router = setting.litellm_router(num_retries=2, retry_after=0)
    setting.new.failing = True
    with pytest.raises(litellm.exceptions.InternalServerError):
        ask(router)
    until(lambda: setting.outcomes("canary", "model-new").get("error", 0.0) >= 3.0)
    assert setting.outcomes("canary", "model-new") == {"error": 3.0}
    assert setting.outcomes("canary", "model-new", "llm_judged_") == {"error": 1.0}
    setting.new.failing = False
    ask(router, user="other")
    until(lambda: setting.outcomes("canary", "model-new").get("ok") == 1.0)
    assert setting.outcomes("canary", "model-new", "llm_judged_") == {"error": 1.0, "ok": 1.0}


def test_in_aa_each_cohort_is_counted_though_both_have_one_model(setting: Setting) -> None:
    router = setting.litellm_router()
    for percent in (100.0, 0.0):
        setting.held.current = armed(percent).between("model-old", "model-old")
        ask(router)
    until(lambda: setting.outcomes("control", "model-old") == {"ok": 1.0})
    assert setting.outcomes("canary", "model-old") == {"ok": 1.0}


@WAYS
def test_a_fallback_to_control_counts_only_the_canarys_failure(setting: Setting, way: Any) -> None:
    """A fallback to control counts the failure of the canary and counts nothing on control."""
    setting.new.failing = True
    way(setting.litellm_router(fallbacks=[{"support-copilot": ["model-old"]}]))
    until(lambda: setting.outcomes("canary", "model-new") == {"error": 1.0})
    assert setting.outcomes("control", "model-old") == {}


def test_a_stream_is_counted_once_at_its_end(setting: Setting) -> None:
    router = setting.litellm_router()

    async def run() -> int:
        stream = await router.acompletion(model="support-copilot", messages=MESSAGES, user="u", stream=True)
        count = len([chunk async for chunk in stream])
        await logged()
        return count

    assert LOOP.run_until_complete(run()) >= 2
    until(lambda: setting.outcomes("canary", "model-new") == {"ok": 1.0})


def test_two_rollouts_share_a_router_and_are_both_counted(setting: Setting) -> None:
    """Two rollouts of one process share a LiteLLM router, and both are counted."""
    other_router, _ = router_over(armed(100.0).between("other-old", "other-new"), rollout="other")
    other = LiteLLMSwitch(other_router, setting.metrics, canary="other-new")
    router = setting.litellm_router(
        [
            setting.deployment("other-old", "other-old", setting.old),
            setting.deployment("other-new", "other-new", setting.new),
        ]
    )
    for _ in range(3):
        other.install(router)
        setting.switch.install(router)  # twice is once
    assert ask(router, model="other").model == "other-new"
    assert ask(router).model == "model-new"
    until(lambda: setting.outcomes("canary", "other-new") == {"ok": 1.0})
    until(lambda: setting.outcomes("canary", "model-new") == {"ok": 1.0})
    assert len(router._killswitch_switches) == 2


ENDPOINTS = pytest.mark.parametrize("endpoint", sorted(PROVED))


@ENDPOINTS
@pytest.mark.parametrize("model", ["support-copilot", "model-new", "new-1", "sneaky", "mixed"])
def test_no_endpoint_serves_a_tripped_canary_whatever_is_asked(setting: Setting, endpoint: str, model: str) -> None:
    """After a trip, no endpoint of LiteLLM serves the canary, whatever model the request names."""
    setting.held.current = tripped()
    mixed = [
        setting.deployment("mixed", name, at) for name, at in (("model-old", setting.old), ("model-new", setting.new))
    ]
    router = setting.litellm_router(mixed, model_group_alias={"sneaky": "model-new"}, default_fallbacks=["model-new"])
    method = getattr(router, endpoint)
    with contextlib.suppress(Exception):  # control answers chat and responses alone; where nothing arrives is the point
        answer = method(model=model, user="u", **PROVED[endpoint])
        if inspect.isawaitable(answer):
            LOOP.run_until_complete(asyncio.wait_for(answer, 20))
    assert setting.new.models == []


class Deaf(LiteLLMSwitch):
    """A switch whose hooks the installed LiteLLM never calls."""

    async def async_filter_deployments(self, model: str, healthy_deployments: Any, *_: Any, **__: Any) -> Any:
        return healthy_deployments

    def pre_call_check(self, deployment: Any) -> None:
        pass

    def guard_picks(self, litellm_router: Any) -> None:
        pass


def test_a_release_that_skips_the_guard_is_refused_and_unchanged(setting: Setting) -> None:
    """A LiteLLM release that does not ask the guard is refused, and its router is left unchanged."""
    switch = Deaf(setting.router, setting.metrics, canary="model-new")
    router = litellm.Router(model_list=[setting.deployment("model-old", "model-old", setting.old)])
    with pytest.raises(GuardNotReached, match=r"serves .*acompletion.*aresponses.*completion.* past the kill switch's"):
        switch.install(router)
    assert not any(callback is switch for callback in litellm.callbacks)
    assert ask(router, model="model-old").choices[0].message.content == "answered by model-old"


def test_a_groups_own_fallbacks_survive_the_rollouts_list(setting: Setting) -> None:
    """Lists name what clients ask for; the request goes to the route's group."""
    setting.new.failing = True
    router = setting.litellm_router(fallbacks=[{"model-new": ["model-old"]}, {"support-copilot": ["nothing-there"]}])
    assert ask(router).choices[0].message.content == "answered by model-old"
