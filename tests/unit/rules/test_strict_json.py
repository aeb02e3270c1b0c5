"""JSON and nothing but JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.rules.strict_json import NotJson, canonical, strict_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it ends in the middle"),
        ('{"a": 1', "it ends in the middle"),
        ('{"a": "b', "unterminated string"),
        ("NaN", "NaN is not allowed"),
        ('{"a": -Infinity}', "-Infinity is not allowed"),
        ("1e999", "a number is too large"),
        ("9" * 5000, "a number is too large"),
        ('{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ('{"a": 1} and so on', "text follows the value, at character 10"),
        ("[" * 100_000, "nested too deep"),
        ("[" * 101 + "]" * 101, "nested too deep"),
        ("{'a': 1}", "expecting property name"),
    ],
)
def test_what_is_not_json_says_why(text: str, why: str) -> None:
    """The reason repeats nothing of the text but a key."""
    with pytest.raises(NotJson) as refused:
        strict_json(text)
    assert why in str(refused.value)


@given(VALUES)
def test_json_is_read_back(value: Any) -> None:
    """What a JSON library writes is read."""
    assert strict_json(json.dumps(value)) == value


@given(VALUES)
def test_one_value_has_one_spelling(value: Any) -> None:
    """White space and the order of keys are not part of a value."""
    spaced = json.dumps(value, indent=3, sort_keys=True)
    assert canonical(strict_json(spaced)) == canonical(value)


def test_numbers_are_told_apart_as_json_does() -> None:
    """1 is 1.0, and is neither true nor a text."""
    assert canonical(1) == canonical(1.0) == "1"
    assert len({canonical(one) for one in (1, True, "1", [1], None)}) == 5
