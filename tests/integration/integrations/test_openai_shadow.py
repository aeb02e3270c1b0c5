"""The OpenAI wrapper with a shadow: the real client, two loopback providers, and what reaches whom."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest
from prometheus_client import CollectorRegistry

from killswitch.errors import BadSettings
from killswitch.router import CohortMetrics
from killswitch.router.instruments import PrometheusInstruments
from killswitch.router.integrations.openai import RoutedOpenAI, shadow_ask
from killswitch.router.shadow.mirror import Shadow
from tests.doubles.held_split import armed, router_over, shadowed
from tests.doubles.llm_server import LLMServer
from tests.doubles.raw_pairs import Written

PRODUCTION_KEY, SHADOW_KEY = "sk-key-of-production", "sk-key-of-the-shadow"
CALLS: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "ok"}]},
    "responses": {"input": "ok"},
    "completions": {"prompt": "ok"},
}


class Setting:
    """Production's provider and the shadow's, each with a client and a key of its own."""

    def __init__(self, production: LLMServer, other: LLMServer, folder: Path) -> None:
        self.production, self.other, self.folder = production, other, folder
        self.router, self.held = router_over(shadowed(100.0))
        self.metrics = CohortMetrics(self.router, instruments=PrometheusInstruments.of(CollectorRegistry()))
        self.own: dict[str, Any] = {"base_url": production.url, "api_key": PRODUCTION_KEY, "max_retries": 0}
        self.shadows: dict[str, Any] = {"base_url": other.url, "api_key": SHADOW_KEY}
        self.shadow: Shadow | None = None

    def mirror(self, ask: Any = None, **options: Any) -> Shadow:
        ask = shadow_ask(openai.OpenAI(**self.shadows)) if ask is None else ask
        self.shadow = Shadow(self.router, ask=ask, spool=self.folder, metrics=self.metrics, **{"noise": 0.0, **options})
        return self.shadow

    def routed(self, *, asynchronous: bool = False, shadow: Shadow | None = None) -> RoutedOpenAI:
        client = (openai.AsyncOpenAI if asynchronous else openai.OpenAI)(**self.own)
        return RoutedOpenAI(client, router=self.router, metrics=self.metrics, shadow=shadow)

    def written(self) -> Written:
        assert self.shadow is not None
        return Written(self.shadow, self.folder)


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    with LLMServer() as production, LLMServer() as other:
        setting = Setting(production, other, tmp_path / "spool")
        yield setting
        if setting.shadow is not None:
            setting.shadow.close(0.5)


def endpoint(llm: RoutedOpenAI, api: str, **more: Any) -> Any:
    user = llm.for_user("u", **more)
    return user.chat.completions if api == "chat" else getattr(user, api)


def say(how: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": how}]}


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("api", list(CALLS))
def test_each_endpoint_is_asked_of_the_canary_as_well(setting: Setting, api: str, asynchronous: bool) -> None:
    ask = shadow_ask((openai.AsyncOpenAI if asynchronous else openai.OpenAI)(**setting.shadows))
    llm = setting.routed(asynchronous=asynchronous, shadow=setting.mirror(ask))
    answer = endpoint(llm, api, prompt_class="billing", request_id="r-1").create(**CALLS[api])
    if asynchronous:
        answer = asyncio.run(answer)
    assert answer.model == "model-old"
    pair = setting.written().pair
    assert (pair.id, pair.kind, pair.prompt_class) == ("r-1", "candidate", "billing")
    assert (pair.control.model, pair.other.model) == ("model-old", "model-new")
    assert (pair.control.text, pair.other.text) == ("answered by model-old", "answered by model-new")
    assert pair.control.usage is not None
    assert (setting.production.models, setting.other.models) == (["model-old"], ["model-new"])
    assert setting.other.requests[0][1]["authorization"] == f"Bearer {SHADOW_KEY}"


@pytest.mark.parametrize("api", list(CALLS))
def test_production_is_asked_the_same_with_shadow_on_and_off(setting: Setting, api: str) -> None:
    """Byte for byte: path, headers and body. Another project's shadow broke the primary call by a field of its own."""
    more = {"user": "u", "extra_headers": {"X-Trace": "t"}, "extra_body": {"top_k": 3, "models": ["x"]}, "timeout": 9}
    streamed = [{}, {"stream": True}] if api == "chat" else [{}]
    llms = (setting.routed(), setting.routed(shadow=setting.mirror()))
    for llm in llms:
        for stream in streamed:
            answer = endpoint(llm, api).create(**CALLS[api], **more, **stream)
            assert not stream or len(list(answer)) == 3
    sent = setting.production.requests
    assert sent[: len(streamed)] == sent[len(streamed) :]
    assert len(setting.written().pairs) == len(streamed)


