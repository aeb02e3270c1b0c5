"""Puts the documents together as the source of the site: the pages, and every file of the repository they link to.

``python -m docs.tools.site FOLDER`` in the repository's root; ``make docs`` runs it and then ``mkdocs build --strict``.
The pages keep their places, so a link that works on a code host works on the site, to code and examples as well.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/*.md",
    "tests/README.md",
    "deploy/kustomize/README.md",
    "deploy/grafana/README.md",
)
LINK = re.compile(r"\]\(<?([^)\s>#]+)[^)]*\)")


def pages(root: Path) -> list[Path]:
    return [path for pattern in PAGES for path in sorted(root.glob(pattern))]


def linked(page: Path, root: Path) -> set[Path]:
    """The files of the repository that a page links to; of a folder, nothing: the site has no lists of files."""
    targets = (target for target in LINK.findall(page.read_text("utf-8")) if not re.match(r"[a-z]+:", target))
    found = {(page.parent / target).resolve() for target in targets}
    return {path for path in found if path.is_file() and path.is_relative_to(root)}


def without_folders(page: Path) -> str:
    """The page's text; a link to a folder becomes plain text, because the site has no page for it."""

    def plain(found: re.Match[str]) -> str:
        target = page.parent / found[2]
        return found[1] if "://" not in found[2] and target.is_dir() else found[0]

    return re.sub(r"\[([^\]]*)\]\(([^)#\s]+)\)", plain, page.read_text("utf-8"))


def build(root: Path, folder: Path) -> None:
    """Fill ``folder``, which is emptied first."""
    root = root.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    every = pages(root)
    for path in sorted({*every, *(target for page in every for target in linked(page, root))}):
        place = folder / path.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path in every:
            place.write_text(without_folders(path), "utf-8")
        else:
            shutil.copyfile(path, place)


if __name__ == "__main__":
    build(Path(), Path(sys.argv[1]))
