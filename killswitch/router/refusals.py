"""Did the model refuse? The provider's own signal first; a list of phrases only where asked for.

Takes what the providers' APIs and SDKs return: JSON objects, SDK objects, whole answers or chunks of a
stream. Nothing here raises on a payload of any shape.

==================  =====================================================================================
provider            signal
==================  =====================================================================================
OpenAI chat         ``choices[].message.refusal`` (or ``delta.refusal``) says something;
                    ``choices[].finish_reason: content_filter``
OpenAI responses    an ``output[].content[]`` of type ``refusal``; ``incomplete_details.reason:
                    content_filter``; stream events ``response.refusal.delta`` and ``.done``
Anthropic           ``stop_reason: refusal`` (in a stream: ``message_delta``'s ``delta.stop_reason``)
Gemini              ``promptFeedback.blockReason``; ``candidates[].finishReason``: SAFETY,
                    PROHIBITED_CONTENT, BLOCKLIST, SPII, IMAGE_SAFETY (snake case in the SDK's objects)
Bedrock             ``stopReason: guardrail_intervened`` or ``content_filtered`` (``messageStop`` in a
                    stream), ``amazon-bedrock-guardrailAction: INTERVENED``
==================  =====================================================================================

An ordinary stop at a token limit, or Gemini's RECITATION (a copyright matter), is not a refusal.
"""

from __future__ import annotations

from collections.abc import Iterator

from killswitch.router.payload_fields import either as _either
from killswitch.router.payload_fields import entries as _list
from killswitch.router.payload_fields import field as _field
from killswitch.router.payload_fields import text as _text
from killswitch.router.payload_fields import word as _word
from killswitch.router.phrases import Phrases, Refusal

_GEMINI = frozenset({"SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT"})
_BEDROCK = frozenset({"guardrail_intervened", "content_filtered"})


def refusal_signal(payload: object) -> Refusal | None:
    """The provider's own signal that this answer (or chunk) is a refusal; None without one."""
    try:
        return next(_signals(payload), None)
    except Exception:  # noqa: BLE001  # a payload may be anything, with any properties
        return None


def refused(payload: object, phrases: Phrases | None = None) -> Refusal | None:
    """The provider's signal, or else, where ``phrases`` are given, the answer's own opening words."""
    signal = refusal_signal(payload)
    if signal is None and phrases is not None:
        return phrases.find(text_of(payload))
    return signal


def _signals(payload: object) -> Iterator[Refusal]:
    yield from _openai_chat(payload)
    yield from _openai_responses(payload)
    yield from _anthropic(payload)
    yield from _gemini(payload)
    yield from _bedrock(payload)


def _openai_chat(payload: object) -> Iterator[Refusal]:
    for choice in _list(_field(payload, "choices")):
        if _word(choice, "finish_reason") == "content_filter":
            yield Refusal("finish_reason=content_filter")
        for part in ("message", "delta"):
            if _word(_field(choice, part), "refusal"):
                yield Refusal(f"{part}.refusal")


def _openai_responses(payload: object) -> Iterator[Refusal]:
    if _word(payload, "type") in ("response.refusal.delta", "response.refusal.done"):
        yield Refusal("response.refusal")
    # a stream's last event carries the whole response
    for response in (payload, _field(payload, "response")):
        if _word(_field(response, "incomplete_details"), "reason") == "content_filter":
            yield Refusal("incomplete_details.reason=content_filter")
        for item in _list(_field(response, "output")):
            if any(_word(part, "type") == "refusal" for part in _list(_field(item, "content"))):
                yield Refusal("output.content.type=refusal")


def _anthropic(payload: object) -> Iterator[Refusal]:
    for holder in (payload, _field(payload, "delta"), _field(payload, "message")):
        if _word(holder, "stop_reason") == "refusal":
            yield Refusal("stop_reason=refusal")


def _gemini(payload: object) -> Iterator[Refusal]:
    feedback = _either(payload, "promptFeedback", "prompt_feedback")
    block = _word(feedback, "blockReason") or _word(feedback, "block_reason")
    if block and not block.endswith("UNSPECIFIED"):
        yield Refusal(f"promptFeedback.blockReason={block}")
    for candidate in _list(_field(payload, "candidates")):
        reason = _word(candidate, "finishReason") or _word(candidate, "finish_reason")
        if reason in _GEMINI:
            yield Refusal(f"finishReason={reason}")


