"""Reads golden sets: JSON lines, all rows, or every problem of the file at once."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from killswitch.errors import BadSettings
from killswitch.gate.golden import GoldenRow, GoldenSet, Label, Message, input_hash, version_of
from killswitch.rules.strict_json import NotJson, canonical, strict_json
from killswitch.wording import plain

MAX_ROWS: Final = 500_000
MAX_BYTES: Final = 512 * 1024 * 1024  # of a file; rows are kept in memory
MAX_LINE: Final = 1024 * 1024  # bytes of a row
MAX_PROBLEMS: Final = 100  # that are listed; the others are counted
MAX_ID: Final = 200  # characters
MAX_LABEL: Final = 2_000  # characters of a label as JSON
MAX_MESSAGES: Final = 500
ROLES: Final = ("system", "developer", "user", "assistant", "tool")

_EXAMPLE: Final = '{"id": "r1", "input": "Crashes on start.", "expect_label": "bug"}'


def load_golden(path: str | Path) -> GoldenSet:
    """The set in a file of JSON lines. Raises BadSettings with its problems, each ``file:line: what; fix: …``."""
    reading = _Reading(plain(str(path), 300))
    try:
        with _opened(Path(path)) as file:
            rows = list(reading.rows(file))
    except (OSError, ValueError) as error:
        said = (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
        raise BadSettings(
            [f"{reading.name}: cannot be read ({said}); fix: name a file of JSON lines with `golden:` or --golden"]
        ) from None
    if not rows and not reading.problems:
        reading.problem(1, "no rows", f"write one JSON object a line: {_EXAMPLE}")
    if reading.found:
        more = reading.found - len(reading.problems)
        raise BadSettings([*reading.problems, *([f"{reading.name}: … and {more:,} more"] if more else [])])
    return GoldenSet(tuple(rows), version_of(rows))


def _opened(path: Path) -> BinaryIO:
    # without O_NONBLOCK a pipe would block for ever
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
        os.close(descriptor)
        larger = f"larger than {MAX_BYTES // 1024**2} MB"
        raise ValueError(larger if stat.S_ISREG(status.st_mode) else "not a file")
    return os.fdopen(descriptor, "rb")


class _Wrong(Exception):
    """A row is refused. ``what`` is wrong, ``fix`` says what to write."""

    def __init__(self, what: str, fix: str) -> None:
        self.what = what
        self.fix = fix
        super().__init__(what)


class _Reading:
    """One file: the rows as they are read, and what is wrong with it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[str] = []
        self.found = 0  # problems, the listed ones included
        self._lines: dict[str, int] = {}  # the line of each id
        self._inputs: dict[bytes, int] = {}  # the line of each input, by its hash

    def problem(self, line: int, what: str, fix: str) -> None:
        self.found += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{self.name}:{line}: {what}; fix: {fix}")

    def rows(self, file: BinaryIO) -> Iterator[GoldenRow]:
        for number, line in _lines(file):
            if line is not None and not line.strip():
                continue
            try:
                row = _row(line, number)
            except _Wrong as wrong:
                self.problem(number, wrong.what, wrong.fix)
                if isinstance(wrong, _Whole):
                    return
                continue
            before = self._lines.setdefault(row.id, number)
            if before != number:
                what = f"id {plain(row.id, 60)!r} is also in line {before}"
                self.problem(number, what, "give each row an id of its own")
            alike = self._inputs.setdefault(input_hash(row), number)
            if before == number != alike:
                fix = "keep one of them: the same question asked again is no further evidence"
                self.problem(number, f"the input of line {alike} again", fix)
            yield row
            if len(self._lines) > MAX_ROWS:
                self.problem(number, f"over {MAX_ROWS:,} rows", "split the file, or draw a sample with `gate sample`")
                return


class _Whole(_Wrong):
    """The whole file is of another form: each further line would only say so again."""


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """The lines with their numbers; None for one over `MAX_LINE`. Only a line feed ends a line, as JSON lines say."""
    number = 0
    while line := file.readline(MAX_LINE + 2):
        number += 1
        if len(line.rstrip(b"\r\n")) <= MAX_LINE:
            yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            continue
        while not line.endswith(b"\n") and (line := file.readline(MAX_LINE)):
            pass
        yield number, None


