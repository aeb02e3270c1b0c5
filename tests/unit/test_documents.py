"""The documents: lines that fit a screen, links that lead somewhere, and one look on a code host and on our site."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from docs.tools import site

REPOSITORY = Path(__file__).parents[2]
# written for people who use or change the project; the records in tests/README.md and CHANGELOG.md are only linked
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
LINKED = [
    *PAGES, REPOSITORY / "SECURITY.md", REPOSITORY / "CHANGELOG.md", REPOSITORY / "tests" / "README.md",
    REPOSITORY / "deploy" / "kustomize" / "README.md",
]  # fmt: skip
MOST_IN_A_LINE = 120
MOST_IN_A_CELL = 200
LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(<?([^)\s>]+)>?\)")

by_name = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
every_linked = pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(REPOSITORY)))


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """The lines outside of code, with their numbers from 1."""
    fenced = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, line


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))]


def github_anchor(heading: str) -> str:
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.replace("`", "").replace("*", "")).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def site_anchor(heading: str) -> str:
    """As mkdocs makes it (the `toc` extension of Python-Markdown)."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.replace("`", "").replace("*", ""))
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


@cache
def headings(page: Path) -> list[str]:
    return [found[1] for _, line in prose(page) if (found := re.match(r"#{1,6} (.+)", line))]


@by_name
def test_a_line_of_prose_fits(page: Path) -> None:
    """A line is at most 120 characters, but for tables and a link that cannot be broken."""
    for number, line in prose(page):
        if not line.startswith("|"):
            without_links = LINK.sub(lambda found: found[0].replace(found[1], ""), line)
            assert len(without_links) <= MOST_IN_A_LINE, f"{page.name}:{number}: wrap it: {line[:60]}…"


@by_name
def test_a_cell_of_a_table_is_short(page: Path) -> None:
    for number, line in prose(page):
        if line.startswith("|"):
            for cell in cells(line):
                assert len(cell) <= MOST_IN_A_CELL, f"{page.name}:{number}: write a section instead: {cell[:60]}…"


@by_name
def test_every_row_has_as_many_cells_as_its_table(page: Path) -> None:
    width = 0
    for number, line in prose(page):
        if not line.startswith("|"):
            width = 0
        else:
            width = width or len(cells(line))
            assert len(cells(line)) == width, f"{page.name}:{number}"


@by_name
def test_lists_and_tables_begin_after_an_empty_line(page: Path) -> None:
    """Otherwise the site shows them as one paragraph, though a code host shows them well."""
    before, within = "", False
    for number, line in prose(page):
        starts = re.match(r"\s*([-*]|\d+\.) |\|", line)
        if starts:
            free = not before.strip() or before.startswith("#") or within
            assert free, f"{page.name}:{number}: leave a line empty before it"
        within = bool(starts) or (within and bool(line.strip()))
        before = line


@every_linked
def test_links_lead_somewhere(page: Path) -> None:
    """Files and folders of the repository, and headings in them."""
    for number, line in prose(page):
        for target in LINK.findall(line):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            path = (page.parent / name).resolve() if name else page
            where = f"{page.name}:{number}: {target}"
            assert path.is_relative_to(REPOSITORY), where
            assert path.exists(), where
            if anchor:
                assert path.suffix == ".md", where
                hit = [heading for heading in headings(path) if github_anchor(heading) == anchor]
                assert len(hit) == 1, f"{where}: {len(hit)} headings; there are {[*map(github_anchor, headings(path))]}"
                assert site_anchor(hit[0]) == anchor, f"{where}: the site names it {site_anchor(hit[0])}"


@every_linked
def test_a_path_that_a_page_names_is_there(page: Path) -> None:
    """A path of the repository in code, such as `tests/vectors/routing.json`."""
    folders = "bench|compat|deploy|docs|examples|killswitch|rules|tests"
    for number, line in prose(page):
        for path in re.findall(rf"`((?:{folders})/[\w./-]+)`", line):
            assert (REPOSITORY / path).exists(), f"{page.name}:{number}: {path}"


def test_a_page_begins_with_its_title_and_has_one() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text.startswith("# "), page.name
        assert len([line for _, line in prose(page) if line.startswith("# ")]) == 1, page.name


def test_the_site_has_every_page_in_its_menu_and_every_link(tmp_path: Path) -> None:
    """The site has every page in its menu, and every file that a page links to."""
    site.build(REPOSITORY, tmp_path / "site")
    menu = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())["nav"]
    named = [page for entry in menu for (found,) in (entry.values(),) for page in _pages_of(found)]
    made = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("*.md")}
    assert sorted(named) == sorted(made)
    for name in made:
        page = tmp_path / "site" / name
        for _, line in prose(page):
            targets = [target for target in LINK.findall(line) if not re.match(r"[a-z]+:|#", target)]
            assert all((page.parent / target.partition("#")[0]).is_file() for target in targets), f"{name}: {line}"


def _pages_of(entry: object) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    assert isinstance(entry, list)
    return [page for one in entry for found in one.values() for page in _pages_of(found)]
