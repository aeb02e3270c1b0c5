"""The real LiteLLM router with a shadow: production is asked as before, and the canary by calls of the shadow's own."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import litellm
import pytest
from litellm.integrations.custom_logger import CustomLogger
from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER
from prometheus_client import CollectorRegistry

from killswitch.errors import BadSettings
from killswitch.router import CohortMetrics
from killswitch.router.instruments import PrometheusInstruments
from killswitch.router.integrations.litellm import LiteLLMSwitch, shadow_ask
from killswitch.router.shadow.mirror import Shadow
from tests.doubles.held_split import armed, router_over, shadowed
from tests.doubles.llm_server import LLMServer
from tests.doubles.raw_pairs import Written
from tests.servers.etcd import wait_until

PRODUCTION_KEY, SHADOW_KEY = "sk-key-of-production", "sk-key-of-the-shadow"
LOOP = asyncio.new_event_loop()  # one, as a service has: LiteLLM's logging belongs to the first that uses it
MESSAGES = [{"role": "user", "content": "ok"}]
CALLS: dict[str, dict[str, Any]] = {
    "acompletion": {"messages": MESSAGES},
    "completion": {"messages": MESSAGES},
    "atext_completion": {"prompt": "ok"},
    "aresponses": {"input": "ok"},
    "aanthropic_messages": {"messages": MESSAGES, "max_tokens": 9},
}


class Setting:
    """``old`` is control's provider, ``new`` the canary's in production, ``other`` the shadow's own."""

    def __init__(self, old: LLMServer, new: LLMServer, other: LLMServer, folder: Path) -> None:
        self.old, self.new, self.other, self.folder = old, new, other, folder
        self.router, self.held = router_over(shadowed(100.0))
        self.registry = CollectorRegistry()
        self.metrics = CohortMetrics(self.router, instruments=PrometheusInstruments.of(self.registry))
        self.shadow: Shadow | None = None

    def deployments(self) -> dict[str, dict[str, Any]]:
        """The shadow's own."""
        of = {"api_base": self.other.url, "api_key": SHADOW_KEY}
        return {name: {"model": f"openai/{name}", **of} for name in ("model-old", "model-new")}

    def mirror(self, ask: Any = None, **options: Any) -> Shadow:
        ask = shadow_ask(self.deployments()) if ask is None else ask
        self.shadow = Shadow(self.router, ask=ask, spool=self.folder, **{"noise": 0.0, **options})
        return self.shadow

    def llm(self, shadow: Shadow | None = None, **options: Any) -> Any:
        def group(name: str, server: LLMServer) -> dict[str, Any]:
            reached = {"model": f"openai/{name}", "api_base": server.url, "api_key": PRODUCTION_KEY}
            return {"model_name": name, "litellm_params": {**reached, "max_retries": 0}, "model_info": {"id": name}}

        models = [group("model-old", self.old), group("model-new", self.new), group("spare", self.old)]
        options = {"num_retries": 0, "disable_cooldowns": True, **options}
        switch = LiteLLMSwitch(self.router, self.metrics, canary="model-new", shadow=shadow)
        return switch.install(litellm.Router(model_list=models, **options))

    def written(self) -> Written:
        assert self.shadow is not None
        return Written(self.shadow, self.folder)


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    with LLMServer() as old, LLMServer() as new, LLMServer() as other:
        setting = Setting(old, new, other, tmp_path / "spool")
        try:
            yield setting
        finally:
            litellm.logging_callback_manager._reset_all_callbacks()
            if setting.shadow is not None:
                setting.shadow.close(0.5)


def ask(llm: Any, endpoint: str = "acompletion", **more: Any) -> Any:
    """The answer, or a list of the chunks; LiteLLM has told its callbacks when this returns."""

    async def run() -> Any:
        answer = getattr(llm, endpoint)(model="support-copilot", **{**CALLS[endpoint], "user": "alice", **more})
        try:
            answer = await answer if inspect.isawaitable(answer) else answer
            if more.get("stream"):
                return [chunk async for chunk in answer] if hasattr(answer, "__aiter__") else list(answer)
            return answer
        finally:
            await asyncio.sleep(0)
            await GLOBAL_LOGGING_WORKER.flush()
            pending = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            await asyncio.wait(pending, timeout=0.3) if pending else None
            await asyncio.to_thread(threads_are_done)

    return LOOP.run_until_complete(run())


def threads_are_done() -> None:
    """LiteLLM tells of synchronous calls on threads of its own."""
    switches = [callback for callback in litellm.callbacks if isinstance(callback, LiteLLMSwitch)]
    wait_until(lambda: not any(switch._shadowed and switch._shadowed._pending for switch in switches), "it has told")


