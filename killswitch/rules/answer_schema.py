"""The JSON Schema of a role's answers: checked when the file is read, and compiled for answers of any form.

An answer is a stranger's text, and `pattern` or a reference inside `anyOf` may take it exponential time. So patterns
are matched with a time limit, and references are followed a limited number of times.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

import regex
from jsonschema import ValidationError
from jsonschema.validators import Draft202012Validator, extend, validator_for
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable

from killswitch.deadline import Deadline
from killswitch.rules.document import Path
from killswitch.rules.strict_json import canonical
from killswitch.wording import plain

MAX_PATTERN: Final = 2_000  # characters
SECONDS_OF_PATTERNS: Final = 1.0  # for all patterns and texts of one answer; what takes longer has gone wild
MOST_REFERENCES: Final = 20_000  # followed for one answer; 1,024 tokens of a usual tree need a few hundred
_MOST_ERRORS: Final = 20
_DEEPEST: Final = 60  # schemas inside each other
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_SAMPLES: Final[tuple[Any, ...]] = (None, True, 0, "", [], {}, [{}], {"a": {}})
# what holds values and not schemas
_VALUES: Final = frozenset({"const", "enum", "default", "examples"})

SchemaProblem = tuple[Path, str, str]  # where in the schema, what is wrong, the fix


class PatternTooSlow(Exception):
    """The patterns took longer than `SECONDS_OF_PATTERNS` for the texts of an answer."""


class TooManyReferences(Exception):
    """An answer made the schema follow more than `MOST_REFERENCES` references."""


def schema_problems(schema: Mapping[str, Any]) -> list[SchemaProblem]:
    """Why the schema cannot be used, all of it; [] if it can."""
    said = schema.get("$schema")
    if said is not None and validator_for(schema, default=None) is None:
        known = "https://json-schema.org/draft/2020-12/schema"
        return [(("$schema",), "a draft of JSON Schema that is not known", f"write {known}, or remove `$schema`")]
    kind = validator_for(schema, default=Draft202012Validator)
    problems = list(_structure(schema, ()))
    try:
        errors = islice(kind(kind.META_SCHEMA).iter_errors(schema), _MOST_ERRORS)
        problems += [
            (tuple(error.absolute_path), f"no JSON Schema: {plain(error.message, 160)}", _DRAFT) for error in errors
        ]
    except RecursionError:
        problems.append(((), "nested too deep", "write a flatter schema"))
    if problems:
        return problems
    problems += _dangling(schema)
    return problems or list(_endless(schema))


class AnswerSchema:
    """A schema that was found good, for answers of any form. Formats are not checked. Safe from several threads."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        kind = validator_for(schema, default=Draft202012Validator)
        with_limits: Any = _limited(kind)
        self._validator = with_limits(schema, registry=Registry())

    def problem(self, value: Any) -> str | None:
        """Why a JSON value does not keep the schema, on one printable line; None if it keeps it."""
        try:
            with _within_limits():
                error = next(self._validator.iter_errors(value), None)
        except (PatternTooSlow, TooManyReferences) as error:
            return str(error)
        except RecursionError:
            return "the answer is nested too deep for the schema"
        except (OverflowError, ValueError, TypeError):
            return "the answer holds a value that the schema cannot be checked for"
        if error is None:
            return None
        place = "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
        named = plain(json.dumps(error.instance, ensure_ascii=False)[:200], 60)
        if error.validator == "required":
            return plain(f"{place}: {error.message.rpartition(' is a ')[0] or 'a key'} is missing", 300)
        return plain(f"{place}: {named} does not keep `{error.validator}`", 300)


_SLOW_PATTERN: Final = "a `pattern` of the schema takes too long for this answer"
_DRAFT = "correct it; see https://json-schema.org"


def _structure(node: Any, path: Path) -> Iterator[SchemaProblem]:
    if len(path) > _DEEPEST:
        yield path, f"nested deeper than {_DEEPEST} levels", "write a flatter schema"
        return
    if isinstance(node, list):
        for place, one in enumerate(node):
            yield from _structure(one, (*path, place))
    if not isinstance(node, Mapping):
        return
    for name in _REFERENCES:
        target = node.get(name)
        if isinstance(target, str) and not target.startswith("#"):
            fix = "copy it under `$defs` and write `#/$defs/…`; nothing is fetched"
            yield (*path, name), f"{name} refers to another document", fix
    for pattern, where in _patterns(node, path):
        yield from _of_pattern(pattern, where)
    if "unevaluatedProperties" in node and _has_key(node, "patternProperties"):
        what = "`unevaluatedProperties` together with `patternProperties` is not supported: it has no time limit"
        yield (*path, "unevaluatedProperties"), what, "write `additionalProperties`, or name the properties"
    for key, inside in node.items():
        if key not in _VALUES or (path and path[-1] == "properties"):
            yield from _structure(inside, (*path, key))


def _patterns(node: Mapping[str, Any], path: Path) -> Iterator[tuple[str, Path]]:
    # a property may be called `pattern`: then its value is a schema
    if isinstance(pattern := node.get("pattern"), str):
        yield pattern, (*path, "pattern")
    by_pattern = node.get("patternProperties")
    if isinstance(by_pattern, Mapping):
        for one in by_pattern:
            yield str(one), (*path, "patternProperties", one)


