"""The account of one scope and period: what is spent, and the blocks of money that processes have leased. Pure.

Money that a process may spend is a block, granted to it beforehand. Its owner spends from the block without asking
anyone. Of each block the store holds a mark: up to there its owner may have spent already. If the owner dies, the part
up to the mark counts as spent, and the rest returns.

Invariant: ``spent`` and all blocks together are at most ``hard``. No function here breaks it, in any order. Only a
lower cap can leave an account above its cap; then nothing is granted. A cost that has no room under the cap (an answer
that cost more than was reserved for it) is ``beyond``, so that it is counted and shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Block:
    """Micro-dollars leased to one process: ``size``, and the ``mark`` up to which it may have spent.

    ``turn``: the number of its owner's newest change, by which an owner knows whether a change of unknown outcome was
    made.
    """

    size: int = 0
    mark: int = 0
    turn: int = 0


_LARGE_PART: Final = 4  # a request of more than this part of a cap is a large one
_NONE: Final[Mapping[str, Block]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Account:
    """One scope's money in the period that began at ``start`` (Unix seconds). Amounts in micro-dollars.

    ``hard``: the cap, None without one. ``spent``: for good. ``beyond``: spent with no room under the cap.
    ``overrun``: by how much answers have cost more than was reserved for them; a part of ``spent`` and ``beyond``.
    ``blocks``: by owner. ``short``: the amount that was last asked for in vain, 0 if it was there since.
    """

    start: float
    hard: int | None = None
    spent: int = 0
    beyond: int = 0
    overrun: int = 0
    blocks: Mapping[str, Block] = field(default_factory=lambda: _NONE)
    short: int = 0

    @property
    def leased(self) -> int:
        return sum(block.size for block in self.blocks.values())

    @property
    def used(self) -> int:
        """What is spent or may have been spent by now."""
        return self.spent + self.beyond + sum(block.mark for block in self.blocks.values())

    @property
    def free(self) -> int | None:
        """What can be granted, 0 or more; None without a cap."""
        return None if self.hard is None else max(0, self.hard - self.spent - self.beyond - self.leased)

    @property
    def over(self) -> bool:
        """Whether the cap was lowered below what is spent and leased, or is used up with something beyond."""
        return self.hard is not None and self.spent + self.beyond + self.leased > self.hard

    @property
    def used_up(self) -> bool:
        """Whether the cap refuses: nothing is left of it, or too little for what was last asked for.

        A refusal while a quarter is free is that of one large request: smaller ones go on.
        """
        free = self.free
        if free is None or self.hard is None:
            return False
        return self.used >= self.hard or free < min(self.short, self.hard // _LARGE_PART)

    def block(self, owner: str) -> Block:
        return self.blocks.get(owner, Block())


def grant(account: Account, owner: str, *, least: int, most: int) -> tuple[Account, int]:
    """Add ``least`` to ``most`` to the owner's block; the account, and how much was added: 0 where least is not free.

    Of what is free at most an eighth is given beyond ``least``, so that the last money of a cap does not lie in the
    block of a process that has no use for it.
    """
    free = account.free
    if free is None:
        amount = max(least, most)
    elif free < least:
        amount = 0
    else:
        amount = max(least, min(most, free // 8))
    block = account.block(owner)
    return (_with(account, owner, replace(block, size=block.size + amount)), amount) if amount > 0 else (account, 0)


def mark(account: Account, owner: str, at_least: int) -> Account:
    """Move the owner's mark up to ``at_least``, and never beyond its block or down."""
    block = account.block(owner)
    return _with(account, owner, replace(block, mark=max(block.mark, min(at_least, block.size))))


def settle(account: Account, owner: str, cost: int, *, overrun: int = 0) -> Account:
    """What the owner has spent for good leaves its block. A cost beyond the block is taken from what is free.

    ``overrun``: the part of ``cost`` that was over its reservations.
    """
    block = account.block(owner)
    inside = min(cost, block.size)
    rest = replace(block, size=block.size - inside, mark=max(0, block.mark - inside))
    settled = replace(_with(account, owner, rest), spent=account.spent + inside)
    return charge(settled, cost - inside, overrun=overrun)


def charge(account: Account, cost: int, *, overrun: int = 0) -> Account:
    """A cost for which no block has money: from what is free, and what is left of it is beyond the cap."""
    free = account.free
    room = cost if free is None else min(cost, free)
    return replace(
        account,
        spent=account.spent + room,
        beyond=account.beyond + cost - room,
        overrun=account.overrun + overrun,
    )


def give_back(account: Account, owner: str, *, keep: int) -> Account:
    """Return what the owner's block has over ``keep``."""
    block = account.block(owner)
    size = min(block.size, keep)
    return _with(account, owner, replace(block, size=size, mark=min(block.mark, size)))


def reclaim(account: Account, owner: str) -> Account:
    """Take a dead owner's block: up to its mark it counts as spent, and the rest is free again."""
    blocks = dict(account.blocks)
    block = blocks.pop(owner, Block())
    return replace(account, spent=account.spent + block.mark, blocks=MappingProxyType(blocks))


def take_turn(account: Account, owner: str, turn: int) -> Account:
    """Number the owner's change."""
    return _with(account, owner, replace(account.block(owner), turn=turn))


def leave(account: Account, owner: str) -> Account:
    """Remove the block of an owner that has nothing in it."""
    block = account.block(owner)
    if block.size:
        return account
    return replace(account, blocks=MappingProxyType({one: b for one, b in account.blocks.items() if one != owner}))


def _with(account: Account, owner: str, block: Block) -> Account:
    return replace(account, blocks=MappingProxyType({**account.blocks, owner: block}))
