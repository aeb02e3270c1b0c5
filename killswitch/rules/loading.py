"""Reads rule files and folders: all rollouts, or every error of every file at once.

A folder is read as Kubernetes mounts a ConfigMap: names with a leading dot are left out and symbolic links
are followed. If ``..data`` is swapped during the reading, the folder is read again, so that all files are of
one version.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from killswitch.errors import BadRules
from killswitch.model import QuerySignal, Rollout
from killswitch.rules.building import Built, build
from killswitch.rules.document import MAX_BYTES, Document, Problem, read_document
from killswitch.rules.units import shown

SUFFIXES = (".yaml", ".yml")
MAX_FILES = 10_000
_MAX_PROBLEMS = 500


@dataclass(frozen=True, slots=True)
class Loaded:
    """A complete and valid rule set.

    ``warnings``: printable lines, ``file:line: what; fix: …``. ``digest``: identifies the set by its
    contents, whatever its folder and files are called (SHA-256, hexadecimal).
    """

    rollouts: tuple[Rollout, ...]
    warnings: tuple[str, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Rules:
    """The rule files in force, all or nothing; ``digest`` identifies the set."""

    rollouts: Mapping[str, Rollout]
    digest: str


@dataclass(frozen=True, slots=True)
class _File:
    """A rule file as read: its ``content``, or the ``problem`` in reading it."""

    name: str
    content: bytes = b""
    problem: Problem | None = None


def load_folder(path: str | Path) -> Loaded:
    """Every ``.yaml`` and ``.yml`` file of a folder (or the one file that ``path`` names).

    Raises BadRules with every problem of every file, each as ``file:line: what is wrong; fix: …``, and
    nothing else, whatever is in the folder. A folder without rule files is also refused.
    """
    shown_path = str(path)
    if not shown_path.isprintable():
        raise BadRules([f"{shown(shown_path)}: not a path; fix: name a folder of rule files"])
    try:
        if Path(path).is_dir():
            files, warnings = _folder(Path(path))
        elif not os.path.lexists(path):
            fix = "name a folder of rule files (--rules or KILLSWITCH_RULES)"
            raise BadRules([f"{shown_path}: no such folder or file; fix: {fix}"])
        else:
            files, warnings = [_read(Path(path), shown_path)], []
    except OSError as error:
        raise BadRules(
            [f"{shown_path}: {_os_error(error)}; fix: name a folder of rule files that can be read"]
        ) from error
    if not files:
        raise BadRules(
            [f"{shown_path}: no rule files (*.yaml, *.yml): nothing would be watched; fix: add one, see docs/rules.md"]
        )
    return _load(files, warnings)


def load_text(content: bytes, *, name: str = "rules.yaml") -> Loaded:
    """One rule file's bytes, as `load_folder` would read them from a file of this name. Raises BadRules."""
    return _load([_File(name, content)], [])


def _load(files: Sequence[_File], warnings: Iterable[str]) -> Loaded:
    built = [_built(file) for file in files]
    problems = [
        _line(file, problem) for file, result in zip(files, built, strict=True) for problem in sorted(result.problems)
    ]
    problems += [*_twice(files, built), *_capped_twice(files, built)]
    if problems:
        more = len(problems) - _MAX_PROBLEMS
        raise BadRules([*problems[:_MAX_PROBLEMS], *([f"… and {more} more"] if more > 0 else [])])
    rollouts = tuple(result.rollout for result in built if result.rollout is not None)
    doubts = [
        _line(file, doubt) for file, result in zip(files, built, strict=True) for doubt in sorted(result.warnings)
    ]
    digest = hashlib.sha256("\n".join(sorted(rollout.digest for rollout in rollouts)).encode()).hexdigest()
    return Loaded(rollouts, (*warnings, *doubts, *_same_series(files, built)), digest)


def _built(file: _File) -> Built:
    if file.problem is not None:
        return Built(problems=[file.problem])
    document: Document = read_document(file.content)
    return build(document, file=file.name, digest=hashlib.sha256(file.content).hexdigest())


def _line(file: _File, problem: Problem) -> str:
    return f"{file.name}:{problem.line}: {problem.what}; fix: {problem.fix}"


@dataclass(frozen=True, slots=True)
class Located:
    """A problem or warning in its parts. ``file`` and ``line`` are None if it has none, as in "and 7 more"."""

    file: str | None
    line: int | None
    what: str
    fix: str | None


