"""The files that a company asks for before it installs anything."""

from __future__ import annotations

import re
import tomllib

import pytest

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


@pytest.mark.parametrize("name", ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/kustomize/README.md"])
def test_links_of_a_root_page_lead_somewhere(name: str) -> None:
    page = REPOSITORY / name
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_runbook_has_a_section_for_each_kind_of_page() -> None:
    text = (REPOSITORY / "docs" / "runbook.md").read_text()
    headings = re.findall(r"^### ([A-Z_]+(?:, [A-Z_]+)*)$", text, re.MULTILINE)
    assert sorted(name for heading in headings for name in heading.split(", ")) == sorted(PageKind)


def test_the_runbook_says_what_to_do_about_each_reason() -> None:
    text = (REPOSITORY / "docs" / "runbook.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith(("| UNKNOWN(", "| HEALTHY ("))]
    named = {name for row in rows for name in re.findall(r"\(([A-Z_]+)\)", row.split(" | ")[0])}
    assert named == {reason.value for reason in Reason}