def _of_pattern(pattern: str, where: Path) -> Iterator[SchemaProblem]:
    if len(pattern) > MAX_PATTERN:
        yield where, f"a pattern of {len(pattern):,} characters", f"use at most {MAX_PATTERN:,}"
        return
    try:
        regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError, ValueError) as error:
        yield where, f"no regular expression ({error!s:.80})", "correct the pattern; Python's syntax is read"


def _has_key(node: Any, key: str) -> bool:
    if isinstance(node, Mapping):
        return key in node or any(_has_key(one, key) for one in node.values())
    return isinstance(node, list) and any(_has_key(one, key) for one in node)


def _dangling(schema: Mapping[str, Any]) -> list[SchemaProblem]:
    """References that lead nowhere inside the schema."""
    kind = validator_for(schema, default=Draft202012Validator)
    specification = Resource.from_contents(dict(schema), default_specification=_specification_of(kind))
    resolver = Registry().resolver_with_root(specification)
    problems: list[SchemaProblem] = []
    for target, where in _targets(schema, ()):
        try:
            resolver.lookup(target)
        except (Unresolvable, ValueError, TypeError, LookupError):
            problems.append((where, f"{target[:60]!r} leads nowhere", "define it under `$defs`, or correct the path"))
    return problems


def _specification_of(kind: Any) -> Any:
    from referencing.jsonschema import DRAFT202012, UnknownDialect, specification_with  # noqa: PLC0415  one use

    try:
        return specification_with(kind.META_SCHEMA.get("$schema", ""))
    except UnknownDialect:
        return DRAFT202012


def _targets(node: Any, path: Path) -> Iterator[tuple[str, Path]]:
    children: Iterable[tuple[str | int, Any]] = ()
    if isinstance(node, Mapping):
        if isinstance(target := node.get("$ref"), str):
            yield target, (*path, "$ref")
        children = [(key, one) for key, one in node.items() if key not in _VALUES]
    elif isinstance(node, list):
        children = enumerate(node)
    for key, inside in children:
        yield from _targets(inside, (*path, key))


def _endless(schema: Mapping[str, Any]) -> Iterator[SchemaProblem]:
    """A schema that refers to itself without looking into the value would never come to an end."""
    kind: Any = _limited(validator_for(schema, default=Draft202012Validator))
    validator = kind(schema, registry=Registry())
    try:
        with _within_limits():
            for sample in _SAMPLES:
                validator.is_valid(sample)
    except RecursionError:
        yield (), "the schema refers to itself without an end", "put the reference under `properties` or `items`"
    except TooManyReferences:
        yield (), "the schema takes too long even for a short answer", "write fewer references inside each other"
    except PatternTooSlow:
        yield (), "a pattern takes too long even for short texts", "write a pattern without nested repetition"
    except (OverflowError, ValueError, TypeError, LookupError) as error:
        yield (), f"the schema cannot be used ({plain(str(error), 80)})", _DRAFT


# --- the keywords that could take for ever ------------------------------------------------------

_limits = threading.local()


@contextmanager
def _within_limits() -> Iterator[None]:
    """In the block, all patterns together end after `SECONDS_OF_PATTERNS`, and references after `MOST_REFERENCES`."""
    _limits.patterns = Deadline(SECONDS_OF_PATTERNS)
    _limits.references = MOST_REFERENCES
    try:
        yield
    finally:
        _limits.patterns = None


def _found(pattern: str, text: str) -> bool:
    left = _limits.patterns.remaining()
    if left <= 0.0:
        raise PatternTooSlow(_SLOW_PATTERN)
    try:
        return regex.search(pattern, text, timeout=left) is not None
    except TimeoutError:
        raise PatternTooSlow(_SLOW_PATTERN) from None


def _pattern(validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string") and not _found(pattern, instance):
        yield ValidationError(f"does not match {pattern[:80]!r}")


def _pattern_properties(validator: Any, by_pattern: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, inside in by_pattern.items():
        for name, value in instance.items():
            if _found(pattern, name):
                yield from validator.descend(value, inside, path=name, schema_path=pattern)


def _additional(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    extra = [name for name in instance if name not in named and not any(_found(one, name) for one in patterns)]
    if validator.is_type(wanted, "object"):
        for name in extra:
            yield from validator.descend(instance[name], wanted, path=name)
    elif not wanted and extra:
        yield ValidationError(
            f"has {', '.join(repr(name[:40]) for name in extra[:5])}, which the schema does not allow"
        )


def _unique(validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    """The library compares each item with each other one; this takes one pass."""
    if wanted and validator.is_type(instance, "array"):
        seen = {canonical(item) for item in instance}
        if len(seen) != len(instance):
            yield ValidationError("has an item twice")


def _counted(follow: Callable[..., Any]) -> Callable[..., Iterator[ValidationError]]:
    """The library's own keyword for a reference, with a limit: `anyOf` of a tree of n levels follows 2^n of them."""

    def followed(validator: Any, target: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        _limits.references -= 1
        if _limits.references < 0:
            raise TooManyReferences("the schema takes too long for this answer: it checks each level over and over")
        yield from follow(validator, target, instance, schema) or ()

    return followed


def _limited(kind: Any) -> Any:
    """This draft's validator, with our limits."""
    references = {name: _counted(kind.VALIDATORS[name]) for name in _REFERENCES if name in kind.VALIDATORS}
    return extend(kind, {**_WITH_LIMITS, **references})


_WITH_LIMITS: Final = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional,
    "uniqueItems": _unique,
}