def located(text: str) -> Located:
    """A line of `BadRules.problems` or `Loaded.warnings` in its parts."""
    match = re.fullmatch(r"(.+?):([0-9]+): (.*); fix: (.*)", text)
    if match is not None:
        return Located(match[1], int(match[2]), match[3], match[4])
    match = re.fullmatch(r"(.+?): (.*); fix: (.*)", text)  # a problem of a whole folder
    return Located(match[1], None, match[2], match[3]) if match is not None else Located(None, None, text, None)


# --- across files -------------------------------------------------------------------------------


def _twice(files: Sequence[_File], built: Sequence[Built]) -> Iterator[str]:
    """Problems of rollouts that are in two files."""
    first: dict[str, str] = {}
    for file, result in zip(files, built, strict=True):
        if result.name is None:
            continue
        where = f"{file.name}:{result.name_line}"
        if result.name in first:
            yield f"{where}: rollout {result.name!r} is also in {first[result.name]}; fix: keep one, or rename it"
        first.setdefault(result.name, where)


def _capped_twice(files: Sequence[_File], built: Sequence[Built]) -> Iterator[str]:
    """Problems of projects that are capped for the same period in two files: no one could say which cap holds."""
    first: dict[tuple[str, str], str] = {}
    for file, result in zip(files, built, strict=True):
        for cap in result.caps:
            if not cap.scope.startswith("project:"):
                continue
            before = first.setdefault((cap.scope, cap.per), file.name)
            if before != file.name:
                where = f"{file.name}:{result.caps_line}"
                yield f"{where}: {cap.scope} per {cap.per} is also capped in {before}; fix: keep one of the two"


def _same_series(files: Sequence[_File], built: Sequence[Built]) -> Iterator[str]:
    """Warnings of two canaries that read the same series, so each would be judged by both."""
    first: dict[object, tuple[str, Rollout]] = {}
    for file, result in zip(files, built, strict=True):
        rollout = result.rollout
        if rollout is None:
            continue
        for rule in rollout.rules:
            if isinstance(rule.signal, QuerySignal):
                continue
            key = (rule.signal, tuple(sorted(rollout.cohorts_of(rule).items())))
            where, other = first.setdefault(key, (f"{file.name}:{result.name_line}", rollout))
            if other is not rollout and (other.control, other.canary) != (rollout.control, rollout.canary):
                yield (
                    f"{file.name}:{result.name_line}: {rollout.name} and {other.name} ({where}) are different canaries "
                    f"and read the same series for {rule.name}; fix: tell them apart with `match` or `cohorts`"
                )
                break


# --- the disk -----------------------------------------------------------------------------------


def _folder(folder: Path) -> tuple[list[_File], list[str]]:
    for _ in range(3):
        version = _version(folder)
        files, warnings = _read_all(folder)
        if _version(folder) == version:
            break
    return files, warnings


def _version(folder: Path) -> str:
    """What the ``..data`` of a ConfigMap points to; Kubernetes swaps it in one step."""
    try:
        return str((folder / "..data").readlink())
    except OSError:
        return ""


def _read_all(folder: Path) -> tuple[list[_File], list[str]]:
    files: list[_File] = []
    warnings: list[str] = []
    seen: set[str] = set()
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
        name = path.name
        label = str(path) if name.isprintable() else f"{folder}/{shown(name)}"
        if path.is_dir():
            warnings.append(f"{label}:1: folders inside the rule folder are not read; fix: move its rule files up")
        elif name.lower().endswith(SUFFIXES) and (real := os.path.realpath(path)) not in seen:
            seen.add(real)
            files.append(_read(path, label))
        if len(files) > MAX_FILES:
            raise BadRules([f"{folder}: over {MAX_FILES:,} rule files; fix: remove what is not a rollout"])
    return files, warnings


def _read(path: Path, label: str) -> _File:
    try:
        # without O_NONBLOCK a pipe or device would block for ever
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return _File(label, problem=Problem(1, "not a file", "name a YAML file or a folder of them"))
            return _File(label, file.read(MAX_BYTES + 1))
    except (OSError, ValueError) as error:
        said = _os_error(error) if isinstance(error, OSError) else "not a path"
        return _File(label, problem=Problem(1, said, "make the file readable, or remove it"))


def _os_error(error: OSError) -> str:
    return f"cannot be read ({error.strerror or type(error).__name__})"
