"""The chunks that streams consist of, read in about 2 microseconds each; any other payload is left to the general path.

Reading a field of an SDK's object by `getattr` takes pydantic's slow path for each field that it does not have: 60 ms
of the service's time for 500 chunks. Here the fields of an object are its ``__dict__``. A chunk is taken only if every
field that the general path would look at is one that is read here, so both give the same. The general path is
`killswitch.router.shadow.answers` for `UsualChunks.piece`, and for `UsualChunks.words` that of a served request, which
looks for failures, refusals, usage and the end (`killswitch.router.refusals`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

# all fields of a payload, a choice, a delta or a call that the general path looks at
_AT_THE_TOP = frozenset(
    {
        *("amazon-bedrock-guardrailAction", "candidates", "choices", "content", "contentBlockDelta", "delta", "error"),
        *("incomplete_details", "message", "messageStart", "messageStop", "metadata", "object", "output"),
        *("promptFeedback", "prompt_feedback", "response", "status", "stopReason", "stop_reason", "type"),
        *("usage", "usageMetadata", "usage_metadata"),
    }
)
_INSIDE = frozenset(
    {
        *("arguments", "content", "custom", "delta", "finish_reason", "function", "function_call", "index", "input"),
        *("message", "name", "partial_json", "refusal", "stop_reason", "text", "tool_calls", "type"),
    }
)
READ = _AT_THE_TOP | _INSIDE
_UNUSUAL_IN_CHAT = _AT_THE_TOP - {"choices", "object", "usage"}
_UNUSUAL_IN_EVENTS = _AT_THE_TOP - {"type", "delta"}
_SILENT_EVENTS = frozenset(
    f"response.{of}.delta"
    for of in ("output_text", "function_call_arguments", "reasoning_text", "reasoning_summary_text")
)
_DECIDING = READ | {"__getattribute__", "__bool__", "__len__"}
_NONE: dict[str, Any] = {}


class Piece(NamedTuple):
    """What one chunk says. ``finished``: whether it has a finish mark; None where it is no chunk that needs one.

    ``calls``: for each piece of a tool call its key, and its name and arguments. ``usage``: as the provider gave it.
    """

    text: str = ""
    finish: str | None = None
    finished: bool | None = False
    calls: tuple[tuple[Any, dict[str, Any]], ...] = ()
    usage: object = None


class _UnusualError(Exception):
    pass


class UsualChunks:
    """Reads the chunks of one answer. What it knows of their classes is kept no longer than the answer."""

    def __init__(self) -> None:
        self._is_plain: dict[type, bool] = {}

    def piece(self, payload: object) -> Piece | None:
        """What ``payload`` says; None where it is no usual chunk, and then nothing of it was taken."""
        try:
            fields = payload if type(payload) is dict else self._fields(payload)
            choices = fields.get("choices")
            if choices is not None:
                return self._of_choices(fields, choices)
            kind = fields.get("type")
            if type(kind) is str and kind.endswith("delta") and _UNUSUAL_IN_EVENTS.isdisjoint(fields):
                return self._of_event(kind, fields)
        except _UnusualError:
            pass
        return None

    def words(self, payload: object) -> str | None:
        """The text of a chunk that has nothing else to say of how the answer went; None where it may have.

        Most chunks of a stream are of this kind, and their readers wait: it takes about a microsecond.
        """
        try:
            fields = payload if type(payload) is dict else self._fields(payload)
            choices = fields.get("choices")
            if choices is None:
                return self._words_of_event(fields)
            if type(choices) is not list or len(choices) > 1 or fields.get("usage") is not None:
                return None
            if not _UNUSUAL_IN_CHAT.isdisjoint(fields) and _has_value(fields, _UNUSUAL_IN_CHAT):
                return None
            return self._words_of_choice(choices[0]) if choices else ""
        except Exception:  # noqa: BLE001  # on the request's path, and a payload may be anything
            return None

    def _words_of_choice(self, holder: object) -> str | None:
        choice = holder if type(holder) is dict else self._fields(holder)
        if choice.get("finish_reason") is not None or choice.get("message") is not None:
            return None
        said, delta = choice.get("text"), choice.get("delta")
        if delta is not None:
            inner = delta if type(delta) is dict else self._fields(delta)
            if inner.get("refusal") is not None or said is not None:
                return None
            said = inner.get("content")
        return "" if said is None else said if type(said) is str else None

    def _words_of_event(self, fields: dict[str, Any]) -> str | None:
        kind, delta = fields.get("type"), fields.get("delta")
        if type(kind) is not str or not _UNUSUAL_IN_EVENTS.isdisjoint(fields):
            return None
        if kind == "content_block_delta":
            inner = delta if type(delta) is dict else self._fields(delta)
            said = inner.get("text")
            if inner.get("stop_reason") is None and (said is None or type(said) is str):
                return said or ""
        elif type(delta) is str and kind in _SILENT_EVENTS:
            return delta if kind == "response.output_text.delta" else ""
        return None

    def _of_choices(self, fields: dict[str, Any], choices: object) -> Piece:
        """OpenAI's chat completions and completions."""
        if type(choices) is not list or len(choices) > 1 or _has_value(fields, _UNUSUAL_IN_CHAT):
            raise _UnusualError
        sort = fields.get("object")
        if sort is not None and type(sort) is not str:
            raise _UnusualError
        finished = False if sort == "chat.completion.chunk" else None
        usage = fields.get("usage")
        if not choices:
            return Piece("", None, finished, (), usage)
        choice = self._fields(choices[0])
        index, finish, delta = choice.get("index"), choice.get("finish_reason"), choice.get("delta")
        if (index is not None and (type(index) is not int or index)) or choice.get("message") is not None:
            raise _UnusualError
        if finish is not None and (type(finish) is not str or finish in ("content_filter", "error")):
            raise _UnusualError
        said = choice.get("text")
        said = said if type(said) is str else _nothing(said)
        calls: tuple[tuple[Any, dict[str, Any]], ...] = ()
        if delta is not None:
            finished = False
            delta = self._fields(delta)
            content, called = delta.get("content"), delta.get("tool_calls")
            if delta.get("refusal") is not None or delta.get("function_call") is not None:
                raise _UnusualError
            said += content if type(content) is str else _nothing(content)
            if called is not None:
                calls = self._calls(called)
        if finished is not None and finish:
            finished = True
        return Piece(said, finish or None, finished, calls, usage)

    def _calls(self, called: object) -> tuple[tuple[Any, dict[str, Any]], ...]:
        if type(called) is not list:
            raise _UnusualError
        found = []
        for place, one in enumerate(called):
            call = self._fields(one)
            index, function = call.get("index"), self._fields(call.get("function"))
            if not function or (index is not None and type(index) is not int):
                raise _UnusualError
            found.append((place if index is None else index, function))
        return tuple(found)

    def _of_event(self, kind: str, fields: dict[str, Any]) -> Piece:
        """A piece of an answer of OpenAI's Responses or Anthropic's Messages."""
        delta = fields.get("delta")
        if kind == "content_block_delta":
            inner = self._fields(delta)
            if inner.get("stop_reason") is not None:
                raise _UnusualError
            said, arguments, index = inner.get("text"), inner.get("partial_json"), fields.get("index")
            said = said if type(said) is str else _nothing(said)
            if not arguments:
                return Piece(said)
            if type(arguments) is not str or type(index) is not int:
                raise _UnusualError
            return Piece(said, None, False, ((index, {"arguments": arguments}),))
        if type(delta) is not str or not kind.startswith("response.") or kind == "response.refusal.delta":
            raise _UnusualError
        # pieces of arguments and of reasoning: the first come whole at the end, the second are no part of the answer
        return Piece(delta if kind == "response.output_text.delta" else "")

    def _fields(self, holder: object) -> dict[str, Any]:
        """The fields of a JSON object, or of an object that has no other attributes of these names."""
        kind = type(holder)
        if kind is dict:
            return holder  # type: ignore[return-value]
        plain = self._is_plain.get(kind)
        if plain is None:
            plain = self._is_plain[kind] = _is_plain(kind)
        if not plain:
            raise _UnusualError
        more = getattr(holder, "__pydantic_extra__", None)  # fields that the SDK's class does not know
        if more and not READ.isdisjoint(more):  # LiteLLM's choices and deltas have all of theirs there
            return {**more, **holder.__dict__}
        return holder.__dict__


def _is_plain(kind: type) -> bool:
    """Whether an object's fields are its ``__dict__``: no class of it computes one of them."""
    for base in kind.__mro__[:-1]:
        own = vars(base)
        if not _DECIDING.isdisjoint(own) or ("__getattr__" in own and base.__module__ != "pydantic.main"):
            return False
    return hasattr(kind, "__dict__") and kind.__dictoffset__ != 0 and not issubclass(kind, type)


def _has_value(fields: dict[str, Any], names: frozenset[str]) -> bool:
    return not names.isdisjoint(fields) and any(fields.get(name) is not None for name in names)


def _nothing(value: object) -> str:
    if value is not None:
        raise _UnusualError
    return ""
