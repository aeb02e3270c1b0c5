"""How large a block of a process is, and how it changes: what one compare-and-commit of its owner does. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from killswitch.spend import account as accounts
from killswitch.spend.account import Account

# Of a cap, a block is this part; an account without a cap is counted in blocks of a dollar.
PARTS: Final = 100
_UNCAPPED_BLOCK: Final = 1_000_000
# The mark is moved in steps of this part of a block: what a process that dies leaves spent without having spent it.
STEPS: Final = 4


@dataclass(frozen=True, slots=True)
class Wish:
    """What a process needs of its account now, in micro-dollars.

    ``settled``: spent for good since its last change, ``overrun`` of it over what was reserved. ``reserved``: promised
    and not settled yet. ``need``: the largest amount that someone waits for. ``most_asked``: the largest reservation
    so far. ``returned``: whether all that is not reserved goes back; the ledger has then ``held_back`` all its room.
    """

    settled: int = 0
    overrun: int = 0
    reserved: int = 0
    need: int = 0
    most_asked: int = 0
    returned: bool = False
    held_back: int = 0


@dataclass(frozen=True, slots=True)
class Effect:
    """What a committed change means for its owner: what it has moved, and the block's new ``size`` and ``mark``.

    ``step``: how far the mark was to be ahead. ``met``: whether there was money for what someone waits for.
    """

    turn: int
    settled: int
    overrun: int
    held_back: int
    size: int
    mark: int
    step: int
    met: bool


def block_size(hard: int | None, most_asked: int) -> int:
    """One hundredth of the cap, and at least one reservation."""
    return max(_UNCAPPED_BLOCK if hard is None else hard // PARTS, most_asked, 1)


def fulfil(account: Account, owner: str, wish: Wish, turn: int) -> tuple[Account, Effect]:
    """The account as the owner's change leaves it, and what that means for the owner."""
    after = accounts.settle(account, owner, wish.settled, overrun=wish.overrun)
    whole = block_size(account.hard, wish.most_asked)
    step = max(whole // STEPS, wish.most_asked)
    met = True
    if wish.returned:
        met = wish.need == 0
        after = accounts.give_back(after, owner, keep=wish.reserved)
    else:
        size = after.block(owner).size
        least = max(0, wish.reserved + wish.need - size)
        most = max(least, wish.reserved + max(wish.need, whole) - size)
        free = after.free
        # a sliver that holds no reservation would only lie in the block
        sliver = free is not None and min(most, free // 8) < wish.most_asked
        if least or not sliver:
            after, granted = accounts.grant(after, owner, least=least, most=most)
            met = granted >= least
        after = accounts.mark(after, owner, wish.reserved + max(wish.need, step))
    if wish.need > 0 and not wish.returned:
        after = replace(after, short=0 if met else wish.need)
    after = accounts.take_turn(after, owner, turn)
    block = after.block(owner)
    return after, Effect(turn, wish.settled, wish.overrun, wish.held_back, block.size, block.mark, step, met)
