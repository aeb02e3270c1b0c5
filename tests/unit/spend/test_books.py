"""Books: the stored document, its periods that only advance, and what is refused of a corrupt one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadDocument
from killswitch.spend.account import Account, Block
from killswitch.spend.books import Book, from_document, to_document
from killswitch.spend.caps import Cap, Period
from killswitch.timestamps import DAY, HOUR, from_iso

NOON = from_iso("2026-12-03T12:00:00Z")
CAP = Cap("shadow:x", Period.HOUR, soft=80, hard=100)
FULL = replace(
    Book.begin(CAP, NOON),
    current=Account(NOON, 100, 40, 3, 5, {"host-1-aa": Block(20, 10, 4), "host-2-bb": Block(0, 0, 9)}),
    previous=Account(NOON - HOUR, None, 7),
    trail=((NOON, 0), (NOON + 300, 20)),
)


def test_a_book_is_what_was_stored() -> None:
    assert from_document(to_document(FULL), "shadow:x", Period.HOUR) == FULL


def test_a_period_only_advances() -> None:
    """A clock that was set back opens no older period again."""
    later = FULL.advance(NOON + HOUR)
    assert later.current == Account(NOON + HOUR, 100)
    assert later.previous == FULL.current
    assert later.advance(NOON) == later
    assert later.advance(NOON - 40 * DAY) == later


def test_the_last_period_takes_late_settlements() -> None:
    later = FULL.advance(NOON + 3 * HOUR)
    late = later.account(NOON)
    assert late == FULL.current
    assert later.replace(replace(late, spent=50)).previous == replace(FULL.current, spent=50)
    assert later.advance(NOON + 4 * HOUR).account(NOON) is None


def test_a_stated_cap_is_in_force_at_once() -> None:
    lower = FULL.state(Cap("shadow:x", Period.HOUR, hard=30))
    assert (lower.soft, lower.hard, lower.current.hard) == (None, 30, 30)
    assert lower.current.over
    assert lower.advance(NOON + HOUR).current.hard == 30


def test_the_trail_is_an_hour_of_samples() -> None:
    book = Book.begin(replace(CAP, period=Period.DAY), NOON)
    for minute in range(0, 300, 2):
        book = book.note(NOON + 60 * minute)
    first, last = book.trail[0][0], book.trail[-1][0]
    assert last - first >= HOUR
    assert len(book.trail) <= 15


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", 2),
        ("scope", "shadow:y"),
        ("period", "day"),
        ("hard", -1),
        ("hard", 1.5),
        ("current", None),
        ("current.start", "12 o'clock"),
        ("current.spent", -1),
        ("current.spent", True),
        ("current.spent", 10**30),
        ("current.blocks", {}),
        ("current.blocks", [{"owner": "a", "size": 1, "mark": 2, "turn": 0}]),
        ("current.blocks", [{"owner": "a", "size": 1, "mark": 1, "turn": 0}] * 2),
        ("trail", [[1, "x"]]),
        ("trail", 7),
    ],
)
def test_a_corrupt_book_is_refused(field: str, value: Any) -> None:
    """It is never read as money that may be spent."""
    document = json.loads(to_document(FULL))
    *path, last = field.split(".")
    place = document
    for name in path:
        place = place[name]
    place[last] = value
    with pytest.raises(BadDocument, match=r"ledger of shadow:x per hour|not an ISO 8601 time"):
        from_document(json.dumps(document).encode(), "shadow:x", Period.HOUR)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_book_are_refused(value: bytes) -> None:
    with pytest.raises(BadDocument):
        from_document(value, "shadow:x", Period.HOUR)