def test_the_users_answer_is_the_clients_own_object(setting: Setting) -> None:
    class Client:
        def __init__(self, client: Any) -> None:
            self.answers: list[Any] = []
            self.chat = self.completions = self
            self._create = client.chat.completions.create

        def create(self, **arguments: Any) -> Any:
            self.answers.append(self._create(**arguments))
            return self.answers[-1]

    client = Client(openai.OpenAI(**setting.own))
    llm = RoutedOpenAI(client, router=setting.router, metrics=setting.metrics, shadow=setting.mirror())
    answer = llm.for_user("u").chat.completions.create(**say("ok"))
    before = answer.model_dump()
    assert setting.written().pair.control.text == "answered by model-old"
    assert answer is client.answers[0]
    assert answer.model_dump() == before


def test_chunks_are_the_streams_own_and_both_first_tokens_known(setting: Setting) -> None:
    llm = setting.routed(shadow=setting.mirror())
    with_shadow = [chunk.model_dump() for chunk in endpoint(llm, "chat").create(**say("ok"), stream=True)]
    without = [chunk.model_dump() for chunk in endpoint(setting.routed(), "chat").create(**say("ok"), stream=True)]
    assert with_shadow == without
    pair = setting.written().pair
    assert pair.control.text == pair.other.text == "Hello there"
    assert pair.control.streamed
    assert pair.other.streamed
    for answer in (pair.control, pair.other):
        assert answer.first_token_seconds is not None
        assert 0.0 < answer.first_token_seconds <= answer.seconds


def test_asynchronous_streams_are_shadowed_too(setting: Setting) -> None:
    llm = setting.routed(asynchronous=True, shadow=setting.mirror(shadow_ask(openai.AsyncOpenAI(**setting.shadows))))

    async def run() -> int:
        return len([chunk async for chunk in await endpoint(llm, "chat").create(**say("ok"), stream=True)])

    assert asyncio.run(run()) == 3
    pair = setting.written().pair
    assert pair.control.text == pair.other.text == "Hello there"


def test_half_an_answer_of_control_makes_no_pair(setting: Setting) -> None:
    """A stream that the user leaves, one that breaks off, and an error have no answer that could be compared."""
    llm = setting.routed(shadow=setting.mirror())
    with endpoint(llm, "chat").create(**say("ok"), stream=True) as stream:
        next(stream)
    list(endpoint(llm, "chat").create(**say("half"), stream=True))
    with pytest.raises(openai.InternalServerError):
        endpoint(llm, "chat").create(**say("error"))
    written = setting.written()
    assert written.pairs == []
    assert written.drops == {"not_comparable": 3}
    assert setting.other.models == []


@pytest.mark.parametrize(
    ("how", "outcome"),
    [
        ("slow@model-new", "timeout"),
        ("error@model-new", "error"),
        ("spend@model-new", "budget"),
        ("limit@model-new", "budget"),
    ],
)
def test_what_goes_wrong_in_the_shadow_is_recorded_alone(setting: Setting, how: str, outcome: str) -> None:
    """The user has control's answer at once, whatever the canary does; a spend limit is no error of the canary."""
    llm = setting.routed(shadow=setting.mirror(timeout=0.5))
    assert endpoint(llm, "chat").create(**say(how)).choices[0].message.content == "answered by model-old"
    pair = setting.written().pair
    assert (pair.control.outcome, pair.other.outcome) == ("ok", outcome)
    assert len(setting.other.models) == 1  # nothing is tried again


