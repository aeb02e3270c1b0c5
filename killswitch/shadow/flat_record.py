"""A record as one flat row, as it is stored: the fields of a `Side` prefixed ``control_`` and ``other_``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Final

from killswitch.router.shadow.raw_pair import Dropped
from killswitch.shadow.record import FORMAT, PairRecord, Side

TEXTS: Final = ("prompt_text", "control_text", "other_text")
"""The columns that hold what people and models wrote."""

_SIDES: Final = ("control", "other")
_SIDE_FIELDS: Final = tuple(field.name for field in fields(Side))
_PLAIN_FIELDS: Final = tuple(field.name for field in fields(PairRecord) if field.name not in _SIDES)
_LARGEST: Final = 1 << 63
_LONGEST: Final = 1_000  # characters of a column that is no text, such as an error


def row_of(record: PairRecord) -> dict[str, Any]:
    """One flat row. A number that no store can hold (not finite, over 63 bits) is None: unknown, never another one."""
    row = {name: _stored(getattr(record, name)) for name in _PLAIN_FIELDS if name not in TEXTS}
    row |= {name: None if (text := getattr(record, name)) is None else _text(text) for name in TEXTS}
    for side_name in _SIDES:
        side = getattr(record, side_name)
        row |= {f"{side_name}_{name}": _stored(getattr(side, name)) for name in _SIDE_FIELDS}
    return row


def dropped_row(dropped: Dropped) -> dict[str, Any]:
    """A minute's drops as one row: ``reasons`` maps a reason to how many."""
    reasons = {_text(reason): number for reason, number in dropped.reasons.items() if 0 <= number < _LARGEST}
    return {"format": FORMAT, "rollout": _text(dropped.rollout), "at": _stored(dropped.at), "reasons": reasons}


def lines_of(rows: Iterable[dict[str, Any]]) -> bytes:
    """One line of JSON a row."""
    return b"".join(
        json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n" for row in rows
    )


def _stored(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value[:_LONGEST])
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if -_LARGEST <= value < _LARGEST else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return [_text(one) for one in value]


def _text(text: str) -> str:
    """Without half characters, which UTF-8 cannot hold, and without NUL, which stores refuse or end a text at."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
