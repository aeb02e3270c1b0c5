"""``killswitch lint-models``: names of models that float, in code and configuration."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
import tomllib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from killswitch.cli.terminal import json_text, one_line
from killswitch.roles.model_names import FloatingName, ModelNames
from killswitch.roles.named_values import named_values, syntax_of
from killswitch.wording import counted, plain

MAX_BYTES: Final = 1_000_000
MAX_ALIASES: Final = 256 * 1024  # bytes
SHIPPED: Final = Path(__file__).parent.parent / "roles" / "model_aliases.toml"
LEFT_OUT: Final = frozenset({
    ".git", ".hg", ".jj", ".svn", ".mypy_cache", ".next", ".nox", ".pytest_cache", ".ruff_cache", ".terraform", ".tox",
    ".venv", "__pycache__", "bower_components", "node_modules", "site-packages", "venv",
})  # fmt: skip
# data and locks name what was asked once, or what is installed: no one asks a model with them
_DATA: Final = (".csv", ".jsonl", ".lock", ".log", ".map", ".min.js", ".ndjson", ".sum", ".tsv", "-lock.json")
_IGNORED = re.compile(r"lint-models:[ \t]*ignore\b[ \t:,;-]*(?P<reason>[^\n]*)")
_ALONE = re.compile(r"[ \t]*(?:#|//|/\*|<!--|--|;)")
EXIT_FOUND = 1
EXIT_REFUSED = 2


@dataclass(frozen=True, slots=True)
class FoundName:
    """A floating name in a file. ``line`` and ``column`` count from 1; columns are characters."""

    file: str
    line: int
    column: int
    floating: FloatingName
    unexplained: bool  # it has an ignore comment without a reason

    def __str__(self) -> str:
        excuse = "its ignore comment has no reason; write one, or " if self.unexplained else ""
        said = f"{plain(self.floating.name, 120)} floats: its provider may point it at another model"
        return f"{plain(self.file, 400)}:{self.line}:{self.column}: {said}; fix: {excuse}{self.floating.fix}"


@dataclass(slots=True)
class LintedPaths:
    """What was found, what could not be read, and what was left out for its size."""

    found: list[FoundName] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    too_large: list[str] = field(default_factory=list)
    ignored: int = 0
    read: int = 0


def command(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files and folders.", show_default=".")] = None,
    aliases: Annotated[
        list[Path] | None,
        typer.Option("--aliases", help="More aliases, and ids you hold to be pinned: a TOML file. Repeatable."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", help="Leave out files and folders that match, such as 'tests/*'. Repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Find names of models that float: aliases such as gpt-4o, which a provider may point at another model.

    Looks into code, configuration, and the code in Markdown. A comment `lint-models: ignore <reason>` in a line, or
    alone in the line above, excuses it. Exit code 0 is none, 1 is found, 2 is bad use or a path that cannot be read.
    """
    names = known_model_names(aliases or ())
    linted = lint(paths or [Path()], names, exclude or ())
    if as_json:
        typer.echo(json_text(_document(linted), indent=2))
    else:
        _print(linted)
    if linted.found:
        raise typer.Exit(EXIT_FOUND)
    if linted.unreadable:
        raise typer.Exit(EXIT_REFUSED)


def lint(paths: Iterable[Path], names: ModelNames, exclude: Iterable[str] = ()) -> LintedPaths:
    """Read the files at and below the paths. Errors are in the result; nothing is raised."""
    linted = LintedPaths()
    heads = tuple(head.encode() for head in sorted(names.heads, key=len, reverse=True))
    for path in paths:
        for file in _files(os.fspath(path), tuple(exclude), linted):
            _lint_file(file, names, heads, linted)
    return linted


def _files(path: str, exclude: tuple[str, ...], linted: LintedPaths) -> Iterator[str]:
    """The files at or below the path. Links below it are not followed: they lead out of it, or in circles."""
    if not Path(path).is_dir():
        if not _excluded(path, exclude):
            yield path
        return
    folders = [path]
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            linted.unreadable.append(f"{folder}: {error.strerror}")
            continue
        below = []
        for entry in entries:
            name = entry.path.removeprefix("./")
            if entry.is_symlink() or _excluded(name, exclude):
                continue
            if entry.is_dir(follow_symlinks=False):
                below += [] if entry.name in LEFT_OUT else [name]
            elif entry.is_file(follow_symlinks=False):
                yield name
        folders += reversed(below)


def _excluded(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(path, pattern) for pattern in patterns)


def _lint_file(file: str, names: ModelNames, heads: tuple[bytes, ...], linted: LintedPaths) -> None:
    if file.endswith(_DATA):
        return
    try:
        # a pipe or a device would never end
        if not stat.S_ISREG(os.stat(file).st_mode):  # noqa: PTH116  a Path costs more than the call, ten thousand times
            linted.unreadable.append(f"{file}: no ordinary file")
            return
        with open(file, "rb") as opened:  # noqa: PTH123  likewise
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        linted.unreadable.append(f"{file}: {error.strerror}")
        return
    if len(content) > MAX_BYTES:
        if b"\0" not in content:
            linted.too_large.append(file)
        return
    linted.read += 1
    text = _text(content, heads)
    if text is not None:
        _lint_text(file, text, names, linted)


