"""Tokens that a provider says it has used, sorted by how they are billed. Garbage is None, never 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

# More tokens than this in one answer is a broken counter: the largest models read a few million.
MOST_TOKENS: Final = 100_000_000
KINDS: Final = ("input", "cached_input", "cache_write", "output", "reasoning")  # the fields of `Usage`


class _Garbage(Exception):
    """The object does not say how many tokens were used."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer. No token is in two fields, so that each is billed once.

    ``input``: read in full. ``cached_input``: read from the provider's cache. ``cache_write``: read and written to it.
    ``output``: what the user sees. ``reasoning``: thought before it. Raises ValueError for numbers outside 0 to
    `MOST_TOKENS`.
    """

    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0

    def __post_init__(self) -> None:
        for tokens in (self.input, self.cached_input, self.cache_write, self.output, self.reasoning):
            if type(tokens) is not int or not 0 <= tokens <= MOST_TOKENS:
                raise ValueError(f"a number of tokens is a whole number from 0 to {MOST_TOKENS}, not {tokens!r:.40}")

    @classmethod
    def of(cls, reported: object) -> Usage | None:
        """The usage of a provider's own usage object, or None where it does not say.

        ``reported`` is a mapping or an object with attributes, of one of four forms: OpenAI's chat completions,
        OpenAI's Responses, Anthropic's Messages, Gemini. Missing details are 0; a missing, negative, fractional or
        absurd count makes the whole object None, and so do counts without any input: each prompt has tokens, and a
        server that does not count says 0. What a total has over the other counts is billed as output.
        """
        if reported is None or isinstance(reported, (str, bytes, int, float)):
            return None
        if isinstance(reported, Usage):
            return reported
        for name, read in _FORMS:
            try:
                if _field(reported, name) is not None:
                    usage = read(reported)
                    return usage if usage.input or usage.cached_input or usage.cache_write else None
            except (_Garbage, ValueError):
                return None
        return None


def _field(reported: object, *names: str) -> Any:
    """The first of ``names`` that is there and not null."""
    for name in names:
        value = reported.get(name) if isinstance(reported, Mapping) else getattr(reported, name, None)
        if value is not None:
            return value
    return None


def _tokens(reported: object, *names: str, absent: int | None = None) -> int:
    """A count. ``absent``: what a missing one means; None if it must be there."""
    value = _field(reported, *names)
    if value is None and absent is not None:
        return absent
    if type(value) is not int or not 0 <= value <= MOST_TOKENS:
        raise _Garbage
    return value


def _uncounted(reported: object, counted: int, *names: str) -> int:
    """What the provider's total has over the counts. A smaller total says nothing: some leave out a part."""
    return max(0, _tokens(reported, *names, absent=counted) - counted)


def _details(reported: object, *names: str) -> object:
    value = _field(reported, *names)
    if isinstance(value, (str, bytes, int, float, list)):
        raise _Garbage
    return {} if value is None else value


def _chat(reported: object) -> Usage:
    """Cached tokens are a part of the prompt's, reasoning tokens a part of the completion's."""
    return _parts(reported, "prompt_tokens", "completion_tokens")


def _responses_or_messages(reported: object) -> Usage:
    """``input_tokens`` is in two APIs: Anthropic leaves out what it read from or wrote to its cache."""
    read = _tokens(reported, "cache_read_input_tokens", absent=0)
    written = _tokens(reported, "cache_creation_input_tokens", absent=0)
    if read or written or _field(reported, "input_tokens_details", "output_tokens_details") is None:
        fresh, output = _tokens(reported, "input_tokens"), _tokens(reported, "output_tokens")
        missing = _uncounted(reported, fresh + read + written + output, "total_tokens")
        return Usage(fresh, read, written, output + missing)
    return _parts(reported, "input_tokens", "output_tokens")


def _parts(reported: object, input_name: str, output_name: str) -> Usage:
    prompt, completion = _tokens(reported, input_name), _tokens(reported, output_name)
    inside = _details(reported, f"{input_name}_details")
    cached = _tokens(inside, "cached_tokens", absent=0)
    written = _tokens(inside, "cache_write_tokens", "cache_creation_tokens", absent=0)
    reasoning = _tokens(_details(reported, f"{output_name}_details"), "reasoning_tokens", absent=0)
    # some servers leave the reasoning out of the completion, or more; only the total shows it
    all_output = completion + _uncounted(reported, prompt + completion, "total_tokens")
    if cached > prompt or reasoning > all_output:
        raise _Garbage
    # what was written to the cache is not adjusted to the prompt, so it may be more than the rest of it
    return Usage(max(0, prompt - cached - written), cached, written, all_output - reasoning, reasoning)


def _gemini(reported: object) -> Usage:
    """Cached tokens are a part of the prompt's; thoughts and the results of tools are counted apart."""
    prompt = _tokens(reported, "promptTokenCount", "prompt_token_count")
    cached = _tokens(reported, "cachedContentTokenCount", "cached_content_token_count", absent=0)
    tools = _tokens(reported, "toolUsePromptTokenCount", "tool_use_prompt_token_count", absent=0)
    thoughts = _tokens(reported, "thoughtsTokenCount", "thoughts_token_count", absent=0)
    # an answer that was stopped while it thought has no candidates; the total shows that none are missing
    alone = _field(reported, "totalTokenCount", "total_token_count") == prompt + tools + thoughts
    output = _tokens(reported, "candidatesTokenCount", "candidates_token_count", absent=0 if alone else None)
    if cached > prompt:
        raise _Garbage
    counted = prompt + tools + thoughts + output
    output += _uncounted(reported, counted, "totalTokenCount", "total_token_count")
    return Usage(input=prompt - cached + tools, cached_input=cached, output=output, reasoning=thoughts)


_FORMS: Final[tuple[tuple[str, Callable[[object], Usage]], ...]] = (
    ("prompt_tokens", _chat),
    ("input_tokens", _responses_or_messages),
    ("promptTokenCount", _gemini),
    ("prompt_token_count", _gemini),
)
