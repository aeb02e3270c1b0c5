"""What of a request a shadow may send and record: fields are listed, so an unknown field is left out.

A new option of an SDK or of a gateway may hold a key, or let the provider act. So it reaches neither the canary's
provider nor the pair until it stands here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# The question itself. One of these is in every request.
_QUESTIONS = {
    "chat": frozenset({"messages"}),
    "messages": frozenset({"messages"}),
    "responses": frozenset({"input", "prompt"}),
    "completions": frozenset({"prompt"}),
}
_ANY_QUESTION = frozenset({"messages", "input", "prompt"})
# What else, besides the model's name, an endpoint demands of the body that its clients send.
_DEMANDED = {"messages": ("max_tokens",)}
# Of the endpoints of OpenAI's and Anthropic's form.
_SHAPING = frozenset(
    {
        *("instructions", "system", "suffix", "echo", "best_of", "n", "modalities", "audio", "prediction"),
        *("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "web_search_options"),
        *("response_format", "text", "text_format", "parse_as", "output_format", "output_config", "verbosity"),
        *("temperature", "top_p", "top_k", "seed", "stop", "stop_sequences", "logit_bias", "logprobs", "top_logprobs"),
        *("max_tokens", "max_completion_tokens", "max_output_tokens", "max_tool_calls"),
        *(
            "presence_penalty",
            "frequency_penalty",
            "reasoning",
            "reasoning_effort",
            "thinking",
            "include",
            "truncation",
        ),
        *("stream", "stream_options", "service_tier", "store", "betas", "cache_control", "context_management"),
    }
)
# Of gateways and of servers of open models, most often in ``extra_body``.
_OF_SERVERS = frozenset(
    {
        *("min_p", "top_a", "typical_p", "tfs", "repetition_penalty", "length_penalty", "no_repeat_ngram_size"),
        *("min_tokens", "ignore_eos", "stop_token_ids", "bad_words", "skip_special_tokens", "use_beam_search"),
        *("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "grammar", "regex"),
        *("json_schema", "chat_template_kwargs", "add_generation_prompt", "continue_final_message", "safe_prompt"),
        *("enable_thinking", "thinking_budget", "include_reasoning", "reasoning_format", "safety_settings"),
    }
)
# These are read so that the request is refused: it rests on what is stored, or the provider acts.
_REFUSED = frozenset(
    {
        *("previous_response_id", "conversation", "background", "container", "mcp_servers", "plugins"),
        *("data_sources", "search_parameters", "enable_search"),
        *("prompt_id", "prompt_variables", "vector_store_ids"),
    }
)
_LISTED = _SHAPING | _OF_SERVERS | _REFUSED

_CREDENTIAL = re.compile(
    r"key|.*(api|access|subscription|private|account|auth|license|shared|secret|master|virtual|sas|storage)key(id)?"
    r"|.*secret.*|.*passw(or)?d.*|.*credential.*|(?!max).*token|auth|.*auth(orization|entication|header)?"
    r"|.*bearer.*|.*cookies?|.*connectionstring|.*signature"
)


def listed(name: str, *, in_extra_body: bool = False) -> bool:
    """Whether a field may be sent and recorded. A question in ``extra_body`` is kept so that the request is refused."""
    return name in _LISTED or name in _ANY_QUESTION or (name == "extra_body" and not in_extra_body)


def is_credential(name: str) -> bool:
    """Whether a field of this name may hold a key, a password or a token, however it is spelled."""
    return _CREDENTIAL.fullmatch(re.sub(r"[^a-z0-9]", "", name.lower())) is not None


def asks_a_model(api: str, request: Mapping[str, Any], *, is_body: bool) -> bool:
    """Whether ``request`` has a question. ``is_body``: it came over HTTP, so it must have all that its API demands."""
    questions = _QUESTIONS.get(api, _ANY_QUESTION) if is_body else _ANY_QUESTION
    if not any(request.get(name) is not None for name in questions):
        return False
    if not is_body or api not in _QUESTIONS:
        return True
    return isinstance(request.get("model"), str) and all(request.get(name) for name in _DEMANDED.get(api, ()))


def may_ask_a_model(api: str, body: list[bytes]) -> bool:
    """The same of the parts of a body that is not parsed yet; quick, and may be True for what is no request."""
    whole = b"".join(body)
    questions = any(b'"%s"' % name.encode() in whole for name in _QUESTIONS.get(api, _ANY_QUESTION))
    return questions and (api not in _QUESTIONS or b'"model"' in whole)
