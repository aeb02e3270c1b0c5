"""Which requests are asked a second time, and what of them is never sent: nothing that rests on, or writes, state."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.router.shadow.comparable import NotComparable, comparable

ASKED = [{"role": "user", "content": "hello"}]
FUNCTION = {"type": "function", "function": {"name": "refund", "parameters": {"type": "object"}}}


def chat(**more: Any) -> dict[str, Any]:
    return comparable("chat", {"messages": ASKED, **more})


def responses(**more: Any) -> dict[str, Any]:
    return comparable("responses", {"input": "hello", **more})


def test_what_shapes_the_answer_is_kept() -> None:
    shaping = {"temperature": 0.0, "max_tokens": 9, "seed": 1, "stream": True, "tools": [FUNCTION], "reasoning": {}}
    shaping |= {"response_format": {"type": "json_object"}, "extra_body": {"top_k": 3}}
    assert chat(**shaping) == {"messages": ASKED, **shaping}


def test_nothing_is_stored_by_any_api() -> None:
    """The Responses API stores by default. A field in ``extra_body`` would win over the argument."""
    assert responses() == {"input": "hello", "store": False}
    assert responses(store=True, extra_body={"store": True}) == {"input": "hello", "store": False}
    assert chat(store=True) == chat(extra_body={"store": True}) == {"messages": ASKED, "store": False}
    assert "store" not in chat()  # servers that do not know the field refuse it


@pytest.mark.parametrize("where", ["top", "extra_body"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("previous_response_id", "resp_1"), ("conversation", {"id": "conv_1"}), ("background", True)),
        *(("prompt", {"id": "pmpt_1"}), ("container", "c"), ("mcp_servers", [{"url": "https://x"}])),
        *(("tools", [{"type": "mcp", "server_url": "https://x"}]), ("tools", [{"type": "mcp_toolset"}])),
        *(("tools", [{"type": "file_search", "vector_store_ids": ["v"]}]), ("tools", [{"type": "image_generation"}])),
        *(("tools", [{"type": "code_interpreter", "container": "cntr_1"}]), ("tools", [{"type": "shell"}])),
        *(("tools", [FUNCTION, {"type": "a kind of tomorrow"}]), ("tools", [{"type": ["x"]}])),
        *(
            ("tools", [{"mcp": {"url": "https://x"}}]),
            ("tools", [{"googleSearch": {}, "fileSearch": {"stores": ["a"]}}]),
        ),
        *(("tools", {"0": FUNCTION}), ("tools", ["mcp"]), ("plugins", [{"id": "auto-router"}])),
        ("tools", [{"type": "namespace", "name": "crm", "tools": [{"type": "mcp", "server_url": "https://x"}]}]),
    ],
)
def test_what_rests_on_state_or_acts_is_not_comparable(where: str, name: str, value: object) -> None:
    with pytest.raises(NotComparable):
        responses(**({name: value} if where == "top" else {"extra_body": {name: value}}))


@pytest.mark.parametrize(
    "tool",
    [
        *(FUNCTION, {"name": "weather", "input_schema": {}}, {"type": "custom", "name": "x"}, {"googleSearch": {}}),
        *({"type": "web_search_preview"}, {"type": "web_search_20250305"}, {"type": "local_shell"}),
        *({"type": "bash_20250124"}, {"type": "code_interpreter", "container": {"type": "auto"}}),
        {"type": "shell", "environment": {"type": "local"}},
        *({"type": "namespace", "name": "crm", "tools": [FUNCTION]}, {"functionDeclarations": [{"name": "a"}]}),
    ],
)
def test_tools_that_the_service_runs_are_sent_as_definitions(tool: dict[str, Any]) -> None:
    """The service never runs what a shadow asks for. The provider may run what only reads."""
    assert responses(tools=[tool])["tools"] == [tool]


@pytest.mark.parametrize(
    "content",
    [
        *([{"type": "file", "file": {"file_id": "file-1"}}], [{"type": "input_image", "file_id": "file-1"}]),
        [{"type": "document", "source": {"type": "file", "file_id": "file-1"}}],
    ],
)
def test_files_of_productions_account_are_not_comparable(content: list[Any]) -> None:
    with pytest.raises(NotComparable, match="file_id"):
        chat(messages=[{"role": "user", "content": content}])


def test_reasoning_and_ids_of_control_are_not_sent() -> None:
    """No other model can read control's reasoning, and an id is looked for in production's store."""
    call = {"type": "function_call", "call_id": "c", "name": "refund", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": "done"}
    said = [*ASKED, {"type": "reasoning", "id": "rs_1", "summary": []}, {**call, "id": "fc_1"}, output]
    assert responses(input=said)["input"] == [*ASKED, call, output]
    for item in ({"type": "item_reference", "id": "x"}, {"type": "mcp_call", "id": "x"}, {"type": ["x"]}):
        with pytest.raises(NotComparable, match="item of type"):
            responses(input=[*ASKED, item])


@pytest.mark.parametrize("said", [iter(ASKED), None, 7, {}, []])
def test_messages_that_cannot_be_read_again_are_refused(said: Any) -> None:
    with pytest.raises(NotComparable):
        chat(messages=said)


def test_a_prompt_of_tokens_is_of_one_tokenizer() -> None:
    assert comparable("completions", {"prompt": ["a", "b"]}) == {"prompt": ["a", "b"]}
    for prompt in ([1, 2], [[1, 2], [3]]):
        with pytest.raises(NotComparable, match="tokenizer"):
            comparable("completions", {"prompt": prompt})


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
FIELDS = st.sampled_from(["messages", "input", "tools", "extra_body", "store", "prompt", "container", "background"])


@given(
    api=st.sampled_from(["chat", "responses", "messages", "completions", "asgi"]),
    request=st.dictionaries(FIELDS | st.text(max_size=8), DOCUMENTS, max_size=6),
)
def test_any_request_is_sent_or_refused_and_never_changed(api: str, request: dict[str, Any]) -> None:
    before = copy.deepcopy(request)
    try:
        sent = comparable(api, request)
    except NotComparable:
        sent = {}
    json.dumps(sent)
    assert not sent.get("container")
    assert not sent.get("store")
    assert request == before
