"""The copy of a finished request: without credentials, as it was asked, and of no one else's objects."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from killswitch.router.shadow.capture import Captured, capture, contents_of, copy_of
from killswitch.router.shadow.drops import Drop
from tests.doubles.finished_requests import finished

HELLO = {"role": "user", "content": "hello"}
TOOL = {"type": "function", "function": {"name": "refund", "parameters": {"properties": {"user": {}, "headers": {}}}}}


def captured(*, most_bytes: int = 100_000, tools_act: bool = True, **changes: Any) -> Captured:
    made = capture(finished(**changes), most_bytes=most_bytes, tools_act=tools_act)
    assert isinstance(made, Captured), made
    return made


def refused(*, most_bytes: int = 100_000, tools_act: bool = True, **changes: Any) -> Drop:
    made = capture(finished(**changes), most_bytes=most_bytes, tools_act=tools_act)
    assert isinstance(made, Drop), made
    return made


def test_what_is_appended_later_is_left_out() -> None:
    messages = [HELLO]
    one = finished(arguments={"messages": messages}, messages=(HELLO,))
    messages.extend([{"role": "assistant", "content": "hi"}, {"role": "user", "content": "and now?"}])
    made = capture(one, most_bytes=10_000, tools_act=True)
    assert isinstance(made, Captured)
    assert made.record["messages"] == [HELLO]
    assert made.turn == 1


@pytest.mark.parametrize("now", [[], [{"role": "user", "content": "other"}]])
def test_what_control_was_asked_is_copied_whatever_the_list_is_now(now: list[Any]) -> None:
    """Messages cut off, or others in their place."""
    assert captured(arguments={"messages": now}, messages=(HELLO,)).record["messages"] == [HELLO]


@pytest.mark.parametrize("which", [0, -1])
def test_the_first_or_last_message_edited_in_place_is_noticed(which: int) -> None:
    """A system prompt or a question that says something else than what control has answered."""
    messages: Any = ({"role": "system", "content": "be kind"}, {"role": "user", "content": ["hi"]})
    before = contents_of(messages)
    messages[which]["content"] = "other"
    assert refused(arguments={"messages": list(messages)}, messages=messages, contents=before) is Drop.CHANGED


def test_a_dictionary_that_changes_while_copied_is_dropped() -> None:
    class Changing(dict[str, Any]):
        def items(self) -> Any:
            raise RuntimeError("dictionary changed size during iteration")

    assert refused(arguments=Changing()) is Drop.CHANGED


def test_keys_and_routing_of_control_are_left_out() -> None:
    arguments = {
        "model": "model-old",
        "messages": [HELLO],
        "api_key": "sk-control",
        "extra_headers": {"Authorization": "Bearer sk-control"},
        "aws_secret_access_key": "s",
        "fallbacks": ["another"],
        "metadata": {"tags": ["prod"]},
        "user": "ann@example.com",
        "on_token": lambda token: None,
        "extra_body": {"models": ["another"], "top_k": 5, "api_key": "k"},
        "temperature": 0.2,
    }
    made = captured(arguments=arguments)
    assert made.record == {"messages": [HELLO], "extra_body": {"top_k": 5}, "temperature": 0.2}
    assert made.request == made.record


SECRET = "sk-of-production"


@pytest.mark.parametrize(
    "arguments",
    [
        *({name: SECRET} for name in ("token", "api_token", "x-api-key", "access_key_id", "subscription_key", "auth")),
        *({"extra_body": {name: SECRET}} for name in ("token", "apiKey", "Ocp-Apim-Subscription-Key", "a new option")),
        *({"vertex_credentials": {"private_key": SECRET}}, {"a_new_option": {"inside": [SECRET]}}),
        *({"reasoning": {"authentication": {"key": SECRET}}}, {"extra_body": {"safety_settings": {"token": SECRET}}}),
        {"tools": [{"type": "web_search", "connection_string": SECRET, "parameters": 1}]},
        {"extra_body": SECRET},
    ],
)
def test_no_credential_is_in_the_copy(arguments: dict[str, Any]) -> None:
    made = captured(arguments={"messages": [HELLO], "temperature": 0.2, **arguments}, side_effects=False)
    assert SECRET not in json.dumps(made.record) + repr(made.request)
    assert made.record["messages"] == [HELLO]
    assert made.record["temperature"] == 0.2


def test_data_of_an_account_is_neither_copied_nor_asked() -> None:
    """Azure's own data: with a key in it, and answered from what is not in the request."""
    source = {"type": "azure_search", "parameters": {"authentication": {"type": "api_key", "key": SECRET}}}
    for arguments in ({"data_sources": [source]}, {"extra_body": {"data_sources": [source]}}):
        assert refused(arguments={"messages": [HELLO], **arguments}) is Drop.NOT_COMPARABLE


