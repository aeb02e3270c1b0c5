"""The JSON Schema of answers: what is refused as it is read, and how answers of any form are held against it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from killswitch.rules.answer_schema import AnswerSchema, schema_problems

LABEL: dict[str, Any] = {
    "type": "object",
    "properties": {"label": {"enum": ["bug", "praise"]}, "note": {"type": "string", "pattern": "^[a-z ]*$"}},
    "required": ["label"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("schema", "where", "why"),
    [
        ({"type": "objekt"}, ("type",), "no JSON Schema"),
        ({"$schema": "https://example.org/mine"}, ("$schema",), "a draft of JSON Schema that is not known"),
        ({"$ref": "https://example.org/a.json"}, ("$ref",), "refers to another document"),
        ({"$ref": "#/$defs/label"}, ("$ref",), "leads nowhere"),
        ({"$ref": "#"}, (), "refers to itself without an end"),
        ({"pattern": "(("}, ("pattern",), "no regular expression"),
        ({"pattern": "a" * 3000}, ("pattern",), "a pattern of 3,000 characters"),
        ({"patternProperties": {"[": {}}}, ("patternProperties", "["), "no regular expression"),
        (
            {"unevaluatedProperties": False, "patternProperties": {"^a": {}}},
            ("unevaluatedProperties",),
            "it has no time limit",
        ),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(schema: dict[str, Any], where: tuple[str, ...], why: str) -> None:
    """Each problem says where in the schema it is."""
    assert any(where == place and why in what for place, what, _ in schema_problems(schema))


def test_all_problems_of_a_schema_come_at_once() -> None:
    """One look is enough to correct a schema."""
    found = schema_problems({"properties": {"a": {"type": "x"}, "b": {"$ref": "file.json"}, "c": {"pattern": "["}}})
    assert {place[1] for place, _, _ in found} == {"a", "b", "c"}


@pytest.mark.parametrize(
    "schema",
    [
        LABEL,
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}},
        {"type": "array", "items": {"$ref": "#"}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "string"},
        {"properties": {"pattern": {"type": "string"}, "$ref": {"type": "string"}}},
        {"enum": [{"$ref": "https://example.org"}]},
        {},
    ],
)
def test_a_good_schema_is_taken(schema: dict[str, Any]) -> None:
    """A property may be called pattern, and values may look like references."""
    assert schema_problems(schema) == []


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"label": "bug"}, None),
        ({"label": "bug", "note": "it is"}, None),
        ({}, "$: 'label' is missing"),
        ({"label": "bgu"}, '$.label: "bgu" does not keep `enum`'),
        ([], "$: [] does not keep `type`"),
        ({"label": "bug", "more": 1}, "does not keep `additionalProperties`"),
        ({"label": "bug", "note": "\u202e\x1b[31m1"}, '1" does not keep `pattern`'),
    ],
)
def test_an_answer_is_held_against_the_schema(value: object, problem: str | None) -> None:
    """The problem is one printable line, whatever the model wrote."""
    found = AnswerSchema(LABEL).problem(value)
    assert found is None if problem is None else problem in str(found)
    assert found is None or found.isprintable()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("pattern", ["^(a|aa)+$", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_a_pattern_that_runs_wild_ends_in_time(pattern: str) -> None:
    """Python's `re` takes hours for these. Without the limit this test does not end: one answer may hold up no run."""
    schema = AnswerSchema({"items": {"pattern": pattern}})
    assert schema.problem(["a" * 500 + "!"] * 50) is not None


def test_many_items_are_unique_or_not_in_one_pass() -> None:
    """The library compares each item with each other one: 80,000 objects would take an hour."""
    schema = AnswerSchema({"uniqueItems": True})
    items = [{"a": number} for number in range(80_000)]
    assert schema.problem(items) is None
    assert schema.problem([*items, {"a": 5.0}]) is not None
    assert schema.problem([1, True, "1"]) is None


@given(
    st.dictionaries(
        st.sampled_from(["a", "b1", "label", "x"]), st.integers() | st.text() | st.lists(st.integers()), max_size=4
    )
)
def test_our_keywords_judge_as_the_library_does(value: dict[str, Any]) -> None:
    """`pattern`, `patternProperties`, `additionalProperties` and `uniqueItems` are ours, for their limits alone."""
    schema: dict[str, Any] = {
        "properties": {"label": {"pattern": "^b"}},
        "patternProperties": {"[0-9]$": {"type": "integer"}},
        "additionalProperties": {"uniqueItems": True, "type": ["array", "string"]},
    }
    assert (AnswerSchema(schema).problem(value) is None) == Draft202012Validator(schema).is_valid(value)


def test_a_tree_that_is_checked_over_and_over_ends() -> None:
    """Each level of the answer is held against both kinds of node, and each of them goes down again: 2^n checks."""
    node = [
        {"type": "object", "properties": {"child": {"$ref": "#/$defs/node"}}, "required": [key]} for key in ("x", "y")
    ]
    schema = AnswerSchema({"$defs": {"node": {"anyOf": node}}, "$ref": "#/$defs/node"})
    answer: dict[str, Any] = {}
    for _ in range(40):
        answer = {"child": answer}
    assert "takes too long" in str(schema.problem(answer))
    assert schema.problem({"x": 1, "child": {"y": 1}}) is None


def test_a_long_list_of_references_is_no_tree() -> None:
    schema = AnswerSchema({"$defs": {"item": {"type": "integer"}}, "items": {"$ref": "#/$defs/item"}})
    assert schema.problem(list(range(10_000))) is None
    assert "does not keep `type`" in str(schema.problem([*range(10_000), "x"]))
