"""The reference pages are current, and every command that a document tells people to type exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from docs.tools import reference, rooms
from killswitch.cli import invocation
from killswitch.cli.app import COMMANDS, imported
from killswitch.daemon.settings import Settings, load_settings
from killswitch.errors import BadSettings

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "deploy" / "kustomize" / "README.md"]


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_reference_pages_are_current() -> None:
    assert reference.main(["--check"]) == 0


def test_each_setting_has_a_row_under_one_subject() -> None:
    listed = [name for names in reference.SETTINGS.values() for name in names]
    assert sorted(listed) == sorted(Settings.model_fields)


@pytest.mark.parametrize("variable", reference.SECRETS)
def test_a_variable_that_may_hold_a_secret_is_not_refused(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "a secret")
    assert load_settings()
    assert f"{variable.removeprefix('KILLSWITCH_').lower()}_file" in Settings.model_fields


@pytest.mark.parametrize("said", reference.TOGETHER)
def test_what_is_said_to_fit_together_is_refused_otherwise(said: str) -> None:
    with pytest.raises(BadSettings) as refused:
        load_settings(None, **reference.TOGETHER[said])
    broken = next(iter(reference.TOGETHER[said]))
    assert any(broken in problem for problem in refused.value.problems)


def test_the_exit_codes_are_those_of_the_commands() -> None:
    code = {invocation.EXIT_UNWANTED, invocation.EXIT_REFUSED, invocation.EXIT_UNAVAILABLE}
    assert set(reference.EXIT_CODES) == {0, *code}


def test_a_kind_of_page_without_a_section_is_noticed() -> None:
    with pytest.raises(ValueError, match="has no section '### TRIPPED'"):
        list(reference.kinds_page("# Runbook"))


def documented() -> list[tuple[str, str]]:
    """Place and text of each `killswitch …` that stands in code, in a block or in a line."""
    found = []
    for path in DOCUMENTS:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            texts = re.findall(r"(?:^|`)killswitch ([a-z][^`#]*)", line)
            found += [(f"{path.name}:{number}", text.strip()) for text in texts]
    return found


def test_every_documented_command_and_option_exists() -> None:
    known: dict[str, Any] = {name: imported(name) for name in COMMANDS}
    wrong = []
    for place, text in documented():
        words = shlex.split(text.replace("…", "").rstrip("."), comments=True)
        command = known.get(" ".join(words[:2])) or known.get(words[0])
        options = (
            {option for one in command.params for option in (*one.opts, *one.secondary_opts)} if command else set()
        )
        given = {word.split("=")[0] for word in words if word.startswith("-")} - {"--help"}
        if command is None or not given <= options:
            wrong.append(f"{place}: killswitch {text}")
    assert not wrong
    assert len(documented()) > 30


def test_the_drawing_of_the_rooms_is_current() -> None:
    assert rooms.main(["--check"]) == 0


def test_every_room_of_the_contract_is_drawn() -> None:
    drawn = {text.text for text in ET.parse(rooms.DRAWING).iter("{http://www.w3.org/2000/svg}text")}
    folders = {path.parent.name for path in (ROOT / "killswitch").glob("*/__init__.py")}
    assert folders <= drawn
