"""Money in each cycle: the caps of rule files go to the ledger, and people are paged where one is reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from killswitch.controller.recipients import Recipients
from killswitch.controller.store_health import StoreHealth
from killswitch.errors import BadDocument, KillswitchError, OutcomeUnknown
from killswitch.model import Rollout
from killswitch.pages import spend_events
from killswitch.pages.outbox_entry import into_outbox
from killswitch.spend.books import Book, from_document, to_document
from killswitch.spend.ruling import RuledCaps
from killswitch.spend.standing import Standing, standings
from killswitch.stores import Compare, Lost, Put, Store, keys

_TRIES: Final = 20  # each lost comparison is the progress of some process that spends


class Spending:
    """What one replica does about money in a cycle. ``wall`` gives Unix seconds, by which periods begin and end."""

    def __init__(self, store: Store, *, recipients: Recipients, health: StoreHealth, wall: Callable[[], float]) -> None:
        self._store = store
        self._recipients = recipients
        self._health = health
        self._wall = wall
        self._caps = RuledCaps(store, wall=wall)

    def look(self, rollouts: Mapping[str, Rollout]) -> None:
        """Write the caps of these rule files, and page for those that are reached. A store's errors are noted."""
        if not self._caps.due(rollouts):
            return
        try:
            books = self._store.list(keys.LEDGER)
            self._caps.write(rollouts, books)
            found, _ = standings(books, self._wall())
            for standing in found:
                if _reached(standing.book) is not None and _of_ours(standing.book, rollouts):
                    self._page(standing.book)
        except OutcomeUnknown:
            return  # the next cycle looks again
        except KillswitchError as error:
            self._health.failed(error, writing=True)

    def _page(self, seen: Book) -> None:
        """Page for the cap that is reached, once for each cap and period, whichever replica is first."""
        key = keys.account(seen.scope, seen.period)
        for _ in range(_TRIES):
            item = self._store.get(key)
            if item is None:
                return
            now = self._wall()
            try:
                book = from_document(item.value, seen.scope, seen.period).advance(now)
            except BadDocument:
                return  # `killswitch spend` names it
            name = _reached(book)
            if name is None or book.ruled is None:
                return
            build = spend_events.spend_hard if name == "hard" else spend_events.spend_soft
            rollout = book.ruled.rollout
            page = build(rollout, Standing(book, now), at=now, settings=self._recipients.of(rollout))
            marked = book.note_paged(name, _limit(book, name))
            outcome = self._store.commit(
                (Compare(key, item.mod_revision),), (Put(key, to_document(marked)), into_outbox(page, at=now))
            )
            if not isinstance(outcome, Lost):
                return


def _of_ours(book: Book, rollouts: Mapping[str, Rollout]) -> bool:
    return book.ruled is not None and book.ruled.rollout in rollouts


def _reached(book: Book) -> str | None:
    """The cap that is reached and was not paged in this period; a hard cap before a soft one."""
    used_up = book.current.used_up
    reached = {"hard": used_up, "soft": not used_up and book.soft is not None and book.current.used >= book.soft}
    return next((name for name, is_so in reached.items() if is_so and book.paged.get(name) != _limit(book, name)), None)


def _limit(book: Book, name: str) -> int:
    return (book.hard if name == "hard" else book.soft) or 0
