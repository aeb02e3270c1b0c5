"""Processes that spend from one ledger, in virtual time: the store is honest, and everything else may go wrong."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import count

from killswitch.spend.books import Book, from_document
from killswitch.spend.caps import Cap, Period
from killswitch.spend.ledger import Ledger
from killswitch.spend.prices import MILLION, Price, PriceList
from killswitch.spend.reservations import NotReserved, Reservation, ScopedLedger, SpendReason
from killswitch.stores import keys
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import MemoryServer, MemoryStore

TTL = 15.0
SCOPE = "shadow:x"
# one token costs one micro-dollar, so that amounts are numbers of tokens
PRICES = PriceList([Price("m", 0.0, *[MILLION] * 5)])


class Till:
    """One process."""

    def __init__(self, world: World, name: str, caps: Iterable[Cap], scopes: tuple[str, ...]) -> None:
        self.store = MemoryStore(world.server, name)
        clock = world.clock
        self.ledger = Ledger(
            lambda: self.store,
            caps,
            PRICES,
            wait=0.0,
            ttl=TTL,
            wall=clock.wall,
            monotonic=clock.monotonic,
            background=False,
        )
        self.scoped: ScopedLedger = self.ledger.for_scopes(*scopes)
        self.ledger.step()

    def try_once(self, tokens: int) -> Reservation | NotReserved:
        return self.scoped.reserve("m", tokens, 0)

    def reserve(self, tokens: int) -> Reservation | NotReserved:
        """As a caller that waits for a block: the ledger's thread works meanwhile."""
        for _ in range(4):
            answer = self.try_once(tokens)
            if isinstance(answer, Reservation) or answer.reason is not SpendReason.STORE:
                return answer
            self.ledger.step()
        return answer

    def reserved(self, tokens: int) -> Reservation:
        answer = self.reserve(tokens)
        assert isinstance(answer, Reservation), answer
        return answer

    def reason(self, tokens: int) -> SpendReason:
        answer = self.reserve(tokens)
        assert isinstance(answer, NotReserved), answer
        return answer.reason

    def spend_all(self, tokens: int) -> int:
        """Reserve and settle until refused; how often it succeeded."""
        for times in range(100_000):
            answer = self.reserve(tokens)
            if isinstance(answer, NotReserved):
                return times
            answer.settle()
        raise AssertionError("it is never refused")


class World:
    def __init__(self, *caps: Cap) -> None:
        self.clock = VirtualClock(wall=1_780_488_000.0)  # 2026-06-03 12:00 UTC
        self.server = MemoryServer(self.clock)
        self.caps = caps
        self._names = count()
        self._looked = 0  # how much of the server's history was looked at
        self._most: defaultdict[str, Counter[float]] = defaultdict(Counter)

    def till(self, *caps: Cap, scopes: tuple[str, ...] = (SCOPE,)) -> Till:
        return Till(self, f"process-{next(self._names)}", caps or self.caps, scopes)

    def pass_time(self, seconds: float, *tills: Till, step: float = TTL / 3) -> None:
        """The given processes live on, each a pass every few seconds; all others are dead, or their threads hang."""
        left = seconds
        while left > 0:
            self.clock.advance(min(step, left))
            left -= step
            for till in tills:
                till.ledger.step()

    def book(self, scope: str = SCOPE, period: Period = Period.HOUR) -> Book:
        value = self.server.value(keys.account(scope, period))
        assert value is not None
        return from_document(value, scope, period)

    def most_spent_and_leased(self, scope: str = SCOPE, period: Period = Period.HOUR) -> Counter[float]:
        """Over all revisions, by the begin of the period: the most that was spent and leased together."""
        key = keys.account(scope, period)
        for change in self.server.history[self._looked :]:
            if change.key.startswith(keys.LEDGER) and change.value is not None:
                _, _, name = change.key.rpartition("/")
                book = from_document(change.value, json.loads(change.value)["scope"], Period(name))
                for account in (book.current, book.previous):
                    if account is not None:
                        most = self._most[change.key]
                        most[account.start] = max(most[account.start], account.spent + account.leased)
        self._looked = len(self.server.history)
        return self._most[key]
