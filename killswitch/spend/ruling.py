"""Brings the caps of rule files into the ledger's books, where every process that spends finds them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from killswitch.errors import BadDocument
from killswitch.model import Rollout
from killswitch.spend.books import Book, from_document, to_document
from killswitch.spend.caps import Cap, Period
from killswitch.spend.rule_files import ledger_caps
from killswitch.stores import Compare, Lost, Put, Snapshot, Store, keys

_TRIES: Final = 50  # each lost comparison is the progress of some process that spends


@dataclass(frozen=True, slots=True)
class _Said:
    rollout: str
    cap: Cap


class RuledCaps:
    """Writes what rule files say, when that has changed. ``wall`` gives Unix seconds.

    Of replicas with other rule files the newest to change is obeyed: none of them writes twice what it wrote before,
    unless a book is without the caps of any rule file.
    """

    def __init__(self, store: Store, *, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall
        self._written: Mapping[str, _Said] | None = None

    def due(self, rollouts: Mapping[str, Rollout]) -> bool:
        """Whether there are caps, or were: whether `write` must see the books."""
        return self._written != {} or any(rollout.spend.caps for rollout in rollouts.values())

    def write(self, rollouts: Mapping[str, Rollout], books: Snapshot) -> None:
        """Rule the books under `keys.LEDGER` as these rule files say, and lift the caps that they no longer say.

        Caps of a rollout that has no rule file any more stay: a file that is moved must not open a purse. Raises as
        the store.
        """
        said = {
            keys.account(cap.scope, cap.period): _Said(rollout.name, cap)
            for rollout in rollouts.values()
            for cap in ledger_caps(rollout)
        }
        found = {item.key: _book(item.key, item.value) for item in books.items}
        done = True
        for key, one in said.items():
            book = found.get(key)
            before = None if self._written is None else self._written.get(key)
            if one != before or (key not in found) or (book is not None and book.ruled is None):
                done &= self._change(key, one.cap, partial(Book.rule, rollout=one.rollout, cap=one.cap))
        if said != self._written:
            done &= self._lift(found, said, rollouts.keys())
        if done:
            self._written = said

    def give_up(self) -> None:
        """Without caps in any rule file there is nothing to write, and nothing to lift that we may see."""
        self._written = {}

    def _lift(self, found: Mapping[str, Book | None], said: Mapping[str, _Said], rollouts: Collection[str]) -> bool:
        done = True
        for key, book in found.items():
            if book is not None and book.ruled is not None and book.ruled.rollout in rollouts and key not in said:
                done &= self._change(key, Cap(book.scope, book.period), Book.lift)
        return done

    def _change(self, key: str, cap: Cap, change: Callable[[Book], Book]) -> bool:
        """Whether the book is as it is to be; not where others kept changing it."""
        for _ in range(_TRIES):
            item = self._store.get(key)
            begun = Book.begin(Cap(cap.scope, cap.period), self._wall())
            book = begun if item is None else _book(key, item.value)
            if book is None:
                return True  # `killswitch spend` names it; no process spends from a book that it cannot read
            changed = change(book)
            if changed == book and item is not None:
                return True
            outcome = self._store.commit(
                (Compare(key, 0 if item is None else item.mod_revision),), (Put(key, to_document(changed)),)
            )
            if not isinstance(outcome, Lost):
                return True
        return False


def _book(key: str, value: bytes) -> Book | None:
    """The book, None if it cannot be read."""
    scope, _, word = key.removeprefix(keys.LEDGER).rpartition("/")
    try:
        return from_document(value, scope, Period(word))
    except (BadDocument, ValueError):
        return None


def is_ruled(store: Store, scope: str) -> bool:
    """Whether a rule file caps this scope. Raises as the store."""
    books = (_book(item.key, item.value) for item in store.list(keys.accounts(scope)).items)
    return any(book is None or book.ruled is not None for book in books)