def _bedrock(payload: object) -> Iterator[Refusal]:
    for holder in (payload, _field(payload, "messageStop")):
        stop = _word(holder, "stopReason")
        if stop in _BEDROCK:
            yield Refusal(f"stopReason={stop}")
    if _word(payload, "amazon-bedrock-guardrailAction") == "INTERVENED":
        yield Refusal("guardrailAction=INTERVENED")


# --- what else an answer says: its text, its tokens, whether a stream reached its end -----------


def text_of(payload: object) -> str:
    """The answer's text, whichever provider's shape it has; a ``str`` is its own text."""
    if isinstance(payload, str):
        return payload
    try:
        return "".join(_texts(payload))
    except Exception:  # noqa: BLE001  # a payload may be anything, with any properties
        return ""


def _texts(payload: object) -> Iterator[str]:
    for choice in _list(_field(payload, "choices")):
        for part in ("message", "delta"):
            yield from _content_texts(_field(_field(choice, part), "content"))
        yield _text(choice, "text")
    yield from _content_texts(_field(payload, "content"))  # Anthropic
    for item in _list(_field(payload, "output")):  # OpenAI responses
        yield from _content_texts(_field(item, "content"))
    yield from _content_texts(_field(_field(_field(payload, "output"), "message"), "content"))  # Bedrock
    for candidate in _list(_field(payload, "candidates")):  # Gemini
        yield from _content_texts(_field(_field(candidate, "content"), "parts"))
    delta = _field(payload, "delta")  # stream events: Anthropic an object, OpenAI responses a text
    if isinstance(delta, str):
        if _word(payload, "type") == "response.output_text.delta":
            yield delta
    else:
        yield _text(delta, "text")
    yield _text(_field(_field(payload, "contentBlockDelta"), "delta"), "text")  # Bedrock stream


def _content_texts(content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for part in _list(content):
        yield _text(part, "text")


_COMPLETION_TOKENS = (
    "completion_tokens",
    "output_tokens",
    "candidatesTokenCount",
    "candidates_token_count",
    "outputTokens",
)


def completion_tokens(payload: object) -> int | None:
    """Tokens the model wrote, from the answer's own usage report; None where there is none."""
    try:
        for holder in (payload, _field(payload, "response"), _field(payload, "metadata")):
            for usage in (_field(holder, "usage"), _either(holder, "usageMetadata", "usage_metadata")):
                for name in _COMPLETION_TOKENS:
                    count = _field(usage, name)
                    if isinstance(count, int) and not isinstance(count, bool) and count >= 0:
                        return count
    except Exception:  # noqa: BLE001  # a payload may be anything, with any properties
        return None
    return None


def failure_signal(payload: object) -> bool:
    """Whether an answer of status 200 says that there is none: the provider, or a gateway before it, has failed.

    OpenAI responses: ``status: failed``. Gateways: an ``error`` in place of the choices, or ``finish_reason: error``.
    """
    try:
        if _field(payload, "choices") is not None:
            return any(_word(choice, "finish_reason") == "error" for choice in _list(_field(payload, "choices")))
        for response in (payload, _field(payload, "response")):
            if _word(response, "object") == "response" and _word(response, "status") == "failed":
                return True
        answered = any(_field(payload, name) is not None for name in ("content", "candidates", "output"))
        return not answered and bool(_field(payload, "error"))
    except Exception:  # noqa: BLE001  # a payload may be anything, with any properties
        return False


def finish_mark(payload: object) -> bool | None:
    """Whether a stream's chunk says that the answer is complete; None for what is no provider's chunk."""
    try:
        if _field(payload, "choices") is not None:
            return any(_word(choice, "finish_reason") for choice in _list(_field(payload, "choices")))
        if _field(payload, "candidates") is not None:
            return any(
                _word(candidate, "finishReason") or _word(candidate, "finish_reason")
                for candidate in _list(_field(payload, "candidates"))
            )
        kind = _word(payload, "type")
        if kind.startswith(("response.", "message_", "content_block_")):
            return kind in ("response.completed", "response.incomplete", "message_stop")
        if any(_field(payload, name) is not None for name in ("messageStart", "contentBlockDelta", "messageStop")):
            return _field(payload, "messageStop") is not None
    except Exception:  # noqa: BLE001  # a payload may be anything, with any properties
        return None
    return None
