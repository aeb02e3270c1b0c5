"""Answers held against a role's schema, and the label that is found in them."""

from __future__ import annotations

from typing import Any

import pytest

from killswitch.gate.answers import Answer, ScoredAnswer
from killswitch.gate.scoring import MAX_TEXT, Scorer
from killswitch.roles.config import RoleConfig, RoleEndpoint

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"label": {"type": ["string", "number", "boolean", "null"]}, "why": {"type": "string"}},
    "required": ["label"],
}


def scored(text: str | None, *, schema: Any = SCHEMA, label: str = "$.label", fenced: bool = False) -> ScoredAnswer:
    config = RoleConfig("r", RoleEndpoint("openai"), schema=schema, label=label, fenced=fenced)
    failure = "it was down" if text is None else None
    return Scorer(config).scored(Answer("m", None, text, failure, None, None, None, 1))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ('{"label": "bug"}', '"bug"'),
        (' \n{"why": "x", "label": "bug"}\n', '"bug"'),
        ('{"label": 1.0}', "1"),
        ('{"label": "1"}', '"1"'),
        ('{"label": true}', "true"),
        ('{"label": null}', "null"),
    ],
)
def test_a_good_answer_has_its_label(text: str, label: str) -> None:
    """The label is canonical JSON: 1 and 1.0 are one label, 1, "1" and true are three."""
    assert (scored(text).schema_ok, scored(text).label, scored(text).problem) == (True, label, None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "it was down"),
        ("", "the answer is empty"),
        ("  \n", "the answer is empty"),
        ("bug", "the answer is not JSON"),
        ('{"label": "bug"', "it ends in the middle"),
        ('{"label": "bug"} I hope this helps!', "text follows the value"),
        ('Sure! {"label": "bug"}', "the answer is not JSON"),
        ('{"label": "bug", "label": "praise"}', "the key 'label' is there twice"),
        ('{"label": NaN}', "NaN is not allowed"),
        ('```json\n{"label": "bug"}\n```', "inside a Markdown fence"),
        ('{"why": "x"}', "'label' is missing"),
        ('{"label": ["bug"]}', "breaks the schema: $.label"),
        ("[" * 200_000, "nested too deep"),
        ('{"label": "' + "x" * MAX_TEXT + '"}', "over 1,000,000 characters"),
    ],
)
def test_a_bad_answer_has_no_label_but_a_reason(text: str | None, problem: str) -> None:
    """Production code cannot use it, so it agrees with nothing."""
    found = scored(text)
    assert (found.schema_ok, found.label) == (False, None)
    assert problem in str(found.problem)


@pytest.mark.parametrize("text", ['```json\n{"label": "bug"}\n```', '```\n{"label": "bug"}\n```', '{"label": "bug"}'])
def test_a_fence_counts_where_the_role_allows_it(text: str) -> None:
    """Only one around the whole answer."""
    assert scored(text, fenced=True).label == '"bug"'
    assert not scored("It is:\n" + text + "\nas asked", fenced=True).schema_ok


def test_a_label_may_be_anywhere() -> None:
    """Also a list or an object; a place that is not there is no label, though the schema is kept."""
    assert scored('{"label": "a", "tags": [{"b": 1, "a": 2}]}', label="$.tags[0]").label == '{"a":2,"b":1}'
    found = scored('{"label": "a"}', label="$.tags[0]")
    assert (found.schema_ok, found.label) == (True, None)
    assert "no label at $.tags[0]" in str(found.problem)


def test_without_a_schema_the_label_is_the_text() -> None:
    """Trimmed; JSON in it is a text as well."""
    assert scored(" bug \n", schema=None, label="$").label == '"bug"'
    assert scored("3", schema=None, label="$").label == '"3"'


def test_a_label_of_a_novel_is_refused() -> None:
    """Reports and caches hold labels by the thousand."""
    found = scored("word " * 1000, schema=None, label="$")
    assert (found.schema_ok, found.label) == (True, None)
    assert "over 2,000 characters" in str(found.problem)