def _text(content: bytes, heads: tuple[bytes, ...]) -> str | None:
    """The text, None if it is binary or has no part of a name in it."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    if not any(head in content for head in heads) or b"\0" in content:
        return None
    return content.decode("utf-8-sig", errors="replace")


def _lint_text(file: str, text: str, names: ModelNames, linted: LintedPaths) -> None:
    lines: list[int] = []
    for value in named_values(text, syntax_of(Path(file).name), names.may_be):
        floating = names.floating(value.text, keyed=value.keyed)
        if floating is None:
            continue
        lines = lines or [0, *(found.end() for found in re.finditer("\n", text))]
        line = bisect_right(lines, value.start)
        excused = _excuse(text, lines, line)
        if excused:
            linted.ignored += 1
            continue
        column = value.start - lines[line - 1] + 1
        linted.found.append(FoundName(file, line, column, floating, unexplained=excused is not None))


def _excuse(text: str, lines: list[int], line: int) -> str | None:
    """The reason of the ignore comment in this line, or alone in the line above; None without a comment."""
    for number in (line, line - 1):
        if number < 1:
            break
        end = lines[number] if number < len(lines) else len(text)
        said = text[lines[number - 1] : end]
        found = _IGNORED.search(said)
        if found is not None and (number == line or _ALONE.match(said)):
            return re.sub(r"(?:\*/|-->)\s*\Z", "", found["reason"]).strip()
    return None


def known_model_names(more: Iterable[Path]) -> ModelNames:
    """The shipped aliases and the user's."""
    problems: list[str] = []
    documents = [_alias_file(path, problems) for path in (SHIPPED, *more)]
    if problems:
        for problem in problems:
            typer.echo(one_line(problem), err=True)
        raise typer.Exit(EXIT_REFUSED)
    aliases: dict[str, str] = {}
    lists: dict[str, set[str]] = {"words": set(), "stems": set(), "pinned": set()}
    for document in documents:
        aliases |= document.get("aliases", {})
        for name, listed in lists.items():
            listed |= set(document.get(name, ()))
    return ModelNames(aliases, words=lists["words"], stems=lists["stems"], pinned=lists["pinned"])


def _alias_file(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        content = path.read_bytes()
        if len(content) > MAX_ALIASES:
            problems.append(f"{path}: larger than {MAX_ALIASES // 1024} kB; fix: name the file of aliases")
            return {}
        document = tomllib.loads(content.decode())
    except OSError as error:
        problems.append(f"{path}: cannot be read ({error.strerror}); fix: write it, or name the file there is")
        return {}
    except ValueError as error:  # no UTF-8, or no TOML
        fix = 'write [aliases] and lines such as "acme-chat" = "acme-chat-2"'
        problems.append(f"{path}: not TOML ({error}); fix: {fix}")
        return {}
    before = len(problems)
    for key, value in document.items():
        if key == "aliases":
            wrong = not isinstance(value, dict) or not all(isinstance(pin, str) for pin in value.values())
            fix = 'write [aliases] and lines such as "acme-chat" = "acme-chat-2", with "" where no pin is known'
        elif key in ("words", "stems", "pinned"):
            wrong = not isinstance(value, list) or not all(isinstance(one, str) and one for one in value)
            fix = f'write {key} = ["acme-chat"] above [aliases]'
        else:
            wrong, fix = True, "remove it, or write one of aliases, pinned, stems, words"
        if wrong:
            problems.append(f"{path}: `{plain(key, 80)}` is no key of this file, or not of its kind; fix: {fix}")
    return document if len(problems) == before else {}


def _document(linted: LintedPaths) -> dict[str, Any]:
    return {
        "ok": not linted.found and not linted.unreadable,
        "found": [
            {
                "file": one.file,
                "line": one.line,
                "column": one.column,
                "name": one.floating.name,
                "pin": one.floating.pin,
                "fix": one.floating.fix,
                "text": str(one),
            }
            for one in linted.found
        ],
        "ignored": linted.ignored,
        "read": linted.read,
        "unreadable": linted.unreadable,
        "too_large": linted.too_large,
    }


def _print(linted: LintedPaths) -> None:
    for one in linted.found:
        typer.echo(one_line(str(one)))
    for said in linted.unreadable:
        typer.echo(one_line(f"cannot be read: {said}"), err=True)
    for file in linted.too_large:
        typer.echo(one_line(f"left out, larger than {MAX_BYTES // 1_000_000} MB: {file}"), err=True)
    ignored = f", {linted.ignored} ignored with a reason" if linted.ignored else ""
    where = f" in {counted(len({one.file for one in linted.found}), 'file')}" if linted.found else ""
    said = f"{counted(len(linted.found), 'floating name')}{where}{ignored}; {counted(linted.read, 'file')} read"
    typer.echo(said, err=True)
