"""Adds what live traffic costs to the ledger's books: once for all replicas, and across restarts.

A thousand rollouts are counted with a handful of calls: one read of how far each is counted, and commits that hold as
many scopes as a commit may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from killswitch.errors import BadDocument, BadTransaction, Unavailable
from killswitch.spend import account as accounts
from killswitch.spend import books, live
from killswitch.spend.books import Book
from killswitch.spend.caps import Cap, Period
from killswitch.spend.live import CountedUpTo, LiveCost, LiveStep, live_cost
from killswitch.spend.prices import PriceList
from killswitch.stores import Compare, Item, Lost, Put, Snapshot, Store, keys
from killswitch.stores.limits import MAX_OPERATIONS, Part, portions
from killswitch.timestamps import to_iso

_TRIES: Final = 20  # each lost comparison is the progress of another process
_PERIODS: Final = tuple(Period)
SCOPES_A_COMMIT: Final = MAX_OPERATIONS // (1 + len(_PERIODS))  # each has how far it is counted, and its books


@dataclass(frozen=True, slots=True)
class Uncounted:
    """The steps of one scope, of which some may be counted already; ``steps`` in their order, at least one."""

    scope: str
    steps: Sequence[LiveStep]
    prices: PriceList


@dataclass(frozen=True, slots=True)
class CountedSpend:
    """What became of each scope: its cost, or why its documents cannot be used."""

    costs: Mapping[str, LiveCost] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)


class LiveSpend:
    """Live spend in one store. For one thread. Every method raises what the store raises.

    How far steps are counted is written in the same transaction as their cost. So two replicas count a step once,
    and after a restart, or an answer of the store that was lost, counting goes on where it ended.

    ``wall``: Unix seconds. A step whose tick lies ahead of it is charged to the period that this clock is in, so that
    a metric store whose clock is ahead opens no later period.
    """

    def __init__(self, store: Store, *, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall
        self._positions: Mapping[str, Item] = {}
        # None: not read yet. What is written here is compared, so an old book costs one more read and no money.
        self._books: dict[str, Item] | None = None

    def read(self) -> None:
        """Read how far every scope is counted."""
        found = self._store.list(keys.LEDGER_LIVE)
        self._positions = {item.key.removeprefix(keys.LEDGER_LIVE): item for item in found.items}

    def note_books(self, found: Snapshot) -> None:
        """Take over the books that the caller has read under `keys.LEDGER`."""
        self._books = {item.key: item for item in found.items}

    def counted(self, scope: str) -> CountedUpTo | None:
        """How far this scope was counted at the last `read`; None before its first step. Raises BadDocument."""
        item = self._positions.get(scope)
        return None if item is None else live.from_document(item.value)

    def lag(self, scope: str, now: float, most: float) -> str | None:
        """Why what is counted is too old, as of the last `read`; None if it is at most ``most`` seconds old."""
        try:
            counted = self.counted(scope)
        except BadDocument as error:
            return str(error)
        if counted is None:
            return "live traffic is not counted yet"
        return None if now - counted.tick <= most else f"live traffic is counted up to {to_iso(counted.tick)} only"

    def count(self, wanted: Sequence[Uncounted]) -> CountedSpend:
        """Charge the steps that are not counted yet to their scopes' books of each period.

        Live traffic is never refused here: what has no room under a hard cap is beyond it, and whoever judges the cap
        acts.
        """
        costs: dict[str, LiveCost] = {}
        problems: dict[str, str] = {}
        left, most = wanted, SCOPES_A_COMMIT
        for _ in range(_TRIES):
            parts = list(self._parts(left, costs, problems))
            left = [one for run in portions(parts, most=most) for one in self._commit(run, costs, problems)]
            if not left:
                return CountedSpend(costs, problems)
            # one book that others keep changing must not hold up its whole portion
            most = max(1, most // 4)
            self.read()
            self._books = None
        raise Unavailable("other processes keep changing the same accounts; tried again")

    def _parts(
        self, wanted: Sequence[Uncounted], costs: dict[str, LiveCost], problems: dict[str, str]
    ) -> Iterator[Part[tuple[Uncounted, LiveCost]]]:
        """What is to be written; a scope with nothing to write is done."""
        for one in wanted:
            try:
                before = self.counted(one.scope)
                cost = live_cost(before, one.steps, one.prices)
                if cost.counted == before:
                    costs[one.scope] = cost
                    continue
                yield self._part(one, cost)
            except BadDocument as error:
                problems[one.scope] = str(error)

    def _part(self, one: Uncounted, cost: LiveCost) -> Part[tuple[Uncounted, LiveCost]]:
        key, item = keys.live_spend(one.scope), self._positions.get(one.scope)
        compares = [Compare(key, 0 if item is None else item.mod_revision)]
        writes = [Put(key, live.to_document(cost.counted))]
        for period in _PERIODS if cost.charges else ():
            book, at = self._book(one.scope, period, cost.charges[0][0])
            compares.append(Compare(keys.account(one.scope, period), at))
            writes.append(Put(keys.account(one.scope, period), books.to_document(self._charged(book, cost))))
        return Part((one, cost), compares, writes)

    def _commit(
        self,
        run: Sequence[Part[tuple[Uncounted, LiveCost]]],
        costs: dict[str, LiveCost],
        problems: dict[str, str],
    ) -> Sequence[Uncounted]:
        """Those that were not written, because another process has changed one of their documents."""
        writes = [write for part in run for write in part.writes if isinstance(write, Put)]
        try:
            outcome = self._store.commit([compare for part in run for compare in part.compares], writes)
        except BadTransaction as error:  # one scope alone: what fits is divided
            problems.update((part.subject[0].scope, str(error)) for part in run)
            return ()
        if isinstance(outcome, Lost):
            return [part.subject[0] for part in run]
        costs.update((part.subject[0].scope, part.subject[1]) for part in run)
        kept = self._books if self._books is not None else {}
        kept.update(
            (write.key, Item(write.key, write.value, outcome.revision))
            for write in writes
            if write.key.startswith(keys.LEDGER)
        )
        return ()

    def _book(self, scope: str, period: Period, at: float) -> tuple[Book, int]:
        if self._books is None:
            self.note_books(self._store.list(keys.LEDGER))
            assert self._books is not None
        item = self._books.get(keys.account(scope, period))
        if item is None:
            return Book.begin(Cap(scope, period), min(at, self._wall())), 0
        return books.from_document(item.value, scope, period), item.mod_revision

    def _charged(self, book: Book, cost: LiveCost) -> Book:
        """The book with each charge in the period of its step; in the oldest there is, if that is closed for good."""
        now = self._wall()
        for tick, micros in cost.charges:
            at = min(tick, now)
            book = book.advance(at)
            account = book.account(book.period.start(at)) or book.previous or book.current
            book = book.replace(accounts.charge(account, micros))
        return book.note(min(cost.counted.tick, now))
