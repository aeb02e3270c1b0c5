"""Reserves money before a model is asked, and settles it on what was used; a block with room needs no store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from operator import index
from typing import Final

from killswitch.spend.local_account import LocalAccount
from killswitch.spend.prices import Price, PriceList
from killswitch.token_usage import Usage
from killswitch.wording import money_in_words

# Seconds after which a caller that was refused for want of a block may well get one.
SOON: Final = 1.0
MOST_RESERVED: Final = 10**12  # micro-dollars of one answer: a million dollars


class SpendReason(StrEnum):
    """Why nothing was reserved."""

    CAP = "CAP"  # a hard cap has no room for this amount
    UNKNOWN_PRICE = "UNKNOWN_PRICE"  # it is not known what the model costs now
    STORE = "STORE"  # the block is used up, and the store has given no other in time
    SHUTTING_DOWN = "SHUTTING_DOWN"  # the ledger is closed


@dataclass(frozen=True, slots=True)
class NotReserved:
    """Nothing was reserved: do not ask the model. ``until``: Unix seconds when to try again, None if unknown."""

    reason: SpendReason
    sentence: str
    until: float | None = None


class Desk:
    """What a ledger and its scopes share in one process. ``guard`` guards all of it, and all local accounts."""

    def __init__(self, prices: PriceList, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self.prices = prices
        self.wall = wall
        self.monotonic = monotonic
        self.good_until = 0.0  # monotonic seconds: until then blocks may be spent from
        self.closing = False
        self.problems: dict[str, str] = {}  # by the book's key; "" is the store's
        self.waiters = 0
        self._make_locks()

    def _make_locks(self) -> None:
        self.lock = threading.Lock()  # the guard's: entering it directly is faster
        self.guard = threading.Condition(self.lock)
        self.wake = threading.Event()  # there is something to fetch from the store

    def problem_of(self, keys: tuple[str, ...]) -> str | None:
        """Why one of these books cannot be used, None if all can."""
        return next((self.problems[key] for key in ("", *keys) if key in self.problems), None)

    def after_fork(self) -> None:
        """In a child: no thread of the parent's holds the locks, and no block is ours."""
        self._make_locks()
        self.good_until, self.problems, self.waiters = 0.0, {}, 0


class Reservation:
    """Money that is promised for one answer. Either settle it or release it; what comes second does nothing."""

    __slots__ = ("_accounts", "_desk", "_open", "_price", "micros")

    def __init__(self, desk: Desk, accounts: tuple[LocalAccount, ...], price: Price, micros: int) -> None:
        self.micros = micros  # what is reserved, in micro-dollars
        self._desk = desk
        self._accounts = accounts
        self._price = price
        self._open = True

    def settle(self, usage: object = None) -> int:
        """The answer's cost in micro-dollars, charged from now on; the rest of the reservation is free again.

        ``usage`` is a `Usage` or the provider's own usage object. None, or one that cannot be understood, costs what
        was reserved: a stream that was cut off is billed, and how much is not known. A cost over the reservation is
        charged, too, and counted as overrun.
        """
        known = Usage.of(usage)
        cost = self.micros if known is None else self._price.cost(known)
        self._finish(cost)
        return cost

    def release(self) -> None:
        """Nothing was sent, so nothing is spent."""
        self._finish(0)

    def _finish(self, cost: int) -> None:
        with self._desk.lock:
            if not self._open:
                return
            self._open = False
            left = self.micros - cost
            for account in self._accounts:
                account.room += left
                account.settled += cost
                if left < 0:
                    account.overrun -= left
            if self._desk.waiters and left > 0:
                self._desk.guard.notify_all()


def _whole(tokens: object) -> int:
    """A fraction of a micro-dollar in a book would close its account for everyone, and NaN would pass by every cap."""
    try:
        return index(tokens)  # type: ignore[arg-type]  # whole numbers of other libraries, too
    except TypeError as error:
        raise ValueError(f"a number of tokens is a whole number, not {tokens!r:.40}; round it up") from error


