"""A YAML file as plain values, with the line of everything in it.

Anyone who can write to the rule folder can hand us a file, so only a small part of YAML is read: one
document of mappings, lists and scalars. Anchors, aliases and tags are refused, because they make bombs and
objects. Nesting and size are bounded. Scalars follow YAML 1.2 (``no`` is a text, ``1:30`` is not a number).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from killswitch.rules.units import shown

MAX_BYTES = 256 * 1024
MAX_DEPTH = 8
MAX_VALUES = 20_000
MAX_PROBLEMS = 100
Path = tuple[str | int, ...]

# libyaml reads a thousand files in a second, the pure parser in ten; both yield the same events
LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z", re.ASCII)
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\.[0-9]+\Z", re.ASCII)
# what may hold a password is not repeated: problems are also logged and paged
_SECRET = re.compile(r"(?i)pass(?:word|wd)|pwd|secret|token|api[_-]?key|:[^/\s]*@")
# no key of a rule file has a space or a colon in it
_KEY_WITHOUT_COLON = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*)(?:\s+|:)(\S.*)\Z", re.ASCII)
_MAX_NUMBER = 25  # characters; longer numbers stay texts, which are refused where a number is needed
_SCALARS: dict[str, bool | None] = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
    "null": None,
    "Null": None,
    "NULL": None,
    "~": None,
    "": None,
}


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong at a line (1 is the first), and what to write instead."""

    line: int
    what: str
    fix: str