@pytest.mark.parametrize("how", ["half@model-new", "cut@model-new", "stall@model-new", "in-band@model-new"])
def test_a_canarys_stream_that_breaks_is_no_answer(setting: Setting, how: str) -> None:
    llm = setting.routed(shadow=setting.mirror(timeout=0.5))
    assert len(list(endpoint(llm, "chat").create(**say(how), stream=True))) == 3
    assert setting.written().pair.other.outcome in ("error", "timeout")


def test_an_answer_in_another_language_is_recorded_whole(setting: Setting) -> None:
    llm = setting.routed(shadow=setting.mirror())
    endpoint(llm, "chat").create(**say("japanese@model-new"))
    assert setting.written().pair.other.text == "model-newがお答えします。"


def test_a_typed_answer_is_asked_with_the_same_schema(setting: Setting) -> None:
    class Answer(pydantic.BaseModel):
        amount: int

    llm = setting.routed(shadow=setting.mirror())
    # the double answers in words, which is no Answer: the client's own error, for control as for the canary
    with pytest.raises(pydantic.ValidationError):
        endpoint(llm, "chat").parse(**say("ok"), response_format=Answer)
    parsed = endpoint(llm, "chat").parse(**say("refuse"), response_format=Answer)
    assert parsed.choices[0].message.refusal
    pair = setting.written().pair
    assert pair.other.outcome == pair.control.outcome == "refused"
    formats = [body["response_format"] for body in (setting.production.bodies[-1], setting.other.bodies[-1])]
    assert formats[0] == formats[1]
    assert formats[0]["type"] == "json_schema"


def test_a_shadow_sends_definitions_of_tools_and_runs_none(setting: Setting) -> None:
    tool = {"type": "function", "function": {"name": "refund", "parameters": {"type": "object", "properties": {}}}}
    llm = setting.routed(shadow=setting.mirror())
    endpoint(llm, "chat").create(**say("ok"), tools=[tool])  # tools act, unless the service says otherwise
    endpoint(llm, "chat", side_effects=False).create(**say("ok"), tools=[tool])
    written = setting.written()
    assert written.drops == {"side_effects": 1}
    assert [body["tools"] for body in setting.other.bodies] == [[tool]]
    assert written.pair.request["tools"] == [tool]


def test_what_writes_state_is_not_asked_and_nothing_is_stored(setting: Setting) -> None:
    llm = setting.routed(shadow=setting.mirror())
    for stateful in ({"previous_response_id": "resp_1"}, {"conversation": "conv_1"}, {"background": True}):
        endpoint(llm, "responses", side_effects=False).create(input="ok", **stateful)
    endpoint(llm, "responses").create(input="ok", store=True, metadata={"a": "b"}, user="u", safety_identifier="u")
    written = setting.written()
    assert sum(written.drops.values()) == 3
    assert setting.other.bodies == [{"model": "model-new", "input": "ok", "store": False}]


def test_a_message_appended_after_the_call_is_not_asked(setting: Setting) -> None:
    messages = [{"role": "user", "content": "ok"}]
    llm = setting.routed(shadow=setting.mirror())
    answer = endpoint(llm, "chat").create(messages=messages)
    messages.append({"role": "assistant", "content": answer.choices[0].message.content})
    assert len(setting.written().pair.request["messages"]) == len(setting.other.bodies[0]["messages"]) == 1


def test_no_key_and_no_user_is_in_the_spool(setting: Setting) -> None:
    llm = setting.routed(shadow=setting.mirror())
    secret = "sk-another-secret"
    llm.for_user("alice@example.com").chat.completions.create(
        **say("ok"),
        user="alice@example.com",
        metadata={"user": "alice@example.com"},
        extra_headers={"Authorization": f"Bearer {secret}", "Idempotency-Key": secret},
        extra_body={"api_key": secret, "top_k": 3},
    )
    written = setting.written()
    assert written.pair.request["extra_body"] == {"top_k": 3}
    for word in (secret, PRODUCTION_KEY, SHADOW_KEY, "alice", "Idempotency"):
        assert word.encode() not in written.raw
        assert word == SHADOW_KEY or word.encode() not in repr(setting.other.requests).encode()


