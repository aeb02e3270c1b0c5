"""Whether an answer was cut at its limit of tokens, by its finish reason, in the words of every API.

A record keeps the finish reason as the API said it. So records of every format are read by the words known today.
"""

from __future__ import annotations

from typing import Final

CUT: Final = (
    "incomplete",  # OpenAI's Responses, where no reason is given
    "length",  # OpenAI's chat completions and completions, LiteLLM, vLLM
    "max_output_tokens",  # OpenAI's Responses
    "max_tokens",  # Anthropic, Bedrock, Gemini
    "model_context_window_exceeded",  # Anthropic
    "model_length",  # Mistral
)
CUT_IN_SQL: Final = (
    "CASE WHEN coalesce({side}_finish_reason, '') != '' THEN lower({side}_finish_reason) IN ("
    + ", ".join(f"'{word}'" for word in CUT)
    + ") END"
)
"""The same of a side's column: true, false, or NULL where it is not known."""


def is_cut(finish_reason: str | None) -> bool | None:
    """Whether the limit of tokens ended the answer; None where the API did not say what ended it."""
    return finish_reason.lower() in CUT if finish_reason else None
