"""Copies a finished request before it is asked again: on the shadow's thread, never on the request's path.

What comes out is a copy that nothing else holds, of the fields that `asked_fields` lists and without credentials, and
the same as plain JSON for the record. What the caller has
appended to the messages, removed or replaced since control was asked makes no difference. Where the first or the last
message says something else than then, or the request changes while it is copied, the pair is dropped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from operator import is_not
from typing import Any, NamedTuple

from killswitch.router.payload_fields import dumped
from killswitch.router.shadow.asked_fields import asks_a_model, is_credential, listed
from killswitch.router.shadow.asking import Finished
from killswitch.router.shadow.comparable import NotComparable, comparable
from killswitch.router.shadow.drops import Drop

_DEEPEST = 60
# Of control's call alone, wherever it is nested: its routing and its bookkeeping. A shadow that inherits them would be
# answered by another model, or be logged as control. At the top only what `asked_fields` lists is kept.
_LEFT_OUT = frozenset(
    {
        *("model", "models", "fallbacks", "api_base", "base_url", "api_version", "organization"),
        *("headers", "extra_headers", "default_headers", "extra_query", "client", "http_client", "timeout"),
        *("metadata", "litellm_metadata", "litellm_params", "idempotency_key", "num_retries", "max_retries"),
        *("user", "safety_identifier", "prompt_cache_key"),
    }
)
# here a name is the users' own word and not a setting
_QUESTIONS = frozenset({"messages", "input", "system", "prompt", "instructions", "prediction"})
_SCHEMAS = frozenset({"parameters", "input_schema", "schema", "guided_json", "json_schema"})
# with one of these the provider, or who reads the answer, may act
_ACTING = ("tools", "functions", "mcp_servers", "container", "web_search_options", "plugins", "background")
_ACTING_ANYWAY = ("conversation",)  # the provider appends to it: control's own next turn would see the shadow's


class Captured(NamedTuple):
    """``request``: to be asked, each time by a copy of it. ``record``: the same as plain JSON. ``turn``: from 1."""

    request: dict[str, Any]
    record: dict[str, Any]
    streamed: bool
    turn: int


def capture(finished: Finished, *, most_bytes: int, tools_act: bool) -> Captured | Drop:
    """A copy of the request of ``finished``, or why there is none.

    ``tools_act``: requests that have tools act on the world, unless the service says that this one does not.
    """
    try:
        request, foreign = _copy_of_arguments(finished, most_bytes)
        if acts(request, finished, tools_act=tools_act):
            return Drop.SIDE_EFFECTS
        request = comparable(finished.api, request)
    except (_TooLargeError, RecursionError):
        return Drop.TOO_LARGE
    except NotComparable:
        return Drop.NOT_COMPARABLE
    except (_ChangedError, RuntimeError):  # RuntimeError: "dictionary changed size during iteration"
        return Drop.CHANGED
    except ValueError:
        return Drop.UNREADABLE
    streamed = bool(request.get("stream")) or isinstance(finished.answer, list)
    # both are only read from here on: what is asked is a copy of the request
    record = plain(request) if foreign else request
    return Captured(request, record, streamed, turn_of(request))


def _copy_of_arguments(finished: Finished, most_bytes: int) -> tuple[dict[str, Any], bool]:
    """The copy, and whether anything in it is no JSON."""
    arguments = finished.arguments
    if isinstance(arguments, list):
        arguments = b"".join(arguments)
    is_body = isinstance(arguments, bytes | bytearray)
    if isinstance(arguments, bytes | bytearray):
        if len(arguments) > most_bytes:
            raise _TooLargeError
        arguments = json.loads(arguments)
    if not isinstance(arguments, Mapping):
        raise ValueError("not a JSON object")  # noqa: TRY004  # the same answer as for what is no JSON
    copy = _Copy(most_bytes)
    copied = copy.of_arguments(arguments, finished.messages, finished.contents)
    if not asks_a_model(finished.api, arguments, is_body=is_body):
        raise NotComparable("it has not what its API demands: it is no request to a model")
    return copied, copy.foreign


def acts(request: Mapping[str, Any], finished: Finished, *, tools_act: bool) -> bool:
    """Whether asking ``request`` again would act on the world."""
    extra = request.get("extra_body")
    # the client's SDK puts the fields of ``extra_body`` over the others
    sent = (request, extra) if isinstance(extra, Mapping) else (request,)
    if any(given.get(name) for given in sent for name in _ACTING_ANYWAY):
        return True
    if finished.side_effects is not None:
        return bool(finished.side_effects)
    return tools_act and any(given.get(name) for given in sent for name in _ACTING)


def turn_of(request: Mapping[str, Any]) -> int:
    """Which user turn is answered, from 1. From the second on, the conversation so far is control's."""
    for name in ("messages", "input"):
        messages = request.get(name)
        if isinstance(messages, list):
            spoken = len([one for one in messages if isinstance(one, dict) and _speaks(one)])
            return max(1, spoken)
    return 1


