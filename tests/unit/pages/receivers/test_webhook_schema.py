"""The webhook's JSON Schema: current, complete, and true of every kind of page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import get_type_hints

import jsonschema
import pytest

from killswitch.pages import events
from killswitch.pages.page import Page, PageKind
from killswitch.pages.payload import PagePayload
from killswitch.pages.receivers.webhook_schema import MEANINGS, json_schema, main
from tests.doubles.pages import SETTINGS, incident, proven_incident
from tests.unit.pages.test_page import one_of_each

ROOT = Path(__file__).parents[4]
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def closed(schema: dict[str, object]) -> dict[str, object]:
    """The same schema without tolerance for names that it does not know."""
    copy: dict[str, object] = json.loads(json.dumps(schema))
    definitions = copy["$defs"]
    assert isinstance(definitions, dict)
    for one in definitions.values():
        one["additionalProperties"] = False
    return copy


CLOSED = jsonschema.Draft202012Validator(closed(json_schema()))
PAGES = [
    *one_of_each(),
    events.tripped(proven_incident(), replace(SETTINGS, public_url="https://ks.example")),
    events.tripped(incident(automatic=False, by="ann", rules=(), findings=(), window=None), SETTINGS),
]


def test_the_schema_and_its_page_in_the_docs_are_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["--check"]) == 0


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.kind.value}-{page.id}")
def test_every_kind_of_page_validates_and_is_documented(page: Page) -> None:
    """Every kind of page validates and has no name that is not documented."""
    document = json.loads(json.dumps({**page.payload, "possible_repeat": False}, allow_nan=False))
    assert [error.message for error in CLOSED.iter_errors(document)] == []


def test_every_kind_is_among_them() -> None:
    assert {page.kind for page in PAGES} == set(PageKind)


@pytest.mark.parametrize("spoil", [{"ts": None}, {"kind": "NOBODY"}, {"samples_new": "many"}, {"good_news": 1}])
def test_what_is_no_page_is_refused(spoil: dict[str, object]) -> None:
    assert not VALIDATOR.is_valid({**PAGES[0].payload, **spoil})


@pytest.mark.parametrize("model", MEANINGS, ids=lambda model: model.__name__)
def test_every_name_has_a_meaning(model: type) -> None:
    assert MEANINGS[model].keys() == get_type_hints(model).keys()


def test_the_seven_fixed_names_come_first() -> None:
    seven = ["alert", "reason", "stage", "ts", "samples_new", "samples_old", "auto_action"]
    assert list(get_type_hints(PagePayload))[:7] == seven
