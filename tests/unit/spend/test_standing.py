"""How a scope stands: the period of now, what comes first, and what a clock ahead has left behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.spend.account import Account, Block
from killswitch.spend.books import Book, to_document
from killswitch.spend.caps import Cap, Period
from killswitch.spend.standing import Standing, standings
from killswitch.stores import Item, Snapshot, keys
from killswitch.timestamps import DAY, HOUR, from_iso

THURSDAY = from_iso("2026-12-03T00:00:00Z")
NOW = THURSDAY + 7 * HOUR


def standing(spent: int, *, soft: int | None, hard: int | None) -> Standing:
    book = Book.begin(Cap("shadow:x", Period.DAY, soft, hard), NOW)
    return Standing(replace(book, current=replace(book.current, spent=spent)), NOW)


@pytest.mark.parametrize(
    ("spent", "soft", "hard", "sentence"),
    [
        (50, None, 100, "cap reached Thu 14:00 UTC at this rate"),
        (50, 75, 100, "soft cap reached Thu 10:30 UTC at this rate"),
        (75, 75, 100, "soft cap reached; the period ends Fri 00:00 UTC; cap reached Thu 09:20 UTC at this rate"),
        (100, 75, 100, "cap reached; the period ends Fri 00:00 UTC"),
        (1, 75, 100, "soft cap not reached before Fri 00:00 UTC at this rate"),
        (80, 75, None, "soft cap reached; the period ends Fri 00:00 UTC"),
        (80, None, None, "counted without a cap"),
    ],
)
def test_the_sentence_says_what_comes_first(spent: int, soft: int | None, hard: int | None, sentence: str) -> None:
    assert standing(spent, soft=soft, hard=hard).sentence == sentence


def test_a_cap_below_one_request_is_shown() -> None:
    """Nothing is spent, so no forecast ever reaches the cap; what was last asked for in vain says that it refuses."""
    book = standing(0, soft=None, hard=100_000).book
    refusing = replace(book, current=replace(book.current, hard=100_000, short=123_000))
    said = Standing(refusing, NOW).sentence
    assert said == "a request that may cost $0.123 has no room in what is left; the period ends 2026-12-04T00:00:00Z"


def test_a_day_that_is_over_has_nothing_spent() -> None:
    """Nobody has opened the new day yet; what yesterday cost is not today's."""
    book = replace(standing(80, soft=75, hard=100).book)
    item = Item(keys.account("shadow:x", "day"), to_document(book), 1)
    (found,), problems = standings(Snapshot((item,), 1), NOW + DAY)
    assert not problems
    assert found.used == 0


def test_a_period_still_to_come_is_named() -> None:
    book = Book.begin(Cap("shadow:x", Period.DAY, hard=100), NOW + 2 * DAY)
    assert "begins 2026-12-05T00:00:00Z: the clock of a process was ahead" in Standing(book, NOW).sentence


def test_leased_is_what_is_surely_not_spent() -> None:
    book = Book.begin(Cap("shadow:x", Period.DAY, hard=100), NOW)
    one = Standing(replace(book, current=Account(THURSDAY, 100, 10, blocks={"a": Block(30, 12)})), NOW)
    assert (one.used, one.leased) == (22, 18)
    assert one.document()["spent_micros"] == 10
