"""Reads rule files and folders: all rollouts, or every error of every file at once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from killswitch.model import QuerySignal, Rollout
from killswitch.roles.pairs import role_pair
from killswitch.rules.building import Built, build
from killswitch.rules.document import Document, Problem, read_document
from killswitch.rules.yaml_folder import RULE_FOLDER, YamlFile, read_files, refuse


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


def load_folder(path: str | Path) -> Loaded:
    """Every ``.yaml`` and ``.yml`` file of a folder (or the one file that ``path`` names).

    Raises BadRules with every problem of every file, each as ``file:line: what is wrong; fix: …``, and
    nothing else, whatever is in the folder. A folder without rule files is also refused.
    """
    files, warnings = read_files(path, RULE_FOLDER)
    return _load(files, warnings)


def load_text(content: bytes, *, name: str = "rules.yaml") -> Loaded:
    """One rule file's bytes, as `load_folder` would read them from a file of this name. Raises BadRules."""
    return _load([YamlFile(name, content)], [])


def _load(files: Sequence[YamlFile], warnings: Iterable[str]) -> Loaded:
    built = [_built(file) for file in files]
    problems = [
        file.line(problem) for file, result in zip(files, built, strict=True) for problem in sorted(result.problems)
    ]
    problems += [*_twice(files, built), *_capped_twice(files, built)]
    refuse(problems)
    rollouts = tuple(result.rollout for result in built if result.rollout is not None)
    doubts = [file.line(doubt) for file, result in zip(files, built, strict=True) for doubt in sorted(result.warnings)]
    digest = hashlib.sha256("\n".join(sorted(rollout.digest for rollout in rollouts)).encode()).hexdigest()
    return Loaded(rollouts, (*warnings, *doubts, *_same_series(files, built)), digest)


def _built(file: YamlFile) -> Built:
    if file.problem is not None:
        return Built(problems=[file.problem])
    document: Document = read_document(file.content)
    if isinstance(document.value, dict) and "role" in document.value and "rollout" not in document.value:
        fix = "move it to the folder of role files, and check it with `killswitch check --roles FOLDER`"
        return Built(problems=[Problem(document.line_of(("role",)), "a role file, not a rule file", fix)])
    return build(document, file=file.name, digest=hashlib.sha256(file.content).hexdigest())


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


def _twice(files: Sequence[YamlFile], built: Sequence[Built]) -> Iterator[str]:
    """Problems of rollouts that are in two files."""
    first: dict[str, str] = {}
    for file, result in zip(files, built, strict=True):
        if result.name is None:
            continue
        where = f"{file.name}:{result.name_line}"
        if result.name in first:
            yield f"{where}: rollout {result.name!r} is also in {first[result.name]}; fix: keep one, or rename it"
        first.setdefault(result.name, where)


def _capped_twice(files: Sequence[YamlFile], built: Sequence[Built]) -> Iterator[str]:
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


def _same_series(files: Sequence[YamlFile], built: Sequence[Built]) -> Iterator[str]:
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
            if _takes_turns(other, rollout):
                continue
            if other is not rollout and (other.control, other.canary) != (rollout.control, rollout.canary):
                yield (
                    f"{file.name}:{result.name_line}: {rollout.name} and {other.name} ({where}) are different canaries "
                    f"and read the same series for {rule.name}; fix: tell them apart with `match` or `cohorts`"
                )
                break


def _takes_turns(one: Rollout, other: Rollout) -> bool:
    """Whether both compare slots of one role: its upgrade is complete before its watch is armed."""
    pairs = role_pair(one.control, one.canary), role_pair(other.control, other.canary)
    return pairs[0] is not None and pairs[1] is not None and pairs[0].role == pairs[1].role
