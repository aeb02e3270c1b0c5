"""What a table of requests is asked: counts of its rows by time slot and label, all rollouts in one question. Pure.

No value of a rule file is part of a question. So there is nothing to escape, and one answer serves every rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from killswitch.model import Reason, Unreadable

PERIOD_MS: Final = 300_000
"""A user's first request in each five minutes is judged; when the five minutes begin depends on a hash of the user."""
LATEST_MS: Final = 900_000
"""How late a row may come and still be counted."""
_MOST_COUNTED: Final = 2**53


@dataclass(frozen=True, slots=True)
class RowQuestion:
    """Rows by slot, rollout, cohort, model and outcome; with ``edges`` also by latency.

    ``bounds`` are milliseconds since 1970, ascending: slot i holds the rows that count at bounds[i] or later, and
    before bounds[i + 1]. A row counts at its own time; but if it came in later than ``late_after`` milliseconds after
    that, at its insertion time minus ``late_after``, and so in a step that has not been read yet, once. A row that is
    more than ``latest`` milliseconds late is not counted. ``judged``: of the rows of a user and five minutes the first
    alone. ``edges``: in milliseconds; a latency's index is the number of edges below it.
    """

    bounds: tuple[int, ...]
    judged: bool = False
    edges: tuple[float, ...] = ()
    late_after: int = 10_000
    latest: int = LATEST_MS

    @property
    def earliest(self) -> int:
        """No row before this time is needed, in milliseconds."""
        return self.bounds[0] - (PERIOD_MS if self.judged else 0) - self.latest


@dataclass(frozen=True, slots=True)
class RowCell:
    """One row of an answer. ``edge`` is the index of its latency, -1 where latency was not asked or is not known."""

    slot: int
    rollout: str
    cohort: str
    model: str
    outcome: str
    edge: int
    requests: int
    refused: int
    thumbs_down: int


def cells_of(question: RowQuestion, rows: Sequence[Any]) -> list[RowCell] | Unreadable:
    """The rows of an answer in the order of `RowCell`'s fields, checked. Numbers may come as text, as JSON has them."""
    cells = []
    for row in rows:
        cell = _cell(row)
        if cell is None or not 0 <= cell.slot < len(question.bounds) - 1 or not -1 <= cell.edge <= len(question.edges):
            return Unreadable(Reason.GARBAGE, f"a row of the answer is {str(row)[:80]}, which was not asked for")
        cells.append(cell)
    return cells


def _cell(row: Any) -> RowCell | None:
    if not isinstance(row, (list, tuple)) or len(row) != 9 or not all(type(text) is str for text in row[1:5]):
        return None
    numbers = [_whole(each) for each in (row[0], *row[5:])]
    slot, edge, requests, refused, thumbs_down = numbers
    if slot is None or edge is None or requests is None or refused is None or thumbs_down is None:
        return None
    if not 0 < requests <= _MOST_COUNTED or not 0 <= refused <= _MOST_COUNTED or not 0 <= thumbs_down <= _MOST_COUNTED:
        return None
    return RowCell(slot, row[1], row[2], row[3], row[4], edge, requests, refused, thumbs_down)


def _whole(number: Any) -> int | None:
    if type(number) is int:
        return number
    if type(number) is str and len(number) < 20 and number.removeprefix("-").isdecimal() and number.isascii():
        return int(number)
    return None


Cells = Mapping[RowQuestion, Sequence[RowCell] | Unreadable]
