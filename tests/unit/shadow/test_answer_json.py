"""JSON in answers, and whether it keeps the schema that was asked for."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killswitch.shadow.answer_json import NOT_JSON, canonical, parsed, state_of
from killswitch.shadow.json_schema import keeps

SCHEMA = {
    "type": "object",
    "properties": {"status": {"enum": ["approved", "rejected"]}, "score": {"type": "number"}},
    "required": ["status"],
    "additionalProperties": False,
}
ASKED = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": SCHEMA}}


def state(text: str, asked: object = None) -> str:
    return state_of(text, parsed(text), asked)


@pytest.mark.parametrize(
    ("text", "asked", "expected"),
    [
        ("Your refund was issued.", None, "none"),
        ("42", None, "none"),
        ("[Note] see below", None, "none"),
        ('{"a": 1}', None, "parses"),
        ('```json\n{"a": 1}\n```', None, "parses"),
        ('{"a": 1', None, "broken"),
        ('{"a": NaN}', None, "broken"),
        ("[1, 2", None, "broken"),
        ("[" * 100_000, None, "broken"),
        ("Sure, here it is.", {"type": "json_object"}, "broken"),
        ('{"a": 1}', {"type": "json_object"}, "parses"),
        ('{"status": "approved"}', ASKED, "valid"),
        ('{"status": "perhaps"}', ASKED, "invalid"),
        ('{"score": 1}', ASKED, "invalid"),
        ('{"status": "approved", "more": 1}', ASKED, "invalid"),
        ('{"status": "approved"}', {"format": {"type": "json_schema", "schema": SCHEMA}}, "valid"),
        ('{"status": "approved"}', {"type": "text"}, "parses"),
        ("", ASKED, "broken"),
    ],
)
def test_the_state_of_json(text: str, asked: object, expected: str) -> None:
    assert state(text, asked) == expected


def test_a_schema_with_an_unknown_keyword_is_never_proven_kept() -> None:
    """A violation of a known keyword is still one."""
    asked = {"type": "json_schema", "json_schema": {"schema": {**SCHEMA, "dependentRequired": {"a": ["b"]}}}}
    assert state('{"status": "approved"}', asked) == "parses"
    assert state('{"status": "perhaps"}', asked) == "invalid"


def test_a_schema_that_refers_to_itself_ends() -> None:
    tree = {"$ref": "#/$defs/node", "$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}}}}}
    assert keeps({"next": {"next": {}}}, tree) is True
    assert keeps({}, {"$ref": "#"}) is None
    assert keeps(1, {"$ref": "https://example.com/other"}) is None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from([0.0, 1.0, 2.5]) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
TYPES = st.sampled_from(["object", "array", "string", "boolean", "null", "number", "integer"])
SCHEMAS = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES | st.lists(TYPES, min_size=1, max_size=2, unique=True),
            "enum": st.lists(VALUES, min_size=1, max_size=3),
            "const": VALUES,
            "minimum": st.integers(-2, 2),
            "exclusiveMaximum": st.integers(-2, 2),
            "minLength": st.integers(0, 2),
            "maxItems": st.integers(0, 2),
            "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
            "title": st.just("a title"),
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
            "additionalProperties": inner | st.booleans(),
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
        },
    ),
    max_leaves=5,
)


@given(VALUES, SCHEMAS)
@settings(max_examples=120, deadline=None)
def test_known_keywords_judge_as_the_library_does(value: Any, schema: dict[str, Any]) -> None:
    assert keeps(value, schema) is jsonschema.Draft202012Validator(schema).is_valid(value)


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=100))
@settings(max_examples=100, deadline=None)
def test_any_text_is_json_or_none(text: str) -> None:
    value = parsed(text)
    assert value is NOT_JSON or isinstance(canonical(value), str)
    assert state(text) in ("none", "parses", "broken")


def test_a_number_of_5000_digits_is_json() -> None:
    assert state(f'{{"a": {"1" * 5000}}}') == "parses"