ENDPOINTS = pytest.mark.parametrize("endpoint", list(CALLS))


@ENDPOINTS
def test_each_endpoint_is_asked_of_the_canary_as_well(setting: Setting, endpoint: str) -> None:
    metadata = {"prompt_class": "billing"}
    named = "metadata" if endpoint in ("acompletion", "completion", "atext_completion") else "litellm_metadata"
    ask(setting.llm(setting.mirror()), endpoint, **{named: metadata})
    pair = setting.written().pair
    assert (pair.control.text, pair.other.text) == ("answered by model-old", "answered by model-new")
    assert (pair.control.model, pair.other.model, pair.prompt_class) == ("model-old", "model-new", "billing")
    assert pair.control.usage
    assert (setting.old.models, setting.new.models, setting.other.models) == (["model-old"], [], ["model-new"])
    assert setting.other.requests[0][1]["authorization"] == f"Bearer {SHADOW_KEY}"
    # on a loop of the shadow's, LiteLLM would run the service's callbacks there
    assert GLOBAL_LOGGING_WORKER._bound_loop in (LOOP, None)


@ENDPOINTS
def test_production_is_asked_the_same_with_shadow_on_and_off(setting: Setting, endpoint: str) -> None:
    """Byte for byte. LiteLLM's own mirror leaked its model's name into the primary call, which failed."""
    streamed = [{}, {"stream": True}] if endpoint in ("acompletion", "completion") else [{}]
    answers = []
    for shadow in (None, setting.mirror()):
        llm = setting.llm(shadow)
        answers.append([ask(llm, endpoint, **stream) for stream in streamed])
        litellm.logging_callback_manager._reset_all_callbacks()
    sent = [(path, headers, body) for path, headers, body in setting.old.requests]
    assert sent[: len(streamed)] == sent[len(streamed) :]
    assert [type(answer) for answer in answers[0]] == [type(answer) for answer in answers[1]]
    assert len(setting.written().pairs) == len(streamed)


@pytest.mark.parametrize("endpoint", ["acompletion", "completion"])
def test_a_stream_is_recorded_whole_and_is_litellms_own(setting: Setting, endpoint: str) -> None:
    plain = ask(setting.llm(), endpoint, stream=True)
    litellm.logging_callback_manager._reset_all_callbacks()
    chunks = ask(setting.llm(setting.mirror()), endpoint, stream=True)
    assert [type(chunk) for chunk in chunks] == [type(chunk) for chunk in plain]
    pair = setting.written().pair
    assert pair.control.text == pair.other.text == "Hello there"
    assert pair.control.streamed
    assert pair.other.streamed
    assert pair.control.first_token_seconds is not None


def test_an_answer_of_a_fallback_is_not_controls(setting: Setting) -> None:
    llm = setting.llm(setting.mirror(), fallbacks=[{"support-copilot": ["spare"]}])
    answer = ask(llm, messages=[{"role": "user", "content": "error@model-old"}])
    assert answer.choices[0].message.content == "answered by spare"
    written = setting.written()
    assert (written.pairs, written.drops, setting.other.models) == ([], {"not_comparable": 1}, [])


def test_a_call_that_fails_makes_no_pair(setting: Setting) -> None:
    llm = setting.llm(setting.mirror())
    with pytest.raises(litellm.exceptions.InternalServerError):
        ask(llm, messages=[{"role": "user", "content": "error"}])
    written = setting.written()
    assert (written.pairs, written.drops, setting.other.models) == ([], {"not_comparable": 1}, [])


@pytest.mark.parametrize(
    ("how", "outcome"), [("slow@model-new", "timeout"), ("spend@model-new", "budget"), ("error@model-new", "error")]
)
def test_what_goes_wrong_in_the_shadow_is_recorded_alone(setting: Setting, how: str, outcome: str) -> None:
    llm = setting.llm(setting.mirror(timeout=1.0))
    answer = ask(llm, messages=[{"role": "user", "content": how}])
    assert answer.choices[0].message.content == "answered by model-old"
    pair = setting.written().pair
    assert (pair.control.outcome, pair.other.outcome) == ("ok", outcome)
    assert setting.other.models == ["model-new"]  # nothing is tried again


