"""A golden set: rows with an input and the label that is expected, with a version hash of their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# The label as canonical JSON ("\"bug\"", "3", "true"), so that 1 and "1" differ and 1 and 1.0 do not.
Label = str
Message = Mapping[str, Any]  # {"role": …, "content": …}


@dataclass(frozen=True, slots=True)
class GoldenRow:
    """``messages``: the input; a plain text is one message of the user. ``line``: its line in the file, from 1.

    ``stratum``: the class that it was drawn from (``class`` in the file), None where there is none. ``expect_from``:
    who said the expected label, ``prod`` where `killswitch gate sample` filled it in, "" where the file does not say.
    """

    id: str
    messages: tuple[Message, ...]
    expect_label: Label
    line: int
    stratum: str | None = None
    expect_from: str = ""


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """``version``: a SHA-256 of the rows' content in hexadecimal digits; the order of rows does not change it."""

    rows: tuple[GoldenRow, ...]
    version: str


def row_hash(row: GoldenRow) -> bytes:
    """SHA-256 of what a row asks and expects. Its line, its stratum and who said the label do not count."""
    content = [row.id, row.messages, row.expect_label]
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).digest()


def input_hash(row: GoldenRow) -> bytes:
    """SHA-256 of what the row asks, whatever it is called and whatever it expects."""
    return hashlib.sha256(json.dumps(row.messages, sort_keys=True, separators=(",", ":")).encode()).digest()


def version_of(rows: Iterable[GoldenRow]) -> str:
    """The version of a set of these rows, in any order."""
    return hashlib.sha256(b"".join(sorted(map(row_hash, rows)))).hexdigest()
