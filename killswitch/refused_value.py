"""What pydantic says of one refused value, in our words: the value, what is wrong with it, and what to write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NOT = {
    "float": "is not a number; write digits alone, such as 0.5 or 20",
    "decimal": "is not a number; write digits alone, such as 0.5 or 20",
    "int": "is not a whole number; write digits alone, such as 20",
    "bool": "is neither true nor false",
    "string": "is not a text; write it in quotes",
    "path": "is not a path; write the name of a file or folder",
}
_LIMITS = {
    "greater_than": ("gt", "must be over {}"),
    "greater_than_equal": ("ge", "must be {} or more"),
    "less_than": ("lt", "must be under {}"),
    "less_than_equal": ("le", "must be {} or less"),
}
_LONGEST = 60  # characters of a value that are shown


def refused_value(detail: Mapping[str, Any]) -> str:
    """One entry of `ValidationError.errors()`. The value is shown if the entry has it: a secret is left out before."""
    kind, context = str(detail["type"]), detail.get("ctx", {})
    value = f"{_shown(detail['input'])} " if "input" in detail else ""
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        return value + words.format(f"{context[name]:g}")
    if kind == "finite_number":
        return f"{value}is not a number; write digits alone, such as 0.5 or 20"
    if kind == "literal_error":
        return f"{value}must be " + str(context["expected"]).replace("'", "")
    if kind == "string_too_short":
        return "must not be empty"
    if kind == "value_error":
        said = str(detail["msg"]).removeprefix("Value error, ").rstrip(".")
        return f"{value}holds a NUL character; remove it" if said == "embedded null byte" else said
    return value + _NOT.get(kind.partition("_")[0], str(detail["msg"]).lower())


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
