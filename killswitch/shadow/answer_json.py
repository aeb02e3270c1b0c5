"""JSON in answers: whether it parses, whether it is valid against the schema that was asked for, and how two differ."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from killswitch.rules.strict_json import too_deep
from killswitch.shadow.json_schema import keeps

State = Literal["none", "parses", "broken", "valid", "invalid"]

_FENCE: Final = re.compile(r"\A```(?:json|JSON)?[ \t]*\r?\n(.*?)\r?\n?```\Z", re.DOTALL)
_LONGEST_NUMBER: Final = 4_000  # digits; Python refuses to read longer ones, JSON allows them
NOT_JSON: Final = object()
"""What `parsed` says of a text that is no JSON; None is the JSON ``null``."""


def parsed(text: str) -> Any:
    """The JSON value of a text that is nothing but JSON, also inside one fence. `NOT_JSON` for any other text."""
    inner = _FENCE.match(text.strip())
    body = (inner[1] if inner else text).strip()
    if not body or body[0] not in '{["-0123456789tfn':
        return NOT_JSON
    try:
        value = json.loads(body, parse_int=_integer, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return NOT_JSON
    return NOT_JSON if too_deep(value) else value


def _integer(text: str) -> int | str:
    return int(text) if len(text) < _LONGEST_NUMBER else text


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def state_of(text: str, value: Any, response_format: object) -> State:
    """``value`` is what `parsed` says of the text; ``response_format`` is the request's own, in any of three APIs."""
    wanted, schema = _asked_for(response_format)
    if value is NOT_JSON:
        return "broken" if wanted or _looks_like_json(text) else "none"
    if not wanted and not isinstance(value, dict | list):
        return "none"  # "42" and "true" are answers in words as well
    if schema is None:
        return "parses"
    kept = keeps(value, schema)
    return "parses" if kept is None else "valid" if kept else "invalid"


def _looks_like_json(text: str) -> bool:
    inner = _FENCE.match(text.strip())
    body = (inner[1] if inner else text).strip()
    return re.match(r'\{\s{0,40}["}]|\[\s{0,40}(?:[{\[\]"]|-?\d{1,40}\s{0,40},)', body) is not None


def _asked_for(response_format: object) -> tuple[bool, Any]:
    """Whether JSON was asked for, and its schema: chat completions, ``text.format`` of Responses, ``output_format``."""
    if not isinstance(response_format, Mapping):
        return False, None
    inside = response_format.get("format")  # Responses: {"text": {"format": {...}}}
    asked: Mapping[str, Any] = inside if isinstance(inside, Mapping) else response_format
    if asked.get("type") not in ("json_object", "json_schema"):
        return False, None
    inner = asked.get("json_schema")
    schema = inner.get("schema") if isinstance(inner, Mapping) else asked.get("schema")
    return True, schema if isinstance(schema, Mapping) else None


def canonical(value: Any) -> str:
    """One spelling of a JSON value: keys sorted, no space, whole floats as integers. "" if it is too deep."""
    try:
        return json.dumps(_whole(value), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    except RecursionError:
        return ""


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(one) for key, one in value.items()}
    return [_whole(one) for one in value] if isinstance(value, list) else value


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value that is neither object nor list, with its path; an empty object or list is a leaf."""
    if isinstance(value, dict) and value:
        for key in sorted(value):
            yield from leaves(value[key], f"{path}/{key}")
    elif isinstance(value, list) and value:
        for number, one in enumerate(value):
            yield from leaves(one, f"{path}/{number}")
    else:
        yield path, value
