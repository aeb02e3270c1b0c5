"""The same answer in each provider's shape, whole and as chunks: "Hello there", 7 tokens, with and without a call."""

from __future__ import annotations

from typing import Any

ARGUMENTS = '{"order": "a", "amount": 5}'
CHAT_CALL = {"id": "c", "type": "function", "function": {"name": "refund", "arguments": ARGUMENTS}}
CHAT_USAGE = {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10}
TOKENS = {"input_tokens": 3, "output_tokens": 7}
MESSAGE = {"type": "message", "content": [{"type": "output_text", "text": "Hello there"}]}
FUNCTION = {"type": "function_call", "name": "refund", "arguments": ARGUMENTS}


def _chat(**message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"content": "Hello there", **message}, "finish_reason": "stop"}
    return {"object": "chat.completion", "choices": [choice], "usage": CHAT_USAGE}


def _response(*more: Any) -> dict[str, Any]:
    return {"object": "response", "status": "completed", "output": [MESSAGE, *more], "usage": TOKENS}


def _message(*more: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": "Hello there"}, *more]
    return {"type": "message", "content": content, "stop_reason": "end_turn", "usage": TOKENS}


def _delta(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _piece(index: int, **function: str) -> dict[str, Any]:
    return _delta(tool_calls=[{"index": index, "function": function}])


USE = {"type": "tool_use", "name": "refund", "input": {"order": "a", "amount": 5}}

# name -> the answer, and its finish reason
WHOLE: dict[str, tuple[dict[str, Any], str]] = {
    "chat": (_chat(), "stop"),
    "chat with tools": (_chat(tool_calls=[CHAT_CALL]), "stop"),
    "chat in parts": (_chat(content=[{"type": "text", "text": "Hello "}, {"type": "text", "text": "there"}]), "stop"),
    "completions": (
        {"choices": [{"index": 0, "text": "Hello there", "finish_reason": "stop"}], "usage": CHAT_USAGE},
        "stop",
    ),
    "responses": (_response(), "completed"),
    "responses with tools": (_response(FUNCTION), "completed"),
    "messages": (_message(), "end_turn"),
    "messages with tools": (_message(USE), "end_turn"),
}

_TEXT_EVENTS: list[dict[str, Any]] = [
    {"type": "response.created", "response": {"object": "response", "status": "in_progress", "output": []}},
    {"type": "response.output_text.delta", "delta": "Hello "},
    {"type": "response.output_text.delta", "delta": "there"},
]
_BLOCKS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"type": "message", "content": [], "usage": {"input_tokens": 3}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello "}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "there"}},
]
_BLOCK_END: list[dict[str, Any]] = [
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}},
    {"type": "message_stop"},
]

CHUNKS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "chat stream": (
        [
            *(_delta(role="assistant", content="Hello "), _delta(content="there"), _delta("stop")),
            {"object": "chat.completion.chunk", "choices": [], "usage": CHAT_USAGE},
        ],
        "stop",
    ),
    "chat stream with tools": (
        [
            *(_delta(content="Hello "), _delta(content="there"), _piece(0, name="refund", arguments="")),
            *(_piece(0, arguments=ARGUMENTS[:9]), _piece(0, arguments=ARGUMENTS[9:]), _delta("tool_calls")),
            {"object": "chat.completion.chunk", "choices": [], "usage": CHAT_USAGE},
        ],
        "tool_calls",
    ),
    "responses stream": ([*_TEXT_EVENTS, {"type": "response.completed", "response": _response()}], "completed"),
    "responses stream with tools": (
        [
            *_TEXT_EVENTS,
            {"type": "response.output_item.done", "output_index": 1, "item": FUNCTION},
            {"type": "response.completed", "response": _response(FUNCTION)},
        ],
        "completed",
    ),
    "messages stream": ([*_BLOCKS, *_BLOCK_END], "end_turn"),
    "messages stream with tools": (
        [
            *_BLOCKS,
            {"type": "content_block_start", "index": 1, "content_block": {**USE, "input": {}}},
            *(
                {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": part}}
                for part in (ARGUMENTS[:9], ARGUMENTS[9:])
            ),
            *_BLOCK_END,
        ],
        "end_turn",
    ),
}
