"""What is generated is current, and every example in it is a rule file."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from killswitch.rules.counter_advice import CASES, counter_advice
from killswitch.rules.document import read_document
from killswitch.rules.editor_schema import json_schema, json_schema_text
from killswitch.rules.loading import load_text
from killswitch.rules.reference import DOCS, EXAMPLES, SCHEMA, SMALLEST, main, reference
from killswitch.sources.counter_resets import FEW_FALLS, NEAR_ZERO

ROOT = Path(__file__).parents[3]


def test_the_reference_and_the_schema_are_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["--check"]) == 0


def test_a_stale_reference_is_noticed_and_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (DOCS, SCHEMA):
        path.parent.mkdir()
        path.write_text("stale", encoding="utf-8")
    assert main(["--check"]) == 1
    assert "docs/rules.md is not current" in capsys.readouterr().err
    assert main([]) == 0
    assert DOCS.read_text(encoding="utf-8") == reference()
    assert SCHEMA.read_text(encoding="utf-8") == json_schema_text()


def test_what_is_said_of_counters_holds_the_numbers_of_the_code() -> None:
    text = "\n".join(counter_advice())
    assert f"After more than {FEW_FALLS} such falls in an hour" in text
    assert "less than a quarter" in text
    assert NEAR_ZERO == 4
    assert all(len(cell) <= 200 for case in CASES for cell in case)


@pytest.mark.parametrize("text", [SMALLEST, *EXAMPLES.values()], ids=["the smallest file", *EXAMPLES])
def test_every_example_is_accepted_by_the_loader_and_the_schema(text: str) -> None:
    assert load_text(text.encode()).rollouts
    jsonschema.Draft202012Validator(json_schema()).validate(read_document(text.encode()).value)


def test_the_shipped_file_satisfies_the_schema() -> None:
    shipped = read_document((ROOT / "rules" / "support-copilot.yaml").read_bytes()).value
    jsonschema.Draft202012Validator.check_schema(json_schema())
    jsonschema.Draft202012Validator(json_schema()).validate(shipped)


@pytest.mark.parametrize(
    "text",
    [
        "windw: 5m",
        "window: 300",
        "decide: evidance",
        "for: 0",
        "rules: {}",
        "rules: {Bad: {max: 2%}}",
        "rules: {error_rate: {mx: 2%}}",
        "rules: {error_rate: {max_ratio: 0.5}}",
        "metrics: litelm",
        "when_blind: trip",
        "false_trips: 1%",
        "match: {no-label: x}",
        "page: {severity: loud}",
        "min_requests: many",
    ],
)
def test_an_editor_sees_what_the_loader_refuses(text: str) -> None:
    value = read_document(f"rollout: r\ncontrol: a\ncanary: b\n{text}\n".encode()).value
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(value)


def test_every_key_is_described() -> None:
    schema = json_schema()
    # the others say which unit a rule's limits have, and describe nothing
    models = [one for one in schema["$defs"].values() if one.get("additionalProperties") is False]
    assert len(models) >= 5
    for model in (schema, *models):
        assert all(known.get("description") or "$ref" in known for known in model["properties"].values())
