"""What a model's answer says: text, tool calls, finish reason, refusal and usage, from any provider's shape.

Whole answers and chunks of streams of OpenAI's chat completions, Responses and completions and of Anthropic's Messages,
as JSON or as the SDKs' objects. Other shapes: their text alone. Bytes are JSON, server-sent events, or text. Tool calls
are recorded and never executed. Nothing here raises on a payload of any shape, and memory is bounded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from killswitch.router.payload_fields import entries, field, text, word
from killswitch.router.provider_usage import merged_usage
from killswitch.router.refusals import failure_signal, finish_mark, refusal_signal, text_of
from killswitch.router.shadow.quota import is_budget
from killswitch.router.shadow.raw_pair import ToolCall
from killswitch.router.usual_chunks import UsualChunks

MOST_CHARACTERS = 1_000_000  # of one answer's text, and of one call's arguments
MOST_CALLS = 128  # tool calls of one answer


class Answered(NamedTuple):
    """One answer, read. ``failed``: it says itself that there is none, or it is a stream that broke off."""

    text: str
    tool_calls: tuple[ToolCall, ...]
    refused: bool
    finish_reason: str | None
    usage: dict[str, Any] | None
    failed: bool
    budget: bool


def read(answer: object) -> Answered:
    """A whole answer, or a list of a stream's chunks."""
    reader = AnswerReader()
    for one in answer if isinstance(answer, list | tuple) else [answer]:
        reader.add(one)
    return reader.result()


def first_token(chunks: object, seconds: Sequence[float]) -> float | None:
    """When the first chunk with anything that a user sees came; ``seconds`` are those of each chunk."""
    reader = AnswerReader()
    for chunk, at in zip(chunks if isinstance(chunks, list) else (), seconds, strict=False):
        reader.add(chunk)
        if reader.begun:
            return at
    return None