class ScopedLedger:
    """The ledger for requests of one kind, which are charged to the same scopes. Safe from any thread.

    ``accounts`` are one for each scope and period of the caps; all of them must have room. ``wait``: seconds that
    `reserve` waits at most for a block.
    """

    def __init__(
        self, desk: Desk, scopes: tuple[str, ...], keys: tuple[str, ...], wait: float, begin: Callable[[], None]
    ) -> None:
        self.scopes = scopes
        self.keys = keys
        self.accounts: tuple[LocalAccount, ...] = ()
        self.until = 0.0  # Unix seconds: the end of the first period that ends
        self.wanted = True
        self._desk = desk
        self._wait = wait
        self._begin = begin
        self._most_asked = 0

    def reserve(self, model: str, input_tokens_at_most: int, output_tokens_at_most: int) -> Reservation | NotReserved:
        """Reserve what an answer can cost at most. Raises ValueError for what is no whole number of tokens, 0 or more.

        ``output_tokens_at_most``: of text and reasoning together, as the request limits them.
        """
        if type(input_tokens_at_most) is not int or type(output_tokens_at_most) is not int:
            input_tokens_at_most, output_tokens_at_most = _whole(input_tokens_at_most), _whole(output_tokens_at_most)
        if input_tokens_at_most < 0 or output_tokens_at_most < 0:
            raise ValueError("a number of tokens is 0 or more")
        desk = self._desk
        now = desk.wall()
        price = desk.prices.price(model, now)
        if price is None:
            return NotReserved(
                SpendReason.UNKNOWN_PRICE, f"no price of {model!r:.100} is known; add it to the file of prices"
            )
        amount = price.at_most(input_tokens_at_most, output_tokens_at_most)
        if amount > MOST_RESERVED:  # the book of an account without a cap could not hold many
            said = f"no answer may cost over {money_in_words(MOST_RESERVED)}; limit the tokens of the request"
            return NotReserved(SpendReason.CAP, said)
        with desk.lock:
            if amount > self._most_asked:
                self._note_most(amount)
            if self._take(amount, now):
                return Reservation(desk, self.accounts, price, amount)
        return self._reserve_waiting(price, amount)

    def opened(self, accounts: tuple[LocalAccount, ...]) -> None:
        """These are the accounts now; () where some are not open. Under the guard."""
        self.accounts = accounts
        self.until = min((account.end for account in accounts), default=0.0)
        for account in accounts:
            account.most_asked = max(account.most_asked, self._most_asked)

    def _take(self, amount: int, now: float) -> bool:
        """Take the amount out of every account, if all have room. ``now`` in Unix seconds. Under the guard."""
        desk = self._desk
        if now >= self.until or desk.monotonic() >= desk.good_until:
            return False
        for account in self.accounts:
            if account.room < amount:
                return False
        low = False
        for account in self.accounts:
            room = account.room = account.room - amount
            if room < account.low:
                low = True
        if low and not desk.wake.is_set():
            desk.wake.set()
        return True

    def _note_most(self, amount: int) -> None:
        self._most_asked = amount
        for account in self.accounts:
            account.most_asked = max(account.most_asked, amount)

    def _reserve_waiting(self, price: Price, amount: int) -> Reservation | NotReserved:
        """The slow path: ask for a block, and wait for it."""
        desk = self._desk
        deadline = desk.monotonic() + self._wait
        in_time = True
        self._begin()
        with desk.guard:
            while True:
                if desk.closing:
                    return NotReserved(SpendReason.SHUTTING_DOWN, "the ledger is closed: the process is stopping")
                now = desk.wall()
                if self._take(amount, now):
                    return Reservation(desk, self.accounts, price, amount)
                refusal = self._cap(amount)
                if refusal is not None:
                    return refusal
                left = deadline - desk.monotonic()
                self._ask_for(amount)
                problem = desk.problem_of(self.keys)
                if problem is not None or left <= 0.0 or not in_time:
                    why = problem or "the block is used up, and no other was leased in time; try again"
                    return NotReserved(SpendReason.STORE, why, now + SOON)
                desk.waiters += 1
                try:
                    in_time = desk.guard.wait(left)
                finally:
                    desk.waiters -= 1

    def _ask_for(self, amount: int) -> None:
        self.wanted = True
        for account in self.accounts:
            account.waiting = max(account.waiting, amount)
        self._desk.wake.set()

    def _cap(self, amount: int) -> NotReserved | None:
        """The refusal of a cap that has no room for this amount, as the store said a moment ago."""
        now = self._desk.monotonic()
        full = [account for account in self.accounts if account.room < amount and account.is_dry(amount, now)]
        if not full:
            return None
        last = max(full, key=lambda account: account.end)
        said = f"the cap of {last.cap.scope} per {last.cap.period.value} has no room for {money_in_words(amount)}"
        hard = last.cap.hard
        if hard is not None and amount > hard:
            said += f", because the whole cap is {money_in_words(hard)}; raise it, or limit the tokens of each request"
        return NotReserved(SpendReason.CAP, said, last.end)
