"""A loopback HTTP server that speaks the OpenAI API as far as clients need it, and remembers who asked for what.

The prompt's last message says how to answer: ``ok``, ``refuse``, ``filter``, ``error``, ``limit`` (429), ``spend`` (429
with a spend code), ``japanese``, ``slow`` (hang until closed), ``details`` (uses `DETAILED_USAGE`). Paths that end in
``/messages`` answer in Anthropic's form. Streams also know ``half`` (breaks off without its finish mark), ``cut`` (the
connection is reset), ``in-band`` (an error as an event) and ``stall`` (silent after the first words). ``error@new``
holds for models that begin with ``new``; the others answer ``ok``.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from typing import Any

from tests.doubles.threaded_server import JsonHandler, ThreadedServer

USAGE = {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10}
DETAILED_USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 40,
    "total_tokens": 140,
    "prompt_tokens_details": {"cached_tokens": 60, "cache_creation_tokens": 15},
    "completion_tokens_details": {"reasoning_tokens": 25},
}


class LLMServer(ThreadedServer):
    """``with LLMServer() as server: server.url``; ``server.models`` lists the models asked for, in order."""

    def __init__(self, *, failing: bool = False) -> None:
        self.models: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []  # path, headers (in lower case), body
        self.failing = failing
        self.moved: dict[str, str] = {}  # the model that answers for an alias
        self.asked: Callable[[], None] = lambda: None  # called with each request
        double = self

        class Handler(_Handler):
            server_double = double

        super().__init__(Handler)


class _Handler(JsonHandler):
    server_double: LLMServer

    def do_POST(self) -> None:  # noqa: N802  the name that http.server asks for
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(raw)
        self.server_double.requests.append(
            (self.path, {name.lower(): value for name, value in self.headers.items()}, raw)
        )
        self.server_double.models.append(body["model"])
        self.server_double.bodies.append(body)
        self.server_double.asked()
        answering = self.server_double.moved.get(body["model"], body["model"])
        prompt = next((how for how, _, of in _parts(_said(body)) if body["model"].startswith(of)), "ok")
        if self.server_double.failing or prompt == "error":
            self._json(500, {"error": {"message": "the model is broken", "type": "server_error"}})
        elif prompt == "limit":
            self._json(429, {"error": {"message": "too many requests", "type": "rate_limit_error"}})
        elif prompt == "spend":
            error = {"message": "out of money", "type": "insufficient_quota", "code": "project_spend_limit_exceeded"}
            self._json(429, {"error": error})
        elif prompt == "slow":
            self.server_double.closing.wait(30)
        elif prompt == "filter":
            self._json(400, {"error": {"message": "filtered", "code": "content_filter", "type": "invalid"}})
        elif self.path.endswith("/messages"):
            self._message({**body, "model": answering}, prompt)
        elif "input" in body:
            self._json(200, _response(answering, prompt))
        elif body.get("stream"):
            self._stream(answering, prompt)
        elif "prompt" in body:
            self._json(200, _text_completion(answering, prompt))
        else:
            self._json(200, _completion(answering, prompt))

    def _message(self, body: dict[str, Any], prompt: str) -> None:
        """Anthropic's Messages API, whole or as a stream."""
        words = [{"type": "text", "text": _words(body["model"], prompt)}]
        message = {"id": "m", "type": "message", "role": "assistant", "model": body["model"], "content": words}
        message |= {"stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 7}}
        if not body.get("stream"):
            self._json(200, message)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for event in (
            {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": words[0]["text"]}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}},
            {"type": "message_stop"},
        ):
            self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        self.close_connection = True

    def _stream(self, model: str, prompt: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for text, finish in (("Hello", None), (" there", None), ("", "stop")):
            if prompt in {"half", "cut", "in-band", "stall"} and finish:
                break
            choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": finish}
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        if prompt == "details":
            last = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": []}
            self.wfile.write(f"data: {json.dumps({**last, 'usage': DETAILED_USAGE})}\n\n".encode())
        if prompt == "in-band":
            error = {"message": "overloaded", "type": "server_error", "code": 503}
            self.wfile.write(f"data: {json.dumps({'error': error})}\n\n".encode())
        elif prompt == "stall":
            self.server_double.closing.wait(30)
        elif prompt == "cut":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif prompt != "half":
            self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True


def _said(body: dict[str, Any]) -> str:
    """The last words of the last message, however they are wrapped."""
    said: Any = body.get("input") or body.get("prompt") or body["messages"]
    while isinstance(said, list | dict):
        said = said[-1] if isinstance(said, list) else said.get("content") or said.get("text")
    return str(said)


def _parts(said: str) -> list[tuple[str, str, str]]:
    """``error@new,cut@old``: how to answer, and for models with which beginning."""
    return [part.partition("@") for part in said.split(",")]


def _words(model: str, prompt: str) -> str:
    return f"{model}がお答えします。" if prompt == "japanese" else f"answered by {model}"


def _completion(model: str, prompt: str) -> dict[str, Any]:
    refusal = "I can't help with that." if prompt == "refuse" else None
    message = {"role": "assistant", "content": None if refusal else _words(model, prompt), "refusal": refusal}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": DETAILED_USAGE
        if prompt == "details"
        else {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10},
    }


def _text_completion(model: str, prompt: str) -> dict[str, Any]:
    answer = _completion(model, prompt)
    choices = [{"index": 0, "text": _words(model, prompt), "logprobs": None, "finish_reason": "stop"}]
    return {**answer, "object": "text_completion", "choices": choices}


def _response(model: str, prompt: str) -> dict[str, Any]:
    refusal: dict[str, Any] = {"type": "refusal", "refusal": "no"}
    part = refusal if prompt == "refuse" else {"type": "output_text", "text": _words(model, prompt), "annotations": []}
    return {
        "id": "r",
        "object": "response",
        "created_at": 1,
        "model": model,
        "status": "completed",
        "parallel_tool_calls": False,
        "tools": [],
        "tool_choice": "auto",
        "output": [{"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": [part]}],
        "usage": {
            "input_tokens": 3,
            "output_tokens": 7,
            "total_tokens": 10,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }
