"""Files of retirement dates: what is read, and what is refused with its line."""

from pathlib import Path

import pytest

from killswitch.errors import BadRules
from killswitch.roles.retirement import RetirementDate
from killswitch.rules.retirement_files import load_retirements
from killswitch.timestamps import from_iso

EXPECTED = (
    RetirementDate("gpt-4o-2024-08-06", from_iso("2027-02-27T00:00:00Z"), "r", "gpt-5-2025-08-07"),
    RetirementDate("claude-opus-4-1-20250805", from_iso("2027-03-01T09:00:00Z"), "r"),
)


@pytest.mark.parametrize(
    "text",
    [
        (
            "retirements:\n"
            "  - {model: gpt-4o-2024-08-06, retires: 2027-02-27, instead: gpt-5-2025-08-07}\n"
            '  - {model: claude-opus-4-1-20250805, retires: "2027-03-01T09:00:00Z"}\n'
        ),
        (
            '{"retirements": [\n'
            '  {"model": "gpt-4o-2024-08-06", "retires": "2027-02-27", "instead": "gpt-5-2025-08-07"},\n'
            '  {"model": "claude-opus-4-1-20250805", "retires": "2027-03-01T09:00:00Z"}]}\n'
        ),
    ],
)
def test_yaml_and_json_are_read(tmp_path: Path, text: str) -> None:
    file = tmp_path / "r"
    file.write_text(text)
    assert load_retirements(file) == EXPECTED


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{model: a, retires: 2027-02-30}", "r:2: retires: '2027-02-30' is no time; fix: write a date in UTC"),
        ("{model: a, retires: '2027-03-01T09:00:00'}", "is no time"),
        ("{model: a}", "retires: None is no time"),
        ("{retires: 2027-03-01}", "model: '' is no model's id"),
        ("{model: a, retires: 2027-03-01, instead: 3}", "instead: '' is no model's id"),
        ("{model: a, retires: 2027-03-01, when: x}", "there is no key 'when'; fix: write one of"),
        ("a", "an entry is no mapping"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_line(tmp_path: Path, entry: str, said: str) -> None:
    file = tmp_path / "r"
    file.write_text(f"retirements:\n  - {entry}\n")
    with pytest.raises(BadRules) as refused:
        load_retirements(file)
    assert said in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "retirements: 3", "dates: []", "retirements: []\nmore: 1", "a: &b c"])
def test_another_document_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "r"
    file.write_text(text)
    with pytest.raises(BadRules, match="fix: "):
        load_retirements(file)


def test_a_model_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "r"
    file.write_text("retirements:\n  - {model: a, retires: 2027-03-01}\n  - {model: a, retires: 2028-03-01}\n")
    with pytest.raises(BadRules, match="r:3: 'a' is here twice"):
        load_retirements(file)


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRules, match="cannot be read"):
        load_retirements(tmp_path / "none")
