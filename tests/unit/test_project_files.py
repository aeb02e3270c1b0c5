"""The files that a company asks for before it installs anything."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml

from killswitch.model import Reason
from killswitch.pages.page import PageKind
from tests.servers.image import REPOSITORY


def test_the_licence_is_the_one_that_the_package_names() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert "Apache-2.0" in str(project["license"])
    text = (REPOSITORY / "LICENSE").read_text()
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_a_fork_can_fill_in_one_line_to_be_reachable() -> None:
    lines = (REPOSITORY / "SECURITY.md").read_text().splitlines()
    assert len([line for line in lines if line.startswith("**Contact: ")]) == 1


def make_targets() -> dict[str, str]:
    """Each target of the Makefile with what it needs."""
    return dict(re.findall(r"^([a-z][a-z0-9 -]*):([^=#\n]*)", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))


def test_the_hooks_before_a_commit_are_what_make_check_runs() -> None:
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    parts = set(make_targets()["check"].split()) - {"$(STAMP)"}
    assert {hook["entry"] for hook in hooks} == {f"make {part}" for part in parts}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", ".pre-commit-config.yaml"])
def test_every_make_target_that_a_page_names_exists(name: str) -> None:
    known = {target for targets in make_targets() for target in targets.split()}
    named = re.findall(r"(?:^|`|entry: )make ([a-z]+)", (REPOSITORY / name).read_text(), re.MULTILINE)
    assert named
    assert set(named) <= known


# there is nothing to check
GOOD_NEWS = {PageKind.RECOVERED, PageKind.RE_ARMED, PageKind.ACKNOWLEDGED, PageKind.ENDED, PageKind.UNPINNED}


@pytest.mark.parametrize("kind", PageKind)
def test_the_runbook_has_a_section_for_each_kind_of_page(kind: PageKind) -> None:
    """The runbook says for each kind of page what it means and what to do."""
    text = (REPOSITORY / "docs" / "runbook.md").read_text()
    (section,) = re.findall(rf"^### {kind.value}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    check = [] if kind in GOOD_NEWS else ["Check"]
    assert re.findall(r"^\*\*(Means|Check|Do):\*\*", section, re.MULTILINE) == ["Means", *check, "Do"]


def test_the_runbook_says_what_to_do_about_each_reason() -> None:
    text = (REPOSITORY / "docs" / "runbook.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith(("| UNKNOWN(", "| HEALTHY ("))]
    named = {name for row in rows for name in re.findall(r"\(([A-Z_]+)\)", row.split(" | ")[0])}
    assert named == {reason.value for reason in Reason}


def test_no_one_is_sent_to_a_name_that_is_not_published() -> None:
    """The package is installed from its source: anyone could register its name, and would run in our users' services.

    `pip install llm-canary-killswitch[…]` in a guide or a message is such a name; with ` @ git+…` it is a source.
    """
    told = re.compile(r"pip install [^\n`]*llm-canary-killswitch(?:\[[^\]\n]*\])?(?! @ |\[)")
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / "killswitch").rglob("*.py")]
    found = [
        f"{page.relative_to(REPOSITORY)}: {line[0]}"
        for page in pages
        for line in told.finditer(page.read_text(encoding="utf-8"))
    ]
    assert found == []
