"""What one process knows of its block: what it holds back, and what it owes."""

from __future__ import annotations

from killswitch.spend.blocks import Effect
from killswitch.spend.caps import Cap, Period
from killswitch.spend.local_account import LocalAccount


def with_room(micros: int) -> LocalAccount:
    local = LocalAccount(Cap("shadow:x", Period.HOUR, hard=1_000), 0.0)
    local.done(Effect(turn=1, settled=0, overrun=0, held_back=0, size=micros, mark=micros, step=0, met=True))
    return local


def test_the_mark_is_divided_without_rest() -> None:
    local = with_room(100)
    local.room -= 30  # reserved
    local.settled += 10  # settled at less than another reservation of 10
    local.room -= 10
    assert (local.reserved, local.room, local.settled, local.held_back) == (30, 60, 10, 0)
    wish = local.wish(returned=True)
    assert (wish.reserved, wish.settled, wish.held_back) == (30, 10, 60)
    assert (local.room, local.held_back, local.reserved) == (0, 60, 30)


def test_what_was_surely_not_returned_is_room_again() -> None:
    local = with_room(100)
    local.not_done(local.wish(returned=True))
    assert (local.room, local.held_back) == (100, 0)


def test_a_later_failure_frees_nothing_that_may_be_returned() -> None:
    """The first give-back may still be carried out, though the second one surely was not."""
    local = with_room(100)
    first = local.wish(returned=True)
    local.unsure[2] = Effect(2, 0, 0, first.held_back, size=0, mark=0, step=0, met=True)
    local.not_done(local.wish(returned=True))
    assert (local.room, local.held_back) == (0, 100)
    local.done(local.unsure[2])
    assert (local.room, local.held_back, local.mark) == (0, 0, 0)


def test_what_is_over_the_mark_is_owed() -> None:
    local = with_room(100)
    local.settled += 130
    local.room -= 130
    assert (local.owed, local.reserved) == (30, 0)
    assert local.wish(returned=True).held_back == 0
    assert local.room == -30