@dataclass(slots=True)
class Document:
    """``value``: the plain values. ``lines``: the line of each key or list item, by its path."""

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line_of(self, path: Path) -> int:
        """The line of the path, or of the nearest thing around it."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)


class _Stop(Exception):
    """Nothing more can be read from this file."""


def read_document(content: bytes, *, of: str = "rollout", deepest: int = MAX_DEPTH) -> Document:
    """The file's document. Everything wrong with it is in ``problems``; nothing is raised.

    ``of``: what one file is about. ``deepest``: levels of nesting that are read.
    """
    document = Document()
    text = _decode(content, document, of)
    if text is None:
        return document
    reader = _Reader(text, document, of, deepest)
    try:
        document.value = reader.document()
    except _Stop:
        document.value = None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        document.problems.append(_in_words(error, text.split("\n"), line))
        document.value = None
    except (yaml.YAMLError, ValueError, OverflowError, IndexError, RecursionError) as error:
        # hostile escapes and directives make the parser raise more than YAMLError
        document.problems.append(Problem(1, f"not YAML ({shown(str(error))})", "correct the file's syntax"))
        document.value = None
    return document


def _decode(content: bytes, document: Document, of: str) -> str | None:
    if len(content) > MAX_BYTES:
        document.problems.append(
            Problem(
                1,
                f"the file is larger than {MAX_BYTES // 1024} kB",
                f"write one file for each {of}; none needs this much",
            )
        )
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        document.problems.append(
            Problem(line, f"byte 0x{content[error.start]:02x} is not UTF-8", "save the file as UTF-8")
        )
        return None
    bad = re.search(r"[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    if bad:
        line = text.count("\n", 0, bad.start()) + 1
        what = f"it contains the control character U+{ord(bad[0]):04X}"
        # in a comment, YAML 1.1 reads what follows these as a key, while editors show one line
        if bad[0] in "\x85\u2028\u2029":
            what = f"it contains the character U+{ord(bad[0]):04X}, which ends a line in YAML but not in an editor"
        document.problems.append(Problem(line, what, "remove it; the file must be plain text"))
        return None
    return text


class _Reader:
    """Builds plain values from the parser's events, and refuses what no rule file needs."""

    def __init__(self, text: str, document: Document, of: str, deepest: int) -> None:
        self._events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=LOADER))
        self._document = document
        self._one_file = f"write one file for each {of}"
        self._deepest = deepest
        self._values = 0

    def document(self) -> Any:
        event = self._next()
        while not isinstance(event, yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                break
            event = self._next()
        else:
            return None
        value = self._value(self._next(), ())
        event = self._next()
        while not isinstance(event, yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                raise self._stop(event, "a second document begins with ---", self._one_file)
            event = self._next()
        return value

    def _next(self) -> yaml.Event:
        return next(self._events, None) or yaml.StreamEndEvent(None, None)

    def _value(self, event: yaml.Event, path: Path) -> Any:
        self._values += 1
        if self._values > MAX_VALUES:
            raise self._stop(event, f"over {MAX_VALUES:,} values", self._one_file)
        if len(path) > self._deepest:
            raise self._stop(event, f"nested deeper than {self._deepest} levels", "no key is this deep")
        self._document.lines.setdefault(path, _line(event))
        self._refuse_extras(event)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        assert isinstance(event, yaml.ScalarEvent)
        return event.value if event.style else scalar(event.value)  # libyaml says "" for plain

    def _sequence(self, path: Path) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._value(event, (*path, len(items))))
        return items

    def _mapping(self, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event)
            plain = isinstance(event, yaml.ScalarEvent) and not event.style
            meant = _KEY_WITHOUT_COLON.match(key) if plain else None
            if meant is not None:
                self._document.problems.append(_no_colon(_line(event), meant[1], meant[2]))
                said = self._value(self._next(), (*path, key))
                if said is None:  # read `max 2%` as meant, so that no other problem follows from it
                    values.setdefault(meant[1], scalar(meant[2]))
                continue
            first = lines.setdefault(key, _line(event))
            if key in values:
                self._document.problems.append(
                    Problem(_line(event), f"{shown(key)} is here twice (first in line {first})", "keep one of them")
                )
                self._value(self._next(), (*path, f"{key} again"))
                continue
            self._document.lines[(*path, key)] = _line(event)
            values[key] = self._value(self._next(), (*path, key))
        return values

    def _key(self, event: yaml.Event) -> str:
        self._refuse_extras(event)
        if not isinstance(event, yaml.ScalarEvent):
            raise self._stop(event, "a mapping or list is used as a key", "keys are names")
        if not event.style and not isinstance(scalar(event.value), str):
            raise self._stop(
                event, f"{shown(event.value)} is used as a key", "keys are names; put it in quotes if it is one"
            )
        return str(event.value)

    def _refuse_extras(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent):
            raise self._stop(event, f"the alias *{shown(event.anchor)} is not allowed", "write the value out")
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            if event.anchor is not None:
                raise self._stop(
                    event, f"the anchor &{shown(event.anchor)} is not allowed", "remove it; write values out"
                )
            if event.tag is not None:
                raise self._stop(event, f"the tag {shown(event.tag)} is not allowed", "remove it")

    def _stop(self, event: yaml.Event, what: str, fix: str) -> _Stop:
        self._document.problems.append(Problem(_line(event), what, fix))
        return _Stop()


def scalar(text: str) -> str | int | float | bool | None:
    """A plain scalar as YAML 1.2's core schema reads it, without octal, hex, infinities and exponents."""
    if text in _SCALARS:
        return _SCALARS[text]
    if len(text) <= _MAX_NUMBER:
        if _INTEGER.match(text):
            return int(text)
        if _DECIMAL.match(text):
            return float(text)
    return text


def _line(event: yaml.Event) -> int:
    return int(event.start_mark.line) + 1 if event.start_mark is not None else 1


def _in_words(error: yaml.MarkedYAMLError, lines: list[str], line: int) -> Problem:
    """The problem, at the line where it was made: the parser notices it only later."""
    said = str(error.problem or error.context)
    if line <= len(lines) and re.match(r" *\t", lines[line - 1]):
        return Problem(line, "not YAML (a tab in the indentation)", "indent with spaces")
    found = _swallowed(lines, line) or (_without_colon(lines, line) if "expected ':'" in said else None)
    return found or Problem(
        line,
        f"not YAML ({shown(' '.join(said.split()))})",
        "correct the indentation, quotes or brackets here or just above",
    )


def _swallowed(lines: list[str], line: int) -> Problem | None:
    """``{slack: #oncall, mention: …}``: a # that is not in quotes makes the rest of its line a comment."""
    for number in range(min(line, len(lines)), 0, -1):
        text = lines[number - 1]
        start = _comment(text)
        if start is None or not re.match(r"#[^\s#]", text[start:]):
            continue
        before = text[:start]
        if sum(map(before.count, "{[")) > sum(map(before.count, "}]")):
            word = re.split(r"[,}\]\s]", text[start:], maxsplit=1)[0]
            what = (
                f"{shown(text[start:].strip())} is read as a comment, because # is not in quotes: the bracket is never "
                "closed"
            )
            return Problem(number, what, f"write {shown(word)}, with the quotes")
    return None


def _comment(text: str) -> int | None:
    """Where a line's comment begins, outside of quotes."""
    quote = ""
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "#" and (position == 0 or text[position - 1].isspace()):
            return position
    return None


def _without_colon(lines: list[str], line: int) -> Problem | None:
    """The nearest line above that is neither ``key: value`` nor ``- item``."""
    for number in range(min(line, len(lines)), 0, -1):
        text = lines[number - 1][: _comment(lines[number - 1])].strip()
        if not text or re.search(r":(?:\s|\Z)", text) or text.startswith(("- ", "}", "]")):
            continue
        meant = _KEY_WITHOUT_COLON.match(text)
        return _no_colon(number, meant[1], meant[2]) if meant else _no_colon(number, text, "")
    return None


def _no_colon(line: int, key: str, rest: str) -> Problem:
    if _SECRET.search(f"{key}: {rest}"):
        key, rest = key if rest else "…", "…"
    meant = f"{key}: …" if rest.startswith(("{", "[")) else f"{key}: {rest}".strip()
    return Problem(line, f"{shown(key)} is not followed by a colon and a space", f"write {shown(meant)}")
