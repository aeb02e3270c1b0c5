"""Reads JSON and nothing but JSON: no key twice, no NaN, no infinity, no deep nesting, nothing after the value."""

from __future__ import annotations

import json
import math
from typing import Any, Final

DEEPEST: Final = 100  # objects and lists inside each other
_LONGEST_NUMBER: Final = 400  # characters


class NotJson(ValueError):
    """Why a text is not JSON, in a few words that repeat none of it."""


def strict_json(text: str) -> Any:
    """The value of a text. Raises NotJson."""
    try:
        value = json.loads(
            text, object_pairs_hook=_once, parse_constant=_constant, parse_float=_float, parse_int=_integer
        )
    except NotJson:
        raise
    except json.JSONDecodeError as error:
        raise NotJson(_in_words(error)) from None
    except (ValueError, RecursionError):
        raise NotJson("it is nested too deep") from None
    if too_deep(value):
        raise NotJson("it is nested too deep")
    return value


def _in_words(error: json.JSONDecodeError) -> str:
    if error.msg == "Extra data":
        return f"text follows the value, at character {error.pos + 1}"
    if error.pos >= len(error.doc.rstrip()):
        return "it ends in the middle"
    return f"{error.msg.lower()}, at character {error.pos + 1}"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise NotJson(f"the key {key[:40]!a} is there twice")
        found[key] = value
    return found


def _constant(name: str) -> Any:
    raise NotJson(f"{name} is not allowed in JSON")


def _float(text: str) -> float:
    value = float(text) if len(text) <= _LONGEST_NUMBER else math.inf
    if not math.isfinite(value):
        raise NotJson("a number is too large")
    return value


def _integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise NotJson("a number is too large")
    return int(text)


def too_deep(value: Any) -> bool:
    """Whether objects and lists are over `DEEPEST` inside each other: to go through such a value would overflow."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inside
            for one in level
            if isinstance(one, dict | list)
            for inside in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return True


def canonical(value: Any) -> str:
    """One spelling of a JSON value: keys sorted, no space, whole floats as integers, so that ``1`` is ``1.0``."""
    return json.dumps(_whole(value), sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(one) for key, one in value.items()}
    return [_whole(one) for one in value] if isinstance(value, list) else value
