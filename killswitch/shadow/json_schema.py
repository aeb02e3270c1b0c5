"""Whether a JSON value keeps a schema, for the part of JSON Schema that structured outputs of providers allow.

A library for all of JSON Schema would be one more dependency of the worker. What is not known here is never guessed:
a schema with another keyword leaves "unknown", and a record then says that the JSON parses, not that it is valid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

_DEEPEST: Final = 60  # of schemas and values that refer to each other
_ANNOTATIONS: Final = (
    "title description default examples $schema $id $defs definitions $comment deprecated readOnly writeOnly strict"
)
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "null": (type(None),),
    "number": (int, float),
    "integer": (int,),
}


def keeps(value: Any, schema: Any) -> bool | None:
    """Whether a value keeps a JSON schema: False if it surely does not, True if it surely does, None if unknown.

    Known keywords: type, properties, required, additionalProperties, items, enum, const, anyOf, $ref inside the
    schema, and the bounds of numbers, lengths and lists.
    """
    try:
        return _all(_verdicts(value, schema, _Place(schema, schema, 0)))
    except (RecursionError, TypeError, ValueError, AttributeError, LookupError):  # no schema at all
        return None


def equal(one: Any, other: Any) -> bool:
    """As JSON has it: ``1`` is ``1.0``, and is not ``true``."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


@dataclass(frozen=True, slots=True)
class _Place:
    """The schema that is read, the whole document that it may refer to, and how deep we are."""

    schema: Any
    root: Any
    depth: int


def _all(verdicts: Iterator[bool | None]) -> bool | None:
    found = set(verdicts)
    return False if False in found else None if None in found else True


def _verdicts(value: Any, schema: Any, at: _Place) -> Iterator[bool | None]:
    if isinstance(schema, bool):
        yield schema
    elif at.depth > _DEEPEST or not isinstance(schema, Mapping):
        yield None
    else:
        inside = _Place(schema, at.root, at.depth + 1)
        for keyword, wanted in schema.items():
            yield from _KEYWORDS.get(keyword, _unknown)(value, wanted, inside)


_Check = Callable[[Any, Any, _Place], Iterator[bool | None]]


def _unknown(_value: Any, _wanted: Any, _at: _Place) -> Iterator[bool | None]:
    yield None


def _nothing(_value: Any, _wanted: Any, _at: _Place) -> Iterator[bool | None]:
    yield True


def _type(value: Any, wanted: Any, _at: _Place) -> Iterator[bool | None]:
    names = [wanted] if isinstance(wanted, str) else wanted
    if isinstance(value, bool):
        yield "boolean" in names
    else:
        whole = isinstance(value, float) and value.is_integer()
        yield any(
            name != "boolean" and (isinstance(value, _TYPES[name]) or (name == "integer" and whole)) for name in names
        )


def _ref(value: Any, wanted: Any, at: _Place) -> Iterator[bool | None]:
    found = at.root
    if not wanted.startswith("#"):
        yield None
        return
    for part in wanted[1:].strip("/").split("/") if wanted != "#" else ():
        found = found[part.replace("~1", "/").replace("~0", "~")]
    yield from _verdicts(value, found, at)


def _any_of(value: Any, wanted: Any, at: _Place) -> Iterator[bool | None]:
    inside = {_all(_verdicts(value, one, at)) for one in wanted}
    yield True if True in inside else None if None in inside else False


def _items(value: Any, wanted: Any, at: _Place) -> Iterator[bool | None]:
    if isinstance(value, list):
        for entry in value:
            yield from _verdicts(entry, wanted, at)


def _properties(value: Any, wanted: Any, at: _Place) -> Iterator[bool | None]:
    if isinstance(value, dict):
        for name in value.keys() & wanted.keys():
            yield from _verdicts(value[name], wanted[name], at)


def _additional(value: Any, wanted: Any, at: _Place) -> Iterator[bool | None]:
    if "patternProperties" in at.schema:
        yield None
    elif isinstance(value, dict):
        for name in value.keys() - at.schema.get("properties", {}).keys():
            yield from _verdicts(value[name], wanted, at)


def _required(value: Any, wanted: Any, _at: _Place) -> Iterator[bool | None]:
    yield not isinstance(value, dict) or all(name in value for name in wanted)


def _enum(value: Any, wanted: Any, _at: _Place) -> Iterator[bool | None]:
    yield any(equal(value, one) for one in wanted)


def _const(value: Any, wanted: Any, _at: _Place) -> Iterator[bool | None]:
    yield equal(value, wanted)


def _bound(keeps_bound: Callable[[float, float], bool]) -> _Check:
    def check(value: Any, wanted: Any, _at: _Place) -> Iterator[bool | None]:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        yield not number or keeps_bound(value, wanted)

    return check


def _size(kind: type[str | list[Any] | dict[str, Any]], keeps_bound: Callable[[int, int], bool]) -> _Check:
    def check(value: Any, wanted: Any, _at: _Place) -> Iterator[bool | None]:
        yield not isinstance(value, kind) or keeps_bound(len(value), wanted)

    return check


def _at_least(one: float, other: float) -> bool:
    return one >= other


def _at_most(one: float, other: float) -> bool:
    return one <= other


_KEYWORDS: Final[Mapping[str, _Check]] = {
    **dict.fromkeys(_ANNOTATIONS.split(), _nothing),
    "type": _type,
    "$ref": _ref,
    "anyOf": _any_of,
    "items": _items,
    "properties": _properties,
    "additionalProperties": _additional,
    "required": _required,
    "enum": _enum,
    "const": _const,
    "minimum": _bound(_at_least),
    "maximum": _bound(_at_most),
    "exclusiveMinimum": _bound(lambda one, other: one > other),
    "exclusiveMaximum": _bound(lambda one, other: one < other),
    "minLength": _size(str, _at_least),
    "maxLength": _size(str, _at_most),
    "minItems": _size(list, _at_least),
    "maxItems": _size(list, _at_most),
    "minProperties": _size(dict, _at_least),
    "maxProperties": _size(dict, _at_most),
}
