"""What is read out of answers of every provider's shape, whole and in chunks, and of no shape at all."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.router.shadow.answers import MOST_CALLS, MOST_CHARACTERS, canonical, read
from killswitch.router.shadow.raw_pair import RawAnswer, RawPair, ToolCall, from_line, to_line
from tests.doubles.finished_requests import chat_answer
from tests.unit.router.shadow.answer_shapes import CHUNKS, WHOLE


def as_object(value: Any) -> Any:
    """The same as an SDK gives it: attributes in place of keys, and a tool's input as plain JSON."""
    if isinstance(value, dict):
        return SimpleNamespace(**{name: each if name == "input" else as_object(each) for name, each in value.items()})
    return [as_object(each) for each in value] if isinstance(value, list) else value


CALLS = (ToolCall("refund", '{"amount":5,"order":"a"}'),)


@pytest.mark.parametrize("as_sdk", [False, True])
@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_answer_is_read(name: str, as_sdk: bool) -> None:
    answer, finish = WHOLE[name]
    found = read(as_object(answer) if as_sdk else answer)
    assert (found.text, found.finish_reason, found.failed) == ("Hello there", finish, False)
    assert found.tool_calls == (CALLS if "tools" in name else ())
    assert found.usage
    assert set(found.usage.values()) & {7}


@pytest.mark.parametrize("as_sdk", [False, True])
@pytest.mark.parametrize("name", CHUNKS)
def test_chunks_make_the_same_answer(name: str, as_sdk: bool) -> None:
    chunks, finish = CHUNKS[name]
    found = read([as_object(chunk) for chunk in chunks] if as_sdk else chunks)
    assert (found.text, found.finish_reason, found.failed) == ("Hello there", finish, False)
    assert found.tool_calls == (CALLS if "tools" in name else ())
    assert found.usage
    assert set(found.usage.values()) & {7}


@pytest.mark.parametrize("name", CHUNKS)
def test_a_stream_that_breaks_off_has_failed(name: str) -> None:
    chunks, _ = CHUNKS[name]
    assert read(chunks[:2]).failed


@pytest.mark.parametrize("name", [*WHOLE, *CHUNKS])
def test_a_body_is_read_as_its_json_or_its_events(name: str) -> None:
    if name in WHOLE:
        answer, finish = WHOLE[name]
        body = json.dumps(answer).encode()
    else:
        chunks, finish = CHUNKS[name]
        body = b"".join(b"event: x\ndata: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
        body += b"data: [DONE]\n\n"
    for found in (read(body), read([body[:20], body[20:]])):
        assert (found.text, found.finish_reason, found.failed) == ("Hello there", finish, False)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"choices": [{"message": {"content": None, "refusal": "I cannot."}, "finish_reason": "stop"}]}, "I cannot."),
        (
            {
                "object": "response",
                "status": "completed",
                "output": [{"content": [{"type": "refusal", "refusal": "no"}]}],
            },
            "no",
        ),
        ({"type": "message", "stop_reason": "refusal", "content": []}, ""),
        ({"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}, ""),
    ],
)
def test_a_refusal_is_read_with_its_words(answer: Any, text: str) -> None:
    found = read(answer)
    assert found.refused
    assert found.text == text


def test_of_several_choices_the_first_is_read() -> None:
    answer = chat_answer("first")
    answer["choices"].append({"index": 1, "message": {"content": "second"}, "finish_reason": "stop"})
    assert read(answer).text == "first"


@pytest.mark.parametrize(
    ("answer", "budget"),
    [
        ({"error": {"message": "x", "code": "insufficient_quota"}}, True),
        ({"error": {"message": "x", "code": "server_error"}}, False),
        ({"type": "error", "error": {"type": "rate_limit_error"}}, True),
    ],
)
def test_an_answer_that_says_it_failed_is_no_answer(answer: Any, budget: bool) -> None:
    found = read(answer)
    assert (found.failed, found.budget) == (True, budget)


def test_ten_megabytes_are_cut_and_say_so() -> None:
    for answer in (chat_answer("x" * 10_000_000), "y" * 10_000_000, ["z" * 1_000_000] * 10):
        text = read(answer).text
        assert len(text) < MOST_CHARACTERS + 100
        assert text.endswith("… [cut: 10000000 characters]")


def test_calls_without_end_are_bounded() -> None:
    calls = [{"index": n, "function": {"name": "f", "arguments": "{}"}} for n in range(10_000)]
    assert len(read({"choices": [{"message": {"tool_calls": calls}}]}).tool_calls) == MOST_CALLS


def test_half_a_surrogate_is_replaced_and_two_halves_are_joined() -> None:
    first, second = "\U0001f600".encode("utf-16-le", "surrogatepass")[:2], "\U0001f600".encode("utf-16-le")[2:]
    halves = [first.decode("utf-16-le", "surrogatepass"), second.decode("utf-16-le", "surrogatepass")]
    chunks = [{"choices": [{"delta": {"content": half}}]} for half in halves]
    assert read(chunks).text == "\U0001f600"
    assert read(chat_answer(f"a{halves[0]}b")).text == "a\ufffdb"


@pytest.mark.parametrize(
    "nothing", [None, "", b"", [], {}, {"choices": []}, {"choices": None}, 5, object(), b"\x00\xff\xfe", MagicMock()]
)
def test_what_is_no_answer_is_read_as_nothing(nothing: object) -> None:
    found = read(nothing)
    assert found.tool_calls == ()
    assert found.finish_reason is None
    assert len(found.text) <= 3


def test_properties_that_raise_are_no_answer() -> None:
    class Raises:
        @property
        def choices(self) -> Any:
            raise RuntimeError("no")

    assert read(Raises()).text == ""
    assert read([Raises(), chat_answer("after it")]).text == "after it"


NAMES = (
    *("choices", "message", "delta", "content", "tool_calls", "function", "arguments", "output", "usage", "type"),
    *("finish_reason", "index", "response", "item", "error", "text", "name", "input", "content_block"),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner | st.sampled_from(["response.completed", "message_start", "content_block_delta", "response"]),
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(anything)
def test_no_payload_of_any_shape_raises(payload: object) -> None:
    for answer in (payload, [payload, payload]):
        found = read(answer)
        json.dumps(found.usage)
        found.text.encode()  # whole characters


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ('{ "b": 1,\n "a": [1.0, "é"] }', '{"a":[1.0,"é"],"b":1}'),
        ("{broken", "{broken"),
        ("", ""),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_arguments_are_canonical_where_they_are_json(written: str, kept: str) -> None:
    assert canonical(written) == kept


def test_hostile_answers_fit_into_a_line() -> None:
    nothing = RawAnswer(model="m", outcome="ok", seconds=1.0)
    pair = RawPair("id", "r", 1, 1.0, "candidate", {}, nothing, nothing)
    for answer in ("\ud800", "\x00\u2028\n", '"</script>'):
        line = to_line(replace(pair, other=replace(pair.other, text=read(answer).text)))
        assert line.count(b"\n") == 1
        from_line(line)