def _row(line: bytes | None, number: int) -> GoldenRow:
    if line is None:
        raise _Wrong(f"a row of over {MAX_LINE // 1024:,} kB", "shorten its input, or remove the row")
    if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _Whole("the file is UTF-16", "save it as UTF-8")
    try:
        value = strict_json(line.decode())
    except UnicodeDecodeError as error:
        raise _Wrong(f"byte 0x{line[error.start]:02x} is not UTF-8", "save the file as UTF-8") from None
    except NotJson as error:
        if number == 1 and line.lstrip()[:1] in (b"[", b"{") and str(error) == "it ends in the middle":
            fix = f"write each row on one line, without a list around them: {_EXAMPLE}"
            raise _Whole("the first row does not end on its line", fix) from None
        raise _Wrong(f"not JSON: {error}", f"write one JSON object on the line: {_EXAMPLE}") from None
    if isinstance(value, list) and number == 1:
        raise _Whole("a JSON list, not JSON lines", f"write each row on a line of its own: {_EXAMPLE}")
    if not isinstance(value, dict):
        raise _Wrong("not a JSON object", f"write one JSON object on the line: {_EXAMPLE}")
    _check_characters(value)
    return GoldenRow(
        id=_id(value),
        messages=_messages(value),
        expect_label=_label(value),
        line=number,
        stratum=_text(value, "class"),
        expect_from=_text(value, "expect_from") or "",
    )


def _check_characters(value: Mapping[str, Any]) -> None:
    """A provider is sent UTF-8, which has no half characters; JSON can spell them."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _Wrong("half a character (a lone surrogate)", "write the whole character, or remove it") from None


def _id(row: Mapping[str, Any]) -> str:
    value = row.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_ID or not value.isprintable():
        said = "no id" if "id" not in row else f"id {plain(repr(value), 60)} is no id"
        raise _Wrong(said, f'add "id": a text of 1 to {MAX_ID} printable characters, or a whole number')
    return value


def _label(row: Mapping[str, Any]) -> Label:
    value = row.get("expect_label")
    if value is None or value == "":
        said = "no expect_label" if "expect_label" not in row else "expect_label is empty"
        raise _Wrong(said, 'add "expect_label": what a right answer says, such as "bug"')
    label = canonical(value)
    if not label or len(label) > MAX_LABEL:
        raise _Wrong(
            f"expect_label has over {MAX_LABEL:,} characters", "name the label alone; see `label:` of the role"
        )
    return label


def _text(row: Mapping[str, Any], key: str) -> str | None:
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise _Wrong(f"{key} {plain(repr(value), 60)} is no text", f'write "{key}" as a text, or remove it')
    return None if value is None else plain(value, MAX_ID)


def messages_of(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """The ``input`` of a row, or of a line of a log. Raises ValueError that says in a few words what is wrong."""
    try:
        _check_characters(row)
        return _messages(row)
    except _Wrong as wrong:
        raise ValueError(wrong.what) from None


def _messages(row: Mapping[str, Any]) -> tuple[Message, ...]:
    value = row.get("input")
    if isinstance(value, str) and value.strip():
        return ({"role": "user", "content": value},)
    if not isinstance(value, list) or not value:
        said = "no input" if "input" not in row else "input is empty" if not value else "input is neither text nor list"
        raise _Wrong(said, 'add "input": a text, or a list of messages {"role": "user", "content": "…"}')
    if len(value) > MAX_MESSAGES:
        raise _Wrong(f"{len(value):,} messages", f"write at most {MAX_MESSAGES}")
    for place, message in enumerate(value):
        _check_message(message, f"input[{place}]")
    if not any(message["role"] in ("user", "tool") for message in value):
        raise _Wrong("input has no message of a user", 'add {"role": "user", "content": "…"}')
    return tuple(value)


def _check_message(message: object, where: str) -> None:
    if not isinstance(message, dict):
        raise _Wrong(f"{where} is no message", 'write {"role": "user", "content": "…"}')
    if message.get("role") not in ROLES:
        raise _Wrong(f"{where}: role {plain(repr(message.get('role')), 40)}", f"use one of {', '.join(ROLES)}")
    content = message.get("content")
    parts = isinstance(content, list) and content and all(_is_part(part) for part in content)
    calls = message["role"] == "assistant" and content is None and isinstance(message.get("tool_calls"), list)
    if not isinstance(content, str) and not parts and not calls:
        raise _Wrong(f"{where} has no content", 'write "content" as a text, or as a list of {"type": "text", …}')


def _is_part(part: object) -> bool:
    return isinstance(part, dict) and isinstance(part.get("type"), str)