def test_the_clients_of_production_and_shadow_are_kept_apart(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    client = openai.OpenAI(**setting.own)
    with pytest.raises(BadSettings, match="a client of its own"):
        RoutedOpenAI(client, router=setting.router, metrics=setting.metrics, shadow=setting.mirror(shadow_ask(client)))
    shared = shadow_ask(openai.OpenAI(**setting.own))
    with caplog.at_level(logging.WARNING):
        shadow = Shadow(setting.router, ask=shared, spool=setting.folder)
        RoutedOpenAI(client, router=setting.router, metrics=setting.metrics, shadow=shadow)
        shadow.close()
    assert caplog.text.count("one API key") == 1
    assert shared.shares_key
    assert PRODUCTION_KEY not in caplog.text


def test_control_is_asked_again_by_a_client_of_its_own_provider(setting: Setting) -> None:
    """The noise floor asks the control model, which the canary's provider need not know."""
    with LLMServer() as third:
        control = openai.OpenAI(base_url=third.url, api_key="sk-third")
        ask = shadow_ask(openai.OpenAI(**setting.shadows), control_client=control)
        llm = setting.routed(shadow=setting.mirror(ask, noise=1.0))
        endpoint(llm, "chat").create(**say("ok"))
        pairs = {pair.kind: pair.other.text for pair in setting.written().pairs}
        assert pairs == {"candidate": "answered by model-new", "noise": "answered by model-old"}
        assert (setting.other.models, third.models) == (["model-new"], ["model-old"])


def test_nothing_is_shadowed_outside_stage_shadow(setting: Setting) -> None:
    llm = setting.routed(shadow=setting.mirror())
    for split in (armed(0.0), armed(100.0)):
        setting.held.current = split
        endpoint(llm, "chat").create(**say("ok"))
    written = setting.written()
    assert (written.pairs, written.drops, setting.other.models) == ([], {}, [])


def test_ten_thousand_concurrent_requests_are_not_mixed_up(setting: Setting) -> None:
    """Each user's answer is control's to that user; each pair is of one request, its answers and its user."""

    class Client:
        """Answers with its model and what it was asked, after a random number of turns of the loop."""

        def __init__(self) -> None:
            self.chat = self.completions = self

        async def create(self, **arguments: Any) -> dict[str, Any]:
            for _ in range(hash(arguments["messages"][0]["content"]) % 7):
                await asyncio.sleep(0)
            return self.answer(arguments)

        @staticmethod
        def answer(arguments: Mapping[str, Any]) -> dict[str, Any]:
            said = f"{arguments['model']} to {arguments['messages'][0]['content']}"
            return {"choices": [{"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}]}

    setting.held.current = shadowed(20.0)
    shadow = setting.mirror(lambda asking: Client.answer(asking.request), queue=10_000)
    llm = RoutedOpenAI(Client(), router=setting.router, metrics=setting.metrics, shadow=shadow)

    async def ask(number: int) -> None:
        user = llm.for_user(f"user-{number}", request_id=f"tag-{number}", prompt_class=f"class-{number}")
        answer = await user.chat.completions.create(**say(f"tag-{number}"))
        assert answer["choices"][0]["message"]["content"] == f"model-old to tag-{number}"

    async def run() -> None:
        await asyncio.gather(*(ask(number) for number in range(10_000)))

    asyncio.run(run())
    sampled = {f"tag-{number}" for number in range(10_000) if shadow.samples(f"tag-{number}")}
    assert 1500 < len(sampled) < 2500
    shadow.close(60.0)
    pairs = setting.written().pairs
    assert len(pairs) == len(sampled)
    assert {pair.id for pair in pairs} == sampled
    for pair in pairs:
        assert pair.request["messages"] == [{"role": "user", "content": pair.id}]
        assert pair.control.text == f"model-old to {pair.id}"
        assert pair.other.text == f"model-new to {pair.id}"
        assert pair.prompt_class == pair.id.replace("tag", "class")
