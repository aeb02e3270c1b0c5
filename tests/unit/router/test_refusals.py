"""Refusal detection: every provider's signal, the labelled set, SDK objects, and payloads of any shape."""

from __future__ import annotations

from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from bench.refusals import detected, examples, score
from killswitch.router.phrases import Phrases
from killswitch.router.refusals import completion_tokens, failure_signal, finish_mark, refusal_signal, refused, text_of

PHRASES = Phrases()
SIGNALS = [example for example in examples() if not isinstance(example["payload"], str)]
TEXTS = [example for example in examples() if isinstance(example["payload"], str)]
FIELDS = (
    *("choices", "message", "delta", "refusal", "finish_reason", "output", "content", "type", "candidates", "usage"),
    *("stop_reason", "stopReason", "promptFeedback", "finishReason", "response", "text", "parts", "messageStop"),
    *("error", "status", "object"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.sampled_from(FIELDS), children),
)


FAILED: tuple[Any, ...] = (
    {"object": "response", "status": "failed", "error": {"code": "server_error", "message": "x"}, "output": []},
    {"type": "response.failed", "response": {"object": "response", "status": "failed", "output": []}},
    {"error": {"code": 502, "message": "Provider returned error"}},
    {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    {"choices": [{"finish_reason": "error", "message": {"content": ""}}]},
    Response.model_validate(
        {
            "object": "response",
            "status": "failed",
            "output": [],
            "error": {"code": "server_error", "message": "x"},
            "id": "r",
            "created_at": 1,
            "model": "m",
            "parallel_tool_calls": False,
            "tool_choice": "auto",
            "tools": [],
        }
    ),
)
ANSWERED: tuple[Any, ...] = (
    {"object": "response", "status": "completed", "error": None, "output": []},
    {"object": "response", "status": "incomplete", "error": None, "output": []},
    {"choices": [{"finish_reason": "stop", "message": {"content": "error"}}], "error": None},
    {"content": [{"type": "text", "text": "x"}], "stop_reason": "end_turn", "error": {"odd": 1}},
    "error",
    {"error": None},
)


@pytest.mark.parametrize(("payload", "failed"), [*((one, True) for one in FAILED), *((one, False) for one in ANSWERED)])
def test_an_answer_that_says_it_failed_is_told_from_others(payload: object, failed: bool) -> None:
    assert failure_signal(payload) is failed


@pytest.mark.parametrize("example", SIGNALS, ids=lambda example: example["kind"])
def test_every_labelled_provider_payload_is_classified_right(example: dict[str, Any]) -> None:
    """Every provider payload of the labelled set is classified correctly."""
    assert (refusal_signal(example["payload"]) is not None) is example["refusal"]


def test_the_phrases_keep_their_precision_and_recall() -> None:
    """The phrases keep their precision and recall on the labelled set."""
    result = score(TEXTS, PHRASES)
    assert result.precision >= 0.95
    assert result.recall >= 0.90


def test_no_language_of_the_list_is_deaf() -> None:
    for language in Phrases.LANGUAGES:
        some = [example for example in TEXTS if example["kind"] == f"text-{language}"]
        assert score(some, PHRASES).recall >= 0.8, language


def test_a_chosen_language_leaves_the_others_out() -> None:
    english = Phrases(["en"])
    assert english.find("I can't help with that.")
    assert not english.find("Ich kann Ihnen dabei leider nicht helfen.")


def test_own_openings_are_plain_text_in_any_case_and_quotes() -> None:
    own = Phrases([], more=["Computer says no"])
    assert own.find("**COMPUTER  says\nno** to that.")
    assert not own.find("The computer says no.")


def test_only_the_opening_counts() -> None:
    assert not PHRASES.find("Here is what a refusal looks like: I can't help with that.")
    assert not PHRASES.find("x" * 300 + " I can't help with that.")


def test_a_text_of_ten_megabytes_costs_no_more_than_its_opening() -> None:
    assert PHRASES.find("I can't help with that. " * 400_000)
    assert not PHRASES.find("sorry, " * 1_500_000)


def test_without_phrases_a_text_is_never_a_refusal() -> None:
    assert refused("I'm sorry, but I can't help with that.") is None
    assert refused("I'm sorry, but I can't help with that.", PHRASES) is not None


def test_what_shows_the_refusal_is_said() -> None:
    refusal = refusal_signal({"candidates": [{"finishReason": "SAFETY"}]})
    assert refusal is not None
    assert refusal.signal == "finishReason=SAFETY"


def test_the_openai_sdks_own_objects_are_read() -> None:
    answer = ChatCompletion.model_validate({
        "id": "1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": None, "refusal": "no"}}
        ],
        "usage": {"completion_tokens": 12, "prompt_tokens": 1, "total_tokens": 13},
    })  # fmt: skip
    assert refusal_signal(answer) is not None
    assert completion_tokens(answer) == 12
    response = Response.model_validate({
        "id": "1", "object": "response", "created_at": 1, "model": "m", "parallel_tool_calls": False, "tools": [],
        "tool_choice": "auto", "status": "completed",
        "output": [{"id": "2", "type": "message", "role": "assistant", "status": "completed",
                    "content": [{"type": "refusal", "refusal": "I can't help."}]}],
    })  # fmt: skip
    assert refusal_signal(response) is not None


class FinishReason(Enum):
    SAFETY = 3
    STOP = 1


@pytest.mark.parametrize(("reason", "is_refusal"), [(FinishReason.SAFETY, True), (FinishReason.STOP, False)])
def test_an_sdk_object_with_enums_in_snake_case_is_read(reason: FinishReason, is_refusal: bool) -> None:
    answer = SimpleNamespace(
        candidates=[SimpleNamespace(finish_reason=reason, content=SimpleNamespace(parts=[SimpleNamespace(text="a")]))],
        usage_metadata=SimpleNamespace(candidates_token_count=4),
        prompt_feedback=None,
    )
    assert (refusal_signal(answer) is not None) is is_refusal
    assert completion_tokens(answer) == 4
    assert text_of(answer) == "a"
    assert finish_mark(answer) is True


class Hostile:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@given(JSON)
def test_no_json_of_any_shape_makes_it_raise(payload: Any) -> None:
    refusal_signal(payload)
    completion_tokens(payload)
    finish_mark(payload)
    failure_signal(payload)
    assert isinstance(text_of(payload), str)


@pytest.mark.parametrize("payload", [None, Hostile(), [Hostile()], {"choices": [Hostile()]}, b"x", 1.5], ids=range(6))
def test_an_object_that_raises_is_no_refusal(payload: Any) -> None:
    assert refusal_signal(payload) is None
    assert completion_tokens(payload) is None
    assert finish_mark(payload) in (None, False)
    assert text_of(payload) == ""


@pytest.mark.parametrize("example", SIGNALS, ids=lambda example: example["kind"])
def test_the_benchs_verdict_is_the_detectors(example: dict[str, Any]) -> None:
    assert detected(example, PHRASES) is example["refusal"]