class AnswerReader:
    """Takes an answer, whole or chunk by chunk, and keeps what the record needs of it."""

    def __init__(self) -> None:
        self._texts = _BoundedText()
        self._refusal = _BoundedText()
        self._calls: dict[object, tuple[str, _BoundedText]] = {}
        self._raw = bytearray()
        self._refused = False
        self._finish: str | None = None
        self._usage: dict[str, Any] | None = None
        self._failed = False
        self._budget = False
        self._finished: bool | None = None
        self._usual = UsualChunks()

    @property
    def begun(self) -> bool:
        """Whether anything that a user would see has come."""
        return bool(self._texts.length or self._refusal.length or self._calls or self._raw)

    def add(self, payload: object) -> None:
        """Take one more chunk, or the whole answer."""
        try:
            if isinstance(payload, bytes | bytearray | memoryview):
                room = 4 * MOST_CHARACTERS - len(self._raw)
                self._raw += bytes(payload[: max(0, room)])
            elif isinstance(payload, str):
                self._texts.add(payload)
            elif not self._take_usual(payload):
                self._take(payload)
        except Exception:  # noqa: BLE001, S110  # a payload may be anything, with any properties
            pass

    def result(self) -> Answered:
        if self._raw:
            raw, self._raw = bytes(self._raw), bytearray()
            for payload in _payloads_of(raw):
                self.add(payload)
        calls = tuple(ToolCall(name, canonical(arguments.whole())) for name, arguments in self._calls.values())
        return Answered(
            text=self._texts.whole() or self._refusal.whole(),
            tool_calls=calls,
            refused=self._refused,
            finish_reason=self._finish,
            usage=self._usage,
            failed=self._failed or self._finished is False,
            budget=self._budget,
        )

    def _take_usual(self, payload: object) -> bool:
        """Take a chunk of a usual form at a hundredth of the cost, and say whether it was one."""
        piece = self._usual.piece(payload)
        if piece is None:
            return False
        if piece.text:
            self._texts.add(piece.text)
        if piece.finish is not None:
            self._finish = piece.finish
        if piece.finished is not None:
            self._finished = piece.finished or bool(self._finished)
        for key, called in piece.calls:
            self._add_call(key, called)
        if piece.usage is not None:
            self._usage = merged_usage(self._usage, {"usage": piece.usage})
        return True

    def _take(self, payload: object) -> None:
        self._refused = self._refused or refusal_signal(payload) is not None
        if failure_signal(payload):
            self._failed = True
            self._budget = self._budget or is_budget(field(payload, "error") or payload)
        self._usage = merged_usage(self._usage, payload)
        streamed = finish_mark(payload)
        if _is_chunk(payload):
            self._finished = bool(self._finished) or bool(streamed)
        choices = entries(field(payload, "choices"))
        if field(payload, "choices") is not None:
            self._take_choices(choices)
        elif word(payload, "type").startswith("response.") or word(payload, "object") == "response":
            self._take_response(payload)
        elif word(payload, "type").startswith(("message", "content_block")):
            self._take_message(payload)
        elif isinstance(field(payload, "output"), list | tuple):
            self._take_output(payload)
        else:
            self._texts.add(text_of(payload))

    # --- OpenAI: chat completions and completions. Of several choices the first is read.

    def _take_choices(self, choices: Iterable[Any]) -> None:
        for choice in choices:
            if field(choice, "index") not in (None, 0):
                continue
            self._finish = word(choice, "finish_reason") or self._finish
            self._texts.add(text(choice, "text"))
            for part in (field(choice, "message"), field(choice, "delta")):
                self._add_content(field(part, "content"))
                self._refusal.add(text(part, "refusal"))
                for place, call in enumerate(entries(field(part, "tool_calls"))):
                    index = field(call, "index")
                    called = field(call, "function") or field(call, "custom")
                    self._add_call(place if index is None else index, called)
                if field(part, "function_call") is not None:
                    self._add_call("function_call", field(part, "function_call"))

    def _add_content(self, content: object) -> None:
        if isinstance(content, str):
            self._texts.add(content)
        for part in entries(content):
            self._texts.add(part if isinstance(part, str) else text(part, "text"))
            self._refusal.add(text(part, "refusal"))

    def _add_call(self, key: object, called: object) -> None:
        """A call, or one more piece of the call with this ``key``."""
        name = text(called, "name")
        arguments = field(called, "arguments")
        if arguments is None:
            arguments = field(called, "input")
        if key not in self._calls:
            if len(self._calls) >= MOST_CALLS:
                return
            self._calls[key] = (name[:500], _BoundedText())
        elif name and not self._calls[key][0]:
            self._calls[key] = (name[:500], self._calls[key][1])
        if isinstance(arguments, str):
            self._calls[key][1].add(arguments)
        elif arguments:
            self._calls[key][1].add(json.dumps(arguments, ensure_ascii=False, default=str))

    # --- OpenAI: Responses

    def _take_response(self, payload: object) -> None:
        kind = word(payload, "type")
        if word(payload, "object") == "response":
            self._take_output(payload)
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            self._take_output(field(payload, "response"))
        elif kind == "response.output_text.delta":
            self._texts.add(text(payload, "delta"))
        elif kind == "response.refusal.delta":
            self._refusal.add(text(payload, "delta"))
        elif kind == "response.output_item.done":
            self._add_item(field(payload, "output_index"), field(payload, "item"), words=False)

    def _take_output(self, response: object) -> None:
        """A whole response; at a stream's end it replaces what its deltas said."""
        reason = word(field(response, "incomplete_details"), "reason")
        self._finish = reason or word(response, "status") or self._finish
        output = entries(field(response, "output"))
        if not output:
            return
        self._texts, self._refusal, self._calls = _BoundedText(), _BoundedText(), {}
        for place, item in enumerate(output):
            self._add_item(place, item, words=True)

    def _add_item(self, place: object, item: object, *, words: bool) -> None:
        kind = word(item, "type")
        if words:
            self._add_content(field(item, "content"))
        if kind.endswith("_call"):
            called: object = item if text(item, "name") else {"name": kind}
            self._add_call(place, called)

    # --- Anthropic: Messages

    def _take_message(self, payload: object) -> None:
        kind = word(payload, "type")
        if kind in ("message", "message_start"):
            message = payload if kind == "message" else field(payload, "message")
            self._finish = word(message, "stop_reason") or self._finish
            for place, block in enumerate(entries(field(message, "content"))):
                self._add_block(place, block)
        elif kind == "content_block_start":
            self._add_block(field(payload, "index"), field(payload, "content_block"))
        elif kind == "content_block_delta":
            delta = field(payload, "delta")
            self._texts.add(text(delta, "text"))
            if text(delta, "partial_json"):
                self._add_call(field(payload, "index"), {"arguments": text(delta, "partial_json")})
        elif kind == "message_delta":
            self._finish = word(field(payload, "delta"), "stop_reason") or self._finish

    def _add_block(self, place: object, block: object) -> None:
        if word(block, "type").endswith("tool_use"):
            self._add_call(place, block)
        else:
            self._texts.add(text(block, "text"))


class _BoundedText:
    """Pieces of a text up to a bound; half characters become U+FFFD. What is cut is said at the end."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self.length = 0

    def add(self, piece: str) -> None:
        if piece and self.length < MOST_CHARACTERS:
            self._pieces.append(piece[: MOST_CHARACTERS - self.length])
        self.length += len(piece)

    def whole(self) -> str:
        # two halves of a pair may come in two chunks: joined first, then looked at
        joined = "".join(self._pieces)
        if not joined.isascii():
            joined = joined.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return joined if self.length <= MOST_CHARACTERS else f"{joined}… [cut: {self.length} characters]"


def canonical(arguments: str) -> str:
    """A call's arguments as JSON with sorted names and no spaces; what is no JSON stays as it was written."""
    try:
        return json.dumps(json.loads(arguments), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return arguments


def _is_chunk(payload: object) -> bool:
    """Whether this is a piece of a stream, which must have a finish mark."""
    if word(payload, "object") == "chat.completion.chunk":
        return True
    choices = entries(field(payload, "choices"))
    if any(field(choice, "delta") is not None for choice in choices):
        return True
    return word(payload, "type").startswith(("response.", "message_", "content_block_"))


def _payloads_of(raw: bytes) -> list[Any]:
    """The JSON documents of a body: one, or those of its server-sent events, or else its text."""
    body = raw.decode("utf-8", "replace")
    try:
        return [json.loads(body)]
    except (ValueError, RecursionError):
        pass
    if not body.lstrip().startswith(("data:", "event:", ":", "id:", "retry:")):
        return [body]
    found: list[Any] = []
    for line in body.splitlines():
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or data == "[DONE]":
            continue
        try:
            found.append(json.loads(data))
        except (ValueError, RecursionError):
            found.append(data)
    return found
