"""Reads a folder of YAML files as Kubernetes mounts a ConfigMap.

Names with a leading dot are left out and symbolic links are followed. If ``..data`` is swapped during the reading,
the folder is read again, so that all files are of one version.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from killswitch.errors import BadRules
from killswitch.rules.document import MAX_BYTES, Problem
from killswitch.rules.units import shown

SUFFIXES = (".yaml", ".yml")
MAX_FILES = 10_000
_MAX_PROBLEMS = 500


@dataclass(frozen=True, slots=True)
class YamlFile:
    """A file as read: its ``content``, or the ``problem`` in reading it. ``name``: as problems show it."""

    name: str
    content: bytes = b""
    problem: Problem | None = None

    def line(self, problem: Problem) -> str:
        return f"{self.name}:{problem.line}: {problem.what}; fix: {problem.fix}"


@dataclass(frozen=True, slots=True)
class FolderWords:
    """How one kind of folder is named in problems. ``of``: what one of its files is about."""

    kind: str
    of: str
    named_by: str
    empty: str


RULE_FOLDER = FolderWords(
    "rule", "rollout", "(--rules or KILLSWITCH_RULES)", "nothing would be watched; fix: add one, see docs/rules.md"
)
ROLE_FOLDER = FolderWords(
    "role", "role", "(--roles or KILLSWITCH_ROLES)", "no role has a gate; fix: add one, see docs/gate.md"
)


def read_files(path: str | Path, words: FolderWords) -> tuple[list[YamlFile], list[str]]:
    """The files of a folder, or the one file that ``path`` names, and warnings as printable lines.

    Raises BadRules for what cannot be read, and for a folder without files.
    """
    shown_path, kind = str(path), words.kind
    if not shown_path.isprintable():
        raise BadRules([f"{shown(shown_path)}: not a path; fix: name a folder of {kind} files"])
    try:
        if Path(path).is_dir():
            files, warnings = _folder(Path(path), words)
        elif not os.path.lexists(path):
            fix = f"name a folder of {kind} files {words.named_by}"
            raise BadRules([f"{shown_path}: no such folder or file; fix: {fix}"])
        else:
            files, warnings = [_read(Path(path), shown_path)], []
    except OSError as error:
        raise BadRules(
            [f"{shown_path}: {os_error(error)}; fix: name a folder of {kind} files that can be read"]
        ) from error
    if not files:
        raise BadRules([f"{shown_path}: no {kind} files (*.yaml, *.yml): {words.empty}"])
    return files, warnings


def refuse(problems: Sequence[str]) -> None:
    """Raises BadRules with the first of them, and how many more there are; nothing if there are none."""
    if problems:
        more = len(problems) - _MAX_PROBLEMS
        raise BadRules([*problems[:_MAX_PROBLEMS], *([f"… and {more} more"] if more > 0 else [])])


def _folder(folder: Path, words: FolderWords) -> tuple[list[YamlFile], list[str]]:
    for _ in range(3):
        version = _version(folder)
        files, warnings = _read_all(folder, words)
        if _version(folder) == version:
            break
    return files, warnings


def _version(folder: Path) -> str:
    """What the ``..data`` of a ConfigMap points to; Kubernetes swaps it in one step."""
    try:
        return str((folder / "..data").readlink())
    except OSError:
        return ""


def _read_all(folder: Path, words: FolderWords) -> tuple[list[YamlFile], list[str]]:
    files: list[YamlFile] = []
    warnings: list[str] = []
    seen: set[str] = set()
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
        name = path.name
        label = str(path) if name.isprintable() else f"{folder}/{shown(name)}"
        if path.is_dir():
            kind = words.kind
            warnings.append(f"{label}:1: folders inside the {kind} folder are not read; fix: move its {kind} files up")
        elif name.lower().endswith(SUFFIXES) and (real := os.path.realpath(path)) not in seen:
            seen.add(real)
            files.append(_read(path, label))
        if len(files) > MAX_FILES:
            said = f"over {MAX_FILES:,} {words.kind} files; fix: remove what is not a {words.of}"
            raise BadRules([f"{folder}: {said}"])
    return files, warnings


def _read(path: Path, label: str) -> YamlFile:
    content = read_bytes(path, MAX_BYTES)
    if isinstance(content, str):
        fix = (
            "name a YAML file or a folder of them" if content == NOT_A_FILE else "make the file readable, or remove it"
        )
        return YamlFile(label, problem=Problem(1, content, fix))
    return YamlFile(label, content)


NOT_A_FILE = "not a file"


def read_bytes(path: Path, most: int) -> bytes | str:
    """The first ``most`` + 1 bytes of a file, or why it cannot be read, as a text."""
    try:
        # without O_NONBLOCK a pipe or device would block for ever
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return NOT_A_FILE
            return file.read(most + 1)
    except (OSError, ValueError) as error:
        return os_error(error) if isinstance(error, OSError) else "not a path"


def os_error(error: OSError) -> str:
    return f"cannot be read ({error.strerror or type(error).__name__})"
