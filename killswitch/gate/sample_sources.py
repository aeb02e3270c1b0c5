"""Where a golden set is drawn from: a log of JSON lines, or the kept texts of shadow records.

Each source is read twice: once to draw, keeping no text, and once for the texts of the rows that were drawn.
"""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from killswitch.errors import BadSettings
from killswitch.gate.golden import Label, Message
from killswitch.gate.golden_files import MAX_LINE, messages_of
from killswitch.gate.report.words import label_in_words
from killswitch.gate.stratified_draw import DrawnInput, StratifiedDraw
from killswitch.shadow.pairs import open_pairs
from killswitch.wording import plain

LabelOf = Callable[[str], Label | None]
_LONGEST_STRATUM: Final = 200
_MOST_REASONS: Final = 20
_AT_ONCE: Final = 500  # records
_CUT: Final = " characters]"  # how a kept text ends that was too long to be kept whole
_RECORDS: Final = """
select pair, prompt_text, control_text, prompt_class, control_outcome, turn from pairs
where kind = 'candidate' and pair <> '' order by pair
"""
_TEXTS: Final = "select pair, prompt_text from pairs where kind = 'candidate' and list_contains(?, pair)"


@dataclass(frozen=True, slots=True)
class SampleRow:
    """An input that was drawn, and the stratum that it stands for, "" where there is one stratum alone."""

    messages: tuple[Message, ...]
    stratum: str


@dataclass(frozen=True, slots=True)
class GoldenSample:
    """``read``: lines or records of the source. ``unusable``: how many of them could not be used, by reason.

    ``first``: where the first of these is, by reason. ``offered``: how many usable ones each stratum had.
    """

    rows: tuple[SampleRow, ...]
    read: int
    unusable: Mapping[str, int]
    first: Mapping[str, str]
    offered: Mapping[str, int]


class _Unusable(Exception):
    """A line or a record cannot be a row; the text says why in a few words."""


class _Count:
    """What was read, and what could not be used."""

    def __init__(self) -> None:
        self.read = 0
        self.reasons = Counter[str]()
        self.first: dict[str, str] = {}

    def unusable(self, reason: str, where: str) -> None:
        if reason not in self.reasons and len(self.reasons) >= _MOST_REASONS:
            reason = "for other reasons"
        self.reasons[reason] += 1
        self.first.setdefault(reason, where)

    def sample(self, rows: Sequence[SampleRow], draw: StratifiedDraw) -> GoldenSample:
        reasons = dict(self.reasons.most_common())
        return GoldenSample(tuple(rows), self.read, reasons, self.first, draw.offered)


def sample_of_log(
    path: Path, draw: StratifiedDraw, *, label_of: LabelOf, system: str | None, seen: Callable[[int], None]
) -> GoldenSample:
    """Draw from JSON lines with ``input`` or ``messages``, and perhaps ``class`` and ``output``.

    The stratum is the class, else the label in the output (`label_of`). ``system``: the role's own prompt, which is
    taken off an input that begins with it. ``seen`` is called with the bytes read. Memory does not grow with the
    log. Raises BadSettings for a file that cannot be read or that changes as it is read.
    """
    count = _Count()
    try:
        with _opened(path) as file:
            for number, offset, line in _lines(file):
                count.read += 1
                seen(len(line) if line is not None else MAX_LINE)
                if line is not None and not line.strip():
                    count.read -= 1
                    continue
                try:
                    messages, stratum = _of_line(line, label_of, system)
                except _Unusable as reason:
                    count.unusable(str(reason), f"line {number:,}")
                    continue
                draw.offer(spelled(messages), stratum, offset)
            rows = [_again(file, one, draw, label_of, system, path) for one in draw.drawn()]
    except OSError as error:
        raise BadSettings([f"--log {plain(str(path), 300)}: {error.strerror or error}"]) from error
    return count.sample(rows, draw)