@pytest.mark.parametrize("name", ["messages", "input", "prompt"])
def test_a_question_in_extra_body_is_not_asked(name: str) -> None:
    """It would replace the question that is compared."""
    assert refused(arguments={"messages": [HELLO], "extra_body": {name: [HELLO]}}) is Drop.NOT_COMPARABLE


def test_what_shapes_an_answer_is_no_credential() -> None:
    shaping = {"max_tokens": 5, "stop_token_ids": [1], "min_tokens": 1, "logit_bias": {"50": 1}}
    assert captured(arguments={"messages": [HELLO], **shaping}).record == {"messages": [HELLO], **shaping}


def test_names_in_texts_and_schemas_of_users_stay() -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "x", "metadata": 1}]}
    made = captured(arguments={"messages": [message], "tools": [TOOL]}, side_effects=False)
    assert made.record["messages"] == [message]
    assert made.record["tools"] == [TOOL]


def test_no_object_of_the_callers_is_in_the_copy() -> None:
    arguments = {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}
    made = captured(arguments=arguments)
    mutated = copy_of(made.request)
    mutated["messages"][0]["content"][0]["text"] = "changed by a client"
    mutated["messages"].append(HELLO)
    assert arguments == {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}
    assert made.request == made.record == arguments


@pytest.mark.parametrize(
    ("changes", "tools_act", "asked"),
    [
        ({}, True, True),
        ({"arguments": {"messages": [HELLO], "tools": [TOOL]}}, True, False),
        ({"arguments": {"messages": [HELLO], "tools": []}}, True, True),
        ({"arguments": {"messages": [HELLO], "tools": [TOOL]}}, False, True),
        ({"arguments": {"messages": [HELLO], "tools": [TOOL]}, "side_effects": False}, True, True),
        ({"side_effects": True}, False, False),
        ({"arguments": {"input": "x", "conversation": "c"}, "side_effects": False}, False, False),
        ({"arguments": {"input": "x", "mcp_servers": [{"url": "u"}]}}, True, False),
        ({"arguments": {"messages": [HELLO], "extra_body": {"tools": [TOOL]}}}, True, False),
        ({"arguments": {"messages": [HELLO], "extra_body": {"plugins": [{"id": "web"}]}}}, True, False),
        (
            {"arguments": {"messages": [HELLO], "extra_body": {"conversation": "c"}}, "side_effects": False},
            False,
            False,
        ),
    ],
)
def test_what_acts_on_the_world_is_asked_only_where_said(changes: dict[str, Any], tools_act: bool, asked: bool) -> None:
    made = capture(finished(**changes), most_bytes=10_000, tools_act=tools_act)
    assert isinstance(made, Captured) is asked
    assert asked or made is Drop.SIDE_EFFECTS


def test_a_shadows_answer_is_not_stored_with_the_services() -> None:
    assert captured(api="responses", arguments={"input": "x"}).request["store"] is False
    assert captured(arguments={"messages": [HELLO], "store": True}).request["store"] is False
    assert "store" not in captured().request


