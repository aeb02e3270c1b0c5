"""Usage: every provider's form, each token once, and garbage is unknown, never 0."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.token_usage import MOST_TOKENS, Usage

CHAT = {
    "prompt_tokens": 1000,
    "completion_tokens": 300,
    "total_tokens": 1300,
    "prompt_tokens_details": {"cached_tokens": 400, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 200},
}
RESPONSES = {
    "input_tokens": 1000,
    "output_tokens": 300,
    "total_tokens": 1300,
    "input_tokens_details": {"cached_tokens": 400},
    "output_tokens_details": {"reasoning_tokens": 200},
}
MESSAGES = {
    "input_tokens": 600,
    "cache_read_input_tokens": 400,
    "cache_creation_input_tokens": 250,
    "output_tokens": 300,
    "server_tool_use": None,
}
GEMINI = {
    "promptTokenCount": 1000,
    "cachedContentTokenCount": 400,
    "candidatesTokenCount": 100,
    "thoughtsTokenCount": 200,
    "toolUsePromptTokenCount": 50,
    "totalTokenCount": 1350,
}
FORMS: dict[str, dict[str, Any]] = {"chat": CHAT, "responses": RESPONSES, "messages": MESSAGES, "gemini": GEMINI}


def as_object(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return SimpleNamespace(**{name: as_object(one) for name, one in value.items()})


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        (CHAT, Usage(input=600, cached_input=400, output=100, reasoning=200)),
        (RESPONSES, Usage(input=600, cached_input=400, output=100, reasoning=200)),
        # Anthropic's input_tokens have neither what was read from the cache nor what was written to it
        (MESSAGES, Usage(input=600, cached_input=400, cache_write=250, output=300)),
        # Gemini's candidates have no thoughts in them
        (GEMINI, Usage(input=650, cached_input=400, output=100, reasoning=200)),
        ({"prompt_tokens": 5, "completion_tokens": 0}, Usage(input=5)),
        ({"input_tokens": 5, "output_tokens": 7}, Usage(input=5, output=7)),
        ({**CHAT, "prompt_tokens_details": None, "completion_tokens_details": None}, Usage(input=1000, output=300)),
        (
            {**CHAT, "prompt_tokens_details": {"cached_tokens": 400, "cache_write_tokens": 250}},
            Usage(input=350, cached_input=400, cache_write=250, output=100, reasoning=200),
        ),
        # what was written to the cache may be more than the rest of the prompt
        (
            {**CHAT, "prompt_tokens_details": {"cached_tokens": 400, "cache_write_tokens": 800}},
            Usage(input=0, cached_input=400, cache_write=800, output=100, reasoning=200),
        ),
        # a server that leaves the reasoning out of the completion, as its total shows
        ({**CHAT, "total_tokens": 1500}, Usage(input=600, cached_input=400, output=300, reasoning=200)),
        # what only the total counts is billed as output, the dearest of the counts
        ({"input_tokens": 7, "output_tokens": 5, "total_tokens": 5000}, Usage(input=7, output=4993)),
        ({**CHAT, "total_tokens": 5000}, Usage(input=600, cached_input=400, output=3800, reasoning=200)),
        ({**RESPONSES, "total_tokens": 5000}, Usage(input=600, cached_input=400, output=3800, reasoning=200)),
        ({**MESSAGES, "total_tokens": 5000}, Usage(input=600, cached_input=400, cache_write=250, output=3750)),
        ({**GEMINI, "totalTokenCount": 5000}, Usage(input=650, cached_input=400, output=3750, reasoning=200)),
        ({**CHAT, "total_tokens": 0}, Usage(input=600, cached_input=400, output=100, reasoning=200)),
        # stopped in mid-thought: no candidates, and the total says that none are missing
        (
            {"promptTokenCount": 9, "thoughtsTokenCount": 4, "totalTokenCount": 13},
            Usage(input=9, reasoning=4),
        ),
    ],
)
def test_each_token_is_counted_once(reported: dict[str, Any], usage: Usage) -> None:
    assert Usage.of(reported) == usage
    assert Usage.of(as_object(reported)) == usage


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", [-1, True, "12", 12.0, MOST_TOKENS + 1, [], {}, float("nan")], ids=repr)
def test_garbage_in_any_count_makes_it_unknown(form: str, bad: object) -> None:
    """A count that cannot be right is never 0."""
    for name, value in FORMS[form].items():
        if name.startswith(("total", "server")) or (name.endswith("details") and bad == {}):
            continue
        if isinstance(value, dict):
            for inner in set(value) - {"audio_tokens"}:
                assert Usage.of({**FORMS[form], name: {**value, inner: bad}}) is None, inner
        assert Usage.of({**FORMS[form], name: bad}) is None, name


@pytest.mark.parametrize(
    "reported",
    [
        None,
        {},
        "prompt_tokens",
        7,
        [],
        object(),
        {"prompt_tokens": 5},
        {"completion_tokens": 5},
        {"input_tokens": 5},
        {"output_tokens": 5},
        {"promptTokenCount": 5},
        {"promptTokenCount": 5, "totalTokenCount": 9},
        {"total_tokens": 5},
        # a server that does not count says 0; no prompt is of no token
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 5000},
        {"prompt_tokens": 0, "completion_tokens": 40},
        {"input_tokens": 0, "output_tokens": 0},
        {"input_tokens": 0, "output_tokens": 0, "output_tokens_details": {}},
        {"promptTokenCount": 0, "candidatesTokenCount": 0},
        {**CHAT, "prompt_tokens_details": {"cached_tokens": 1001}},
        {**CHAT, "completion_tokens_details": {"reasoning_tokens": 301}},
        {**GEMINI, "cachedContentTokenCount": 1001},
    ],
    ids=lambda reported: "an object" if type(reported) is object else str(reported),
)
def test_what_says_nothing_is_unknown(reported: object) -> None:
    assert Usage.of(reported) is None


def test_usage_itself_is_taken_as_it_is() -> None:
    usage = Usage(input=3)
    assert Usage.of(usage) is usage


@pytest.mark.parametrize("tokens", [-1, True, 1.0, MOST_TOKENS + 1])
def test_usage_has_no_impossible_numbers(tokens: Any) -> None:
    with pytest.raises(ValueError, match="a whole number from 0"):
        Usage(output=tokens)


values: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-5, 10**9) | st.floats() | st.text(max_size=3) | st.just({})
)
NAMES = sorted({name for form in FORMS.values() for name in form} | {"cached_tokens", "reasoning_tokens"})


@given(
    st.dictionaries(
        st.sampled_from(NAMES), values | st.dictionaries(st.sampled_from(["cached_tokens", "reasoning_tokens"]), values)
    )
)
def test_whatever_a_provider_says_raises_nothing(reported: dict[str, Any]) -> None:
    usage = Usage.of(reported)
    assert usage is None or usage.input + usage.cached_input + usage.cache_write + usage.output >= 0


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_no_token_is_lost(fresh: int, cached: int, answered: int, reasoned: int) -> None:
    usage = Usage.of(
        {
            "prompt_tokens": fresh + cached,
            "completion_tokens": answered + reasoned,
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": reasoned},
        }
    )
    assert usage == Usage(input=fresh, cached_input=cached, output=answered, reasoning=reasoned)
