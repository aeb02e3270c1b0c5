"""What this process knows of its block of one account: the room in it, and what was reserved and settled since."""

from __future__ import annotations

from typing import Final

from killswitch.spend.blocks import Effect, Wish
from killswitch.spend.caps import Cap

_NEVER: Final = -(1 << 62)


class LocalAccount:
    """Micro-dollars of one scope and period in this process. Every use is under the ledger's lock.

    ``mark`` is what the store lets this process spend; it is divided without rest into what is ``settled`` since the
    last change of the store, what is ``reserved``, what is ``held_back`` to be returned, and ``room``. An answer that
    cost more than its reservation may leave ``room`` negative. ``low``: less room than this, and the ledger fetches
    more. ``lost``: the lease may have ended, so the store counts all up to the mark as spent.
    """

    __slots__ = (
        "cap",
        "dry_need",
        "dry_until",
        "end",
        "held_back",
        "looked",
        "lost",
        "low",
        "mark",
        "most_asked",
        "overrun",
        "room",
        "settled",
        "size",
        "start",
        "still",
        "turn",
        "unsure",
        "waiting",
    )

    def __init__(self, cap: Cap, start: float) -> None:
        self.cap = cap
        self.start = start
        self.end = cap.period.end(start)  # Unix seconds
        self.room = 0
        self.low = _NEVER
        self.settled = 0
        self.overrun = 0
        self.held_back = 0
        self.size = 0
        self.mark = 0
        self.waiting = 0
        self.most_asked = 0
        self.lost = False
        self.dry_need = 0  # the least amount that was not free
        self.dry_until = 0.0  # monotonic seconds
        self.turn = 0
        self.unsure: dict[int, Effect] = {}
        self.looked = (0, 0)
        self.still = 0  # looks in a row at which nothing had moved

    @property
    def reserved(self) -> int:
        return self.mark - self.settled - self.held_back - self.room

    @property
    def owed(self) -> int:
        """What was spent beyond the mark: it is in no block, and must be charged."""
        return max(0, -self.room)

    def is_dry(self, amount: int, now: float) -> bool:
        """Whether ``amount`` was asked of the store a moment ago, in vain. ``now`` in monotonic seconds."""
        return now < self.dry_until and amount >= self.dry_need

    def moved(self) -> bool:
        """Whether anything was reserved or settled since the last call."""
        before, self.looked = self.looked, (self.room, self.settled)
        return before != self.looked

    def wish(self, *, returned: bool) -> Wish:
        """What to ask of the store. With ``returned`` the room is held back from now on."""
        reserved = self.reserved
        if returned:
            self.held_back += max(0, self.room)
            self.room = min(0, self.room)
        # what is over the mark is not in the block, so the store takes it from what is free
        return Wish(
            settled=self.settled,
            overrun=self.overrun,
            reserved=reserved,
            need=self.waiting,
            most_asked=self.most_asked,
            returned=returned,
            held_back=self.held_back if returned else 0,
        )

    def done(self, effect: Effect) -> None:
        """The store has made this change."""
        reserved = self.reserved
        self.settled -= effect.settled
        self.overrun -= effect.overrun
        self.size, self.mark = effect.size, effect.mark
        # other changes of unknown outcome were not made, and cannot be any more
        self.held_back = 0
        self.unsure.clear()
        self.room = self.mark - self.settled - reserved
        self.low = effect.step // 2 if self.room >= effect.step // 2 else _NEVER

    def not_done(self, wish: Wish) -> None:
        """The store has surely not made the change; what was held back for it may be spent again."""
        if not self.unsure:
            self.room += wish.held_back
            self.held_back -= wish.held_back