@pytest.mark.parametrize(
    ("arguments", "turn"),
    [
        ({"messages": [HELLO]}, 1),
        ({"messages": [HELLO, {"role": "assistant", "content": "a"}, HELLO]}, 2),
        ({"messages": [HELLO, {"role": "user", "content": [{"type": "tool_result", "content": "r"}]}]}, 1),
        ({"input": "x"}, 1),
        ({"input": [HELLO, {"type": "message", "role": "assistant", "content": "a"}, HELLO]}, 2),
        ({"prompt": "x"}, 1),
    ],
)
def test_the_turn_is_the_number_of_user_turns(arguments: dict[str, Any], turn: int) -> None:
    assert captured(arguments=arguments).turn == turn


def test_what_is_too_large_or_deep_is_dropped() -> None:
    large = {"messages": [{"role": "user", "content": "x" * 2000}]}
    assert refused(arguments=large, most_bytes=1000) is Drop.TOO_LARGE
    assert refused(arguments=json.dumps(large).encode(), most_bytes=1000) is Drop.TOO_LARGE
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert refused(arguments={"messages": deep}) is Drop.TOO_LARGE
    assert refused(arguments=b"[" * 50_000) is Drop.TOO_LARGE


def test_a_body_of_bytes_is_read_as_json() -> None:
    made = captured(arguments=b'{"messages": [{"role": "user", "content": "hi"}], "stream": true}', api="asgi")
    assert made.streamed
    assert made.record["messages"][0]["content"] == "hi"
    for body in (b"no json", b"[1]", b"\xff"):
        assert refused(arguments=body) is Drop.UNREADABLE


@pytest.mark.parametrize(
    ("api", "body"),
    [
        *(("chat", {"messages": [HELLO]}), ("messages", {"model": "m", "messages": [HELLO]})),
        *(("responses", {"input": "x"}), ("responses", {"model": "m", "messages": [HELLO]}), ("asgi", {"text": "x"})),
        *(("completions", {"model": "m"}), ("chat", {"model": {"of": "car"}, "messages": [HELLO]})),
    ],
)
def test_a_body_without_what_its_api_demands_is_refused(api: str, body: dict[str, Any]) -> None:
    assert refused(api=api, arguments=json.dumps(body).encode()) is Drop.NOT_COMPARABLE


def test_objects_of_sdks_are_sent_and_recorded() -> None:
    class Message:
        def model_dump(self, **_: Any) -> dict[str, Any]:
            return {"role": "assistant", "content": "said"}

    class Format:
        pass

    made = captured(arguments={"messages": [HELLO, Message()], "response_format": Format, "n": float("nan")})
    assert made.record["messages"][1] == {"role": "assistant", "content": "said"}
    assert made.request["response_format"] is Format
    assert made.record["response_format"] == "<Format>"
    json.dumps(made.record, allow_nan=False)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=12), json_values, max_size=5))
def test_any_request_gives_a_record_that_is_json(arguments: dict[str, Any]) -> None:
    made = capture(finished(arguments=arguments), most_bytes=100_000, tools_act=False)
    if isinstance(made, Captured):
        json.dumps(made.record, allow_nan=False)
        assert made.turn >= 1
    else:
        assert made in (Drop.TOO_LARGE, Drop.SIDE_EFFECTS, Drop.NOT_COMPARABLE)


def test_values_of_an_sdks_object_are_in_no_warning() -> None:
    """Pydantic warns of what is not of its field's type, with the value: the log would have the user's words."""

    class Message(BaseModel):
        role: str
        content: str

    words: Any = {"text": "my own words"}

    class Odd:
        def model_dump(self, *, exclude_none: bool) -> dict[str, Any]:
            return {"role": "user", "content": "hello", "exclude_none": exclude_none}

    said = [Message.model_construct(role="user", content=words), Odd()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = captured(arguments={"messages": said})
    assert made.record["messages"][0]["content"] == {"text": "my own words"}
    assert made.record["messages"][1]["exclude_none"] is True
