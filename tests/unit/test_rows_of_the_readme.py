"""The rows of tests/README.md: each command there selects at least one test for each word of its ``-k``."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
COMMAND = re.compile(r"`[^`]*\bpytest\b([^`]*?) -k (\"[^\"`]+\"|'[^'`]+'|[^\s`]+)")
A_PARAMETERS_ID = re.compile(r"\d+(?:-\d+)+")  # made by pytest of numbers: in no file


def commands() -> list[tuple[int, tuple[str, ...], tuple[str, ...]]]:
    """Of each row with ``-k``: its line, the files it names, and the words between ``or``, ``and`` and ``not``."""
    found = []
    for number, line in enumerate((REPOSITORY / "tests" / "README.md").read_text(encoding="utf-8").splitlines(), 1):
        for hit in COMMAND.finditer(line):
            files = tuple(word.partition("::")[0] for word in hit[1].split() if word.startswith("tests"))
            words = re.split(r"\b(?:or|and|not)\b", hit[2].strip("\"'"))
            found.append((number, files, tuple(word.strip(" ()") for word in words if word.strip(" ()"))))
    return found


@cache
def files_in(where: str) -> list[Path]:
    path = REPOSITORY / where
    return [path] if path.is_file() else sorted(path.rglob("test_*.py"))


@cache
def names_in(file: Path) -> str:
    """What ``-k`` can match there, a line each: the file, its tests, and words that become ids of parameters."""
    names = {file.name}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value:
            names.add(node.value)
    return "\n".join(names).lower()


def test_rows_with_a_selection_are_found() -> None:
    assert len(commands()) > 100


@pytest.mark.parametrize(("line", "files", "words"), commands())
def test_a_row_selects_tests(line: int, files: tuple[str, ...], words: tuple[str, ...]) -> None:
    """A row whose command runs nothing proves nothing."""
    assert all((REPOSITORY / file).exists() for file in files), f"line {line}: no such file"
    within = [file for named in files or ("tests",) for file in files_in(named)]
    wanted = [word.lower() for word in words if not A_PARAMETERS_ID.fullmatch(word)]
    assert not [word for word in wanted if not any(word in names_in(file) for file in within)], f"line {line}"
