"""What a warehouse is asked, and the two answers: rows are in the tables, or why not. An error is never data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from killswitch.model import Unreadable
from killswitch.slow.user_days import UserDays

MOST_ROWS = 50_000_000
TIMEOUT = 600.0  # seconds for one statement, from connecting to the last row
_VALUE = re.compile(r"[\"'`]|Original Line")


@dataclass(frozen=True, slots=True)
class SlowStatement:
    """One statement whose rows are a user, a day and a value; a value outside ``low`` to ``high`` is left out."""

    query: str
    user: str
    day: str
    column: str
    low: float
    high: float


class Warehouse(Protocol):
    """A place that answers statements in read-only transactions, within a time and a number of rows."""

    def read(self, statement: SlowStatement, into: UserDays) -> Unreadable | None:
        """Put the rows into the tables; None if all are there. Never raises for a failed read."""

    def read_assignments(self, table: str, into: UserDays) -> Unreadable | None:
        """Put the users' cohorts into the tables, from the table of assignments."""


def without_values(said: str) -> str:
    """A database's words about a value, up to the value: it is a user's, and these words are logged and paged."""
    words, *value = _VALUE.split(said, maxsplit=1)
    return f"{words.rstrip()} …" if value else said