def test_callbacks_and_cache_of_the_service_see_no_shadow(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spend logs and traces are of production. A cache would answer control's second call with its first answer."""
    seen: list[str] = []

    class Spend(CustomLogger):  # type: ignore[misc]  # litellm is untyped here
        def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None:
            seen.append(str(kwargs["litellm_params"].get("api_base")))

        def log_post_api_call(self, kwargs: Any, *_: Any, **__: Any) -> None:
            seen.append(str(kwargs["litellm_params"].get("api_base")))

        async def async_log_success_event(self, kwargs: Any, *_: Any, **__: Any) -> None:
            seen.append(str(kwargs["litellm_params"].get("api_base")))

        def log_success_event(self, kwargs: Any, *_: Any, **__: Any) -> None:
            seen.append(str(kwargs["litellm_params"].get("api_base")))

    monkeypatch.setattr(litellm, "cache", litellm.Cache(type="local"))
    llm = setting.llm(setting.mirror(noise=1.0))
    litellm.callbacks.append(Spend())
    ask(llm, caching=False)
    pairs = {pair.kind: pair.other.text for pair in setting.written().pairs}
    threads_are_done()
    assert pairs == {"candidate": "answered by model-new", "noise": "answered by model-old"}
    assert sorted(setting.other.models) == ["model-new", "model-old"]
    assert seen
    assert not [base for base in seen if base.startswith(setting.other.url)]


_UNSTOPPABLE = ("async_pre_call_deployment_hook", "async_should_run_agentic_loop")


def watcher_of(seen: list[str], hooks: Sequence[str]) -> CustomLogger:
    """A callback of the service's with ``hooks``, which notes all that LiteLLM gives to them."""

    def watched(name: str) -> Any:
        base = getattr(CustomLogger, name)

        async def hook_async(self: Any, *positional: Any, **named: Any) -> Any:
            seen.append(f"{name} {positional} {named}")
            return await base(self, *positional, **named)

        def hook(self: Any, *positional: Any, **named: Any) -> Any:
            seen.append(f"{name} {positional} {named}")
            return base(self, *positional, **named)

        return hook_async if inspect.iscoroutinefunction(base) else hook

    watcher: CustomLogger = type("Watcher", (CustomLogger,), {name: watched(name) for name in hooks})()
    return watcher


@pytest.mark.parametrize(
    ("how", "outcome"), [("ok", "ok"), ("error@model-new", "error"), ("limit@model-new", "budget")]
)
@ENDPOINTS
def test_no_hook_of_a_callback_sees_the_shadow(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, endpoint: str, how: str, outcome: str
) -> None:
    """Nor is a call tried again as `litellm.num_retries` says, or this setting of the service's changed."""
    monkeypatch.setattr(litellm, "num_retries", 2)
    seen: list[str] = []
    names = [
        name for name, _ in inspect.getmembers(CustomLogger, inspect.isfunction) if "log" in name or "call" in name
    ]
    llm = setting.llm(setting.mirror())
    litellm.callbacks.append(watcher_of(seen, [name for name in names if name not in _UNSTOPPABLE]))
    field = next(name for name in ("prompt", "input", "messages") if name in CALLS[endpoint])
    said: Any = [{"role": "user", "content": how}] if field == "messages" else how
    ask(llm, endpoint, **{field: said})
    pair = setting.written().pair
    assert (pair.control.outcome, pair.other.outcome) == ("ok", outcome)
    assert setting.other.models == ["model-new"]
    assert litellm.num_retries == 2
    assert any(setting.old.url in one for one in seen)
    assert not [one for one in seen if setting.other.url in one or SHADOW_KEY in one]


@pytest.mark.parametrize("hook", _UNSTOPPABLE)
@pytest.mark.parametrize("endpoint", ["aresponses", "aanthropic_messages"])
def test_what_a_hook_would_change_is_not_asked(
    setting: Setting, caplog: pytest.LogCaptureFixture, endpoint: str, hook: str
) -> None:
    """LiteLLM runs two hooks in these calls, whatever log it is given; one of them may act on tool calls."""
    if not hasattr(CustomLogger, hook):
        pytest.skip("this LiteLLM has no such hook")
    seen: list[str] = []
    llm = setting.llm(setting.mirror())
    litellm.callbacks.append(watcher_of(seen, [hook]))
    with caplog.at_level(logging.WARNING):
        ask(llm, endpoint)
        written = setting.written()
    assert (written.pairs, written.drops, setting.other.models) == ([], {"not_comparable": 1}, [])
    assert f"Watcher.{hook}" in caplog.text
    assert not [one for one in seen if setting.other.url in one]


def test_a_stream_of_a_text_completion_is_no_error(setting: Setting) -> None:
    """LiteLLM's streams can be iterated both ways, and those of a synchronous call only synchronously."""
    ask(setting.llm(setting.mirror()), "atext_completion", stream=True)
    pair = setting.written().pair
    assert (pair.other.outcome, pair.other.error, pair.other.streamed) == ("ok", "", True)
    assert GLOBAL_LOGGING_WORKER._bound_loop in (LOOP, None)


@pytest.mark.parametrize("field", ["prompt_id", "vector_store_ids"])
def test_what_litellm_adds_to_the_messages_is_not_compared(setting: Setting, field: str) -> None:
    """Control was asked a stored prompt, or with passages of a store: the canary would get the bare messages."""
    named: Any = {field: ["x"] if field.endswith("s") else "x"}
    ask(setting.llm(setting.mirror()), **named)
    written = setting.written()
    assert (written.pairs, written.drops, setting.other.models) == ([], {"not_comparable": 1}, [])


@pytest.mark.parametrize("key", [PRODUCTION_KEY, SHADOW_KEY])
def test_a_key_of_productions_is_seen(setting: Setting, caplog: pytest.LogCaptureFixture, key: str) -> None:
    own = {name: {**parameters, "api_key": key} for name, parameters in setting.deployments().items()}
    own_ask = shadow_ask(own)
    with caplog.at_level(logging.WARNING):
        setting.llm(setting.mirror(own_ask))
    assert own_ask.shares_key == (key == PRODUCTION_KEY)
    assert ("one API key" in caplog.text) == (key == PRODUCTION_KEY)
    assert key not in caplog.text


def test_a_router_is_refused_as_the_shadows(setting: Setting) -> None:
    """Production's would use up its quota, and the switch keeps every router of the process from the canary."""
    with pytest.raises(BadSettings, match="was given a Router"):
        shadow_ask(setting.llm())


def test_a_model_without_parameters_is_no_error_of_the_candidate(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    llm = setting.llm(setting.mirror(shadow_ask({"another": {}})))
    with caplog.at_level(logging.WARNING):
        ask(llm)
        ask(llm)
        written = setting.written()
    assert (written.pairs, written.drops) == ([], {"not_comparable": 2})
    assert caplog.text.count("no litellm_params for 'model-new'") == 1


def test_messages_without_a_synchronous_call_are_not_asked(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    """Each kind of endpoint may have an ask of its own."""
    native = {"model-new": {**setting.deployments()["model-new"], "model": "anthropic/model-new"}}
    llm = setting.llm(setting.mirror(shadow_ask(native)))
    with caplog.at_level(logging.WARNING):
        ask(llm, "aanthropic_messages")
        written = setting.written()
    assert (written.pairs, written.drops) == ([], {"not_comparable": 1})
    assert "ask them by Anthropic's own client" in caplog.text


def test_no_key_no_user_and_no_metadata_is_in_the_spool(setting: Setting) -> None:
    secret = "sk-another-secret"
    more: dict[str, Any] = {
        "api_key": secret,
        "metadata": {"routing_key": "alice", "note": secret},
        "extra_headers": {"X-Key": secret},
    }
    ask(setting.llm(setting.mirror()), temperature=0.5, caching=False, litellm_session_id=secret, **more)
    written = setting.written()
    assert set(written.pair.request) == {"messages", "temperature"}
    assert set(setting.other.bodies[0]) == {"messages", "temperature", "model"}
    for word in (secret, PRODUCTION_KEY, SHADOW_KEY, "alice"):
        assert word.encode() not in written.raw


def test_outside_stage_shadow_nothing_is_noted(setting: Setting) -> None:
    setting.held.current = armed(0.0)
    ask(setting.llm(setting.mirror()))
    written = setting.written()
    assert (written.pairs, written.drops, setting.other.models) == ([], {}, [])


def test_a_request_of_the_proxy_is_shadowed(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy's hook names control's group before the router is asked, which then does not see the rollout's name."""
    llm = setting.llm()
    litellm.logging_callback_manager._reset_all_callbacks()
    switch = LiteLLMSwitch(setting.router, setting.metrics, canary="model-new", shadow=setting.mirror())
    proxy = types.ModuleType("litellm.proxy.proxy_server")
    proxy.llm_router = switch.install(llm)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "litellm.proxy.proxy_server", proxy)
    body = {"model": "support-copilot", "messages": MESSAGES, "user": "alice", "litellm_call_id": "call-1"}

    async def one(body: dict[str, Any]) -> None:
        data = await switch.async_pre_call_hook(None, None, dict(body), "acompletion")
        await asyncio.create_task(llm.acompletion(**data))
        await llm.acompletion(model="model-old", messages=MESSAGES)  # another service's own
        await asyncio.sleep(0)
        await GLOBAL_LOGGING_WORKER.flush()

    LOOP.run_until_complete(one(body))
    LOOP.run_until_complete(one({**body, "model": "spare"}))  # not of this rollout
    assert setting.written().pair.id == "call-1"
    labels = {"cohort": "control", "model": "model-old", "outcome": "ok"}
    assert setting.registry.get_sample_value("llm_requests_total", labels) == 1.0
