"""Adds what live traffic costs to the ledger's books: once for all replicas, and across restarts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from killswitch.errors import Unavailable
from killswitch.spend import account as accounts
from killswitch.spend import books, live
from killswitch.spend.books import Book
from killswitch.spend.caps import Cap, Period
from killswitch.spend.live import CountedUpTo, LiveCost, LiveStep, live_cost
from killswitch.spend.prices import PriceList
from killswitch.stores import Compare, Lost, Put, Store, keys

_TRIES: Final = 20  # each lost comparison is the progress of another replica


class LiveSpend:
    """Live spend in one store. Safe from any thread. Every method raises what the store raises, and BadDocument.

    How far steps are counted is written in the same transaction as their cost. So two replicas count a step once,
    and after a restart, or an answer of the store that was lost, counting goes on where it ended.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def counted(self, scope: str) -> CountedUpTo | None:
        """How far this scope is counted: the next steps to read begin there. None before the first."""
        return self._counted(scope)[0]

    def count(
        self, scope: str, steps: Sequence[LiveStep], prices: PriceList, periods: Iterable[Period] = Period
    ) -> LiveCost:
        """Charge the steps that are not counted yet to the scope's books of these periods; what they cost.

        Live traffic is never refused here: what has no room under a hard cap is beyond it, and whoever judges the cap
        acts.
        """
        wanted = tuple(periods)
        for _ in range(_TRIES):
            before, revision = self._counted(scope)
            cost = live_cost(before, steps, prices)
            if cost.counted == before:
                return cost
            key = keys.live_spend(scope)
            compares, writes = [Compare(key, revision)], [Put(key, live.to_document(cost.counted))]
            for period in wanted if cost.charges else ():
                book, at = self._book(scope, period, cost.charges[0][0])
                compares.append(Compare(keys.account(scope, period), at))
                writes.append(Put(keys.account(scope, period), books.to_document(_charged(book, cost))))
            if not isinstance(self._store.commit(compares, writes), Lost):
                return cost
        raise Unavailable("other replicas keep counting the same steps; tried again")

    def _counted(self, scope: str) -> tuple[CountedUpTo | None, int]:
        item = self._store.get(keys.live_spend(scope))
        return (None, 0) if item is None else (live.from_document(item.value), item.mod_revision)

    def _book(self, scope: str, period: Period, at: float) -> tuple[Book, int]:
        item = self._store.get(keys.account(scope, period))
        if item is None:
            return Book.begin(Cap(scope, period), at), 0
        return books.from_document(item.value, scope, period), item.mod_revision


def _charged(book: Book, cost: LiveCost) -> Book:
    """The book with each charge in the period of its step; in the oldest there is, if that one is closed for good."""
    for tick, micros in cost.charges:
        book = book.advance(tick)
        account = book.account(book.period.start(tick)) or book.previous or book.current
        book = book.replace(accounts.charge(account, micros))
    return book.note(cost.counted.tick)
