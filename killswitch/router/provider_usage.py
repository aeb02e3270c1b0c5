"""The provider's own usage object as plain JSON, from whole answers and streams. Counting it is the worker's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from killswitch.router.payload_fields import dumped, either, field

_DEEPEST = 4
_MOST_FIELDS = 64


def merged_usage(known: dict[str, Any] | None, payload: object) -> dict[str, Any] | None:
    """``known`` with what one more chunk says: a stream's usage is a running total, and Anthropic's has two parts."""
    holders = (payload, field(payload, "response"), field(payload, "message"), field(payload, "metadata"))
    for holder in holders:
        usage = field(holder, "usage")
        if usage is None:
            usage = either(holder, "usageMetadata", "usage_metadata")
        plain = plain_json(usage)
        if isinstance(plain, dict) and plain:
            said = {name: value for name, value in plain.items() if value is not None}
            known = {**(known or {}), **said}
    return known


def usage_so_far(known: dict[str, Any] | None, payload: object) -> dict[str, Any] | None:
    """`merged_usage` of what may be anything, with any properties: never raises, and keeps what was known."""
    try:
        return merged_usage(known, payload)
    except Exception:  # noqa: BLE001  # a foreign property
        return known


def plain_json(value: object, depth: int = 0) -> Any:
    """``value`` as plain JSON, bounded; None for what is no JSON and no object with fields."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value[:200]
    if depth >= _DEEPEST:
        return None
    fields = _fields(value)
    if fields is not None:
        shown = list(fields.items())[:_MOST_FIELDS]
        return {name: plain_json(each, depth + 1) for name, each in shown if isinstance(name, str)}
    if isinstance(value, list | tuple):
        return [plain_json(each, depth + 1) for each in value[:_MOST_FIELDS]]
    return None


def _fields(value: object) -> Mapping[Any, Any] | None:
    if isinstance(value, Mapping):
        return value
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        found = dumped(dump)
        return found if isinstance(found, Mapping) else None
    own = getattr(value, "__dict__", None)
    return own if isinstance(own, dict) else None
