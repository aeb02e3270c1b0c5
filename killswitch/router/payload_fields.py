"""Reads fields of what providers' APIs and SDKs return: JSON objects and objects with attributes alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def field(holder: object, name: str) -> Any:
    if isinstance(holder, Mapping):
        return holder.get(name)
    if holder is None or isinstance(holder, str | bytes | int | float | list | tuple):
        return None
    return getattr(holder, name, None)


def dumped(dump: Callable[..., Any], **options: Any) -> Any:
    """What ``dump``, a ``model_dump`` of any class, gives. Pydantic's warnings would write the values to the log."""
    try:
        return dump(warnings=False, **options)
    except (TypeError, ValueError):  # a class of another library, or an SDK over pydantic 1
        return dump(**options)


def either(holder: object, name: str, other: str) -> Any:
    found = field(holder, name)
    return field(holder, other) if found is None else found


def entries(value: object) -> list[Any] | tuple[Any, ...]:
    return value if isinstance(value, list | tuple) else []


def text(holder: object, name: str) -> str:
    value = field(holder, name)
    return value if isinstance(value, str) else ""


def word(holder: object, name: str) -> str:
    """A text field, or an enum's name or value as SDKs of typed languages give it; else empty."""
    value = field(holder, name)
    if isinstance(value, str):
        return str(getattr(value, "value", value))
    label = getattr(value, "name", None)
    return label if isinstance(label, str) else ""