def _speaks(message: Mapping[str, Any]) -> bool:
    """Whether it is a message of the user, and more than the results of tools."""
    if message.get("role") != "user":
        return False
    parts = message.get("content")
    if not isinstance(parts, list) or not parts:
        return True
    return any(not (isinstance(part, dict) and part.get("type") == "tool_result") for part in parts)


def copy_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """One more copy of what `capture` has made, for one call: what the call changes, no other call sees."""
    copied = _copied(request, lambda foreign: foreign)
    assert isinstance(copied, dict)
    return copied


def plain(request: Mapping[str, Any]) -> dict[str, Any]:
    """The request as plain JSON; what JSON cannot hold is named by its type."""
    copied = _copied(request, lambda foreign: f"<{getattr(foreign, '__name__', type(foreign).__name__)}>")
    assert isinstance(copied, dict)
    return copied


def _copied(value: object, foreign: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {str(name): _copied(each, foreign) for name, each in value.items()}
    if isinstance(value, list):
        return [_copied(each, foreign) for each in value]
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return foreign(value)


class _TooLargeError(Exception):
    pass


def contents_of(messages: Sequence[object]) -> tuple[object, object]:
    """What the first and the last message say: a system prompt and the newest question are what a caller edits."""
    first, last = messages[0], messages[-1]
    return (
        first.get("content") if isinstance(first, dict) else None,
        last.get("content") if isinstance(last, dict) else None,
    )


class _ChangedError(Exception):
    pass


class _Copy:
    """One pass over the caller's own objects, which stops at ``most_bytes``."""

    def __init__(self, most_bytes: int) -> None:
        self._left = most_bytes
        self.foreign = False

    def of_arguments(
        self, arguments: Mapping[str, Any], messages: tuple[object, ...] | None, contents: tuple[object, object] | None
    ) -> dict[str, Any]:
        if messages and contents is not None and any(map(is_not, contents_of(messages), contents)):
            raise _ChangedError
        copied = {}
        for name, value in list(arguments.items()):
            if not listed(str(name)) or self._is_left_out(name, value):
                continue
            asked = value
            if name in ("messages", "input") and isinstance(value, list | tuple):
                asked = value if messages is None else messages
            elif name == "extra_body":
                if not isinstance(value, Mapping):
                    continue
                asked = {each: value[each] for each in list(value) if listed(str(each), in_extra_body=True)}
                if not asked:
                    continue
            copied[str(name)] = self._copy(asked, 0, own_words=name in _QUESTIONS or name in _SCHEMAS)
        return copied

    def _copy(self, value: Any, depth: int, *, own_words: bool) -> Any:
        self._spend(8)
        if depth > _DEEPEST:
            raise _TooLargeError
        if isinstance(value, str):
            # a subclass of str may do anything; and what is sent must be whole characters
            self._spend(len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass")))
            return str.__str__(value)
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, Mapping):
            return self._copy_fields(value, depth, own_words=own_words)
        if isinstance(value, list | tuple):
            return [self._copy(each, depth + 1, own_words=own_words) for each in list(value)]
        return self._copy_object(value, depth, own_words=own_words)

    def _copy_object(self, value: Any, depth: int, *, own_words: bool) -> Any:
        if isinstance(value, float) and math.isfinite(value):
            return value
        if isinstance(value, bytes | bytearray):
            self.foreign = True
            self._spend(len(value))
            return bytes(value)
        dump = None if isinstance(value, type) else getattr(value, "model_dump", None)
        if callable(dump):  # a message that is an object of an SDK
            return self._copy(dumped(dump, exclude_none=True), depth + 1, own_words=own_words)
        self.foreign = True
        return value  # an SDK's mark such as NOT_GIVEN, or the class of a response format: nothing to copy

    def _copy_fields(self, value: Mapping[Any, Any], depth: int, *, own_words: bool) -> dict[str, Any]:
        copied = {}
        for name, each in list(value.items()):
            if own_words or not self._is_left_out(name, each):
                self._spend(len(str(name)))
                copied[str(name)] = self._copy(each, depth + 1, own_words=own_words or name in _SCHEMAS)
        return copied

    def _is_left_out(self, name: object, value: object) -> bool:
        known = str(name).lower()
        callback = callable(value) and not isinstance(value, type)
        return known in _LEFT_OUT or callback or is_credential(known)

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise _TooLargeError