def _opened(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would block, and has no past
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadSettings([f"--log {plain(str(path), 300)}: not a file; write the lines to a file first"])
    return os.fdopen(descriptor, "rb", buffering=1 << 20)


def _lines(file: BinaryIO) -> Iterator[tuple[int, int, bytes | None]]:
    """Number, offset and bytes of each line; None for one that is too long."""
    number = offset = 0
    while line := file.readline(MAX_LINE + 2):
        number += 1
        size = len(line)
        if len(line.rstrip(b"\r\n")) <= MAX_LINE:
            yield number, offset, line
        else:
            while not line.endswith(b"\n") and (line := file.readline(MAX_LINE)):
                size += len(line)
            yield number, offset, None
        offset += size


def _of_line(line: bytes | None, label_of: LabelOf, system: str | None) -> tuple[tuple[Message, ...], str]:
    if line is None:
        raise _Unusable(f"over {MAX_LINE // 1024:,} kB")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise _Unusable("not JSON") from None
    if not isinstance(value, dict):
        raise _Unusable("not a JSON object")
    asked = value.get("input", value.get("messages"))
    answered = value.get("output")
    if isinstance(asked, list) and asked and _is_answer(asked[-1]):
        answered = asked[-1]["content"] if answered is None else answered
        asked = asked[:-1]
    if isinstance(asked, list) and asked and system is not None and _says(asked[0], system):
        asked = asked[1:]  # the gate asks with the role's own prompt
    try:
        messages = messages_of({"input": asked} if asked is not None else {})
    except (ValueError, RecursionError) as error:
        raise _Unusable(plain(str(error), 100)) from None
    named = value.get("class")
    if isinstance(named, str) and named.strip():
        return messages, plain(named, _LONGEST_STRATUM)
    return messages, _stratum(label_of(answered)) if isinstance(answered, str) else ""


def _is_answer(message: object) -> bool:
    return isinstance(message, dict) and message.get("role") == "assistant" and isinstance(message.get("content"), str)


def _says(message: object, text: str) -> bool:
    said = isinstance(message, dict) and message.get("role") in ("system", "developer")
    return said and isinstance(message, dict) and str(message.get("content")).strip() == text.strip()


def _stratum(label: Label | None) -> str:
    return "" if label is None else plain(label_in_words(label), _LONGEST_STRATUM)


def _again(
    file: BinaryIO, one: DrawnInput, draw: StratifiedDraw, label_of: LabelOf, system: str | None, path: Path
) -> SampleRow:
    """The row that was drawn, read a second time. Raises BadSettings if it is another one by now."""
    file.seek(int(one.where))
    try:
        messages, _ = _of_line(file.readline(MAX_LINE + 2), label_of, system)
    except _Unusable:
        messages = ()
    if draw.place(spelled(messages)) != one.place:
        raise BadSettings([f"--log {plain(str(path), 300)}: it was changed as it was read; copy it first"])
    return SampleRow(messages, one.stratum)


def sample_of_records(records: Path, rollout: str, draw: StratifiedDraw, *, label_of: LabelOf) -> GoldenSample:
    """Draw from the pairs of a rollout's shadow records whose texts were kept: those whose answers differ.

    Only first turns, because a record holds the newest turn of a conversation alone. Raises BadSettings.
    """
    count = _Count()
    with open_pairs(records, rollout) as connection:
        found = connection.execute(_RECORDS)
        while part := found.fetchmany(_AT_ONCE):
            for pair, prompt, answered, named, outcome, turn in part:
                count.read += 1
                reason = _no_row(prompt, turn)
                if reason is not None:
                    count.unusable(reason, f"pair {plain(pair, 60)}")
                    continue
                label = label_of(answered) if answered and outcome == "ok" else None
                draw.offer(spelled(_one(prompt)), plain(named or "", _LONGEST_STRATUM) or _stratum(label), pair)
        drawn = draw.drawn()
        texts: dict[str, str] = {}
        for begin in range(0, len(drawn), _AT_ONCE):
            pairs = [str(one.where) for one in drawn[begin : begin + _AT_ONCE]]
            texts.update(connection.execute(_TEXTS, [pairs]).fetchall())
    return count.sample([SampleRow(_one(texts[str(one.where)]), one.stratum) for one in drawn], draw)


def _no_row(prompt: str | None, turn: int | None) -> str | None:
    if not prompt or not prompt.strip():
        return "no text was kept (keep_text: differences keeps those of answers that differ)"
    if prompt.endswith(_CUT):
        return "the text was too long to be kept whole"
    return "a later turn of a conversation, without the turns before it" if turn is None or turn > 1 else None


def _one(prompt: str) -> tuple[Message, ...]:
    return ({"role": "user", "content": prompt},)


def spelled(messages: Sequence[Message]) -> bytes:
    """The input in one spelling: equal inputs have equal bytes."""
    return json.dumps(list(messages), sort_keys=True, separators=(",", ":")).encode()


def unusable_in_words(sample: GoldenSample) -> list[str]:
    """One sentence a reason: ``3 of 1,000 cannot be used: not JSON (first: line 17)``."""
    return [
        f"{number:,} of {sample.read:,} cannot be used: {reason} (first: {sample.first[reason]})"
        for reason, number in sample.unusable.items()
    ]


def as_input(messages: Sequence[Message]) -> Any:
    """``input`` as a golden file has it: a text where it is one message of the user, else the list."""
    first: Mapping[str, Any] = messages[0]
    if len(messages) == 1 and set(first) == {"role", "content"} and first["role"] == "user":
        return first["content"]
    return [dict(one) for one in messages]
