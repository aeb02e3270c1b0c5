"""The money of one gate run: its own limit and the role's cap a day, reserved before each call and settled after it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, runtime_checkable

from killswitch.router.shadow.ledger import SpendLedger, SpendReservation
from killswitch.spend.prices import Price, PriceList
from killswitch.spend.reservations import NotReserved, SpendReason
from killswitch.token_usage import Usage
from killswitch.wording import money_in_words, plain

_LOOK: Final = 0.2  # seconds between looks whether the run has been stopped, while a call waits for money


@runtime_checkable
class _Settles(SpendReservation, Protocol):
    """What tells a reservation from a refusal when the program runs."""


class HeldMoney:
    """Money that is held for one call, in the run's own count and in the ledger."""

    def __init__(self, budget: RunBudget, price: Price, micros: int, inner: SpendReservation | None) -> None:
        self._budget = budget
        self._price = price
        self._micros = micros
        self._inner = inner

    def settle(self, usage: Usage | Mapping[str, Any] | None = None) -> int:
        """Micro-dollars of the call: by its usage, or all that was held where that is not known."""
        known = Usage.of(usage)
        cost = self._micros if known is None else self._price.cost(known)
        if self._inner is not None:
            self._inner.settle(known)  # type: ignore[arg-type]  # the ledger takes a Usage as well as a mapping
        self._budget.finished(self._micros, cost)
        return cost

    def release(self) -> int:
        """Nothing was billed."""
        if self._inner is not None:
            self._inner.release()
        self._budget.finished(self._micros, 0)
        return 0


class RunBudget:
    """A `SpendLedger` for the calls of one run. Safe from any thread.

    ``most``: micro-dollars that this run may spend, None for no limit of its own. ``ledger``: holds the role's cap a
    day, None where there is none. ``stopped``: whether the run is to end. ``refusal``: why a call got no money, None
    while all got some.

    A call that finds no room while others are under way waits for them: they hold the most that they can cost, and
    usually give most of it back.
    """

    def __init__(
        self,
        prices: PriceList,
        *,
        most: int | None,
        ledger: SpendLedger | None,
        wall: Callable[[], float],
        stopped: Callable[[], bool],
    ) -> None:
        self.refusal: str | None = None
        self._prices = prices
        self._most = most
        self._ledger = ledger
        self._wall = wall
        self._stopped = stopped
        self._spent = 0
        self._held = 0
        self._under_way = 0  # calls that hold money
        self._settled = 0  # calls that have given it back
        self._room = threading.Condition()

    @property
    def spent(self) -> int:
        """Micro-dollars that settled calls have cost."""
        with self._room:
            return self._spent

    def reserve(self, model: str, input_tokens_at_most: int, output_tokens_at_most: int) -> HeldMoney | NotReserved:
        """Hold the most that a call can cost."""
        price = self._prices.price(model, self._wall())
        if price is None:
            said = f"no price of {plain(model, 100)!r} is known; add it to the file of prices"
            with self._room:
                return self._refused(NotReserved(SpendReason.UNKNOWN_PRICE, said))
        micros = price.at_most(input_tokens_at_most, output_tokens_at_most)
        while True:
            with self._room:
                settled = self._settled
            held = self._try(model, input_tokens_at_most, output_tokens_at_most, price, micros)
            if isinstance(held, HeldMoney):
                return held
            with self._room:
                if self._settled != settled:
                    continue  # a call that has ended since may have given room
                if self._under_way == 0 or self._stopped():
                    return self._refused(held)
                self._room.wait(_LOOK)

    def finished(self, held: int, cost: int) -> None:
        """A call is over: what it held is free, and what it cost is spent."""
        with self._room:
            self._held -= held
            self._spent += cost
            self._under_way -= 1
            self._settled += 1
            self._room.notify_all()

    def _try(
        self, model: str, input_tokens: int, output_tokens: int, price: Price, micros: int
    ) -> HeldMoney | NotReserved:
        with self._room:
            if self._most is not None and self._spent + self._held + micros > self._most:
                said = (
                    f"--max-dollars {money_in_words(self._most)} has no room for a call of at most "
                    f"{money_in_words(micros)} after {money_in_words(self._spent)}"
                )
                return NotReserved(SpendReason.CAP, said)
            self._held += micros
        inner: SpendReservation | None = None
        held = False
        try:
            if self._ledger is not None:
                asked = self._ledger.reserve(model, input_tokens, output_tokens)
                if not isinstance(asked, _Settles):
                    said = str(getattr(asked, "sentence", asked.reason))
                    return NotReserved(SpendReason(str(asked.reason)), said)
                inner = asked
            held = True
            return HeldMoney(self, price, micros, inner)
        finally:
            with self._room:
                if held:
                    self._under_way += 1
                else:
                    self._held -= micros

    def _refused(self, refusal: NotReserved) -> NotReserved:
        """Under the guard."""
        if self.refusal is None and not self._stopped():
            self.refusal = refusal.sentence
        return refusal
