"""Brings the caps of rule files into the ledger's books, where every process that spends finds them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from killswitch.errors import BadDocument
from killswitch.model import Rollout
from killswitch.spend.books import Book, from_document, to_document
from killswitch.spend.caps import Cap, Period
from killswitch.spend.rule_files import ledger_caps
from killswitch.stores import Compare, Item, Lost, Put, Snapshot, Store, keys
from killswitch.stores.limits import Part, portions

_TRIES: Final = 50  # each lost comparison is the progress of some process that spends


@dataclass(frozen=True, slots=True)
class _Said:
    rollout: str
    cap: Cap


@dataclass(frozen=True, slots=True)
class _Change:
    """What is to become of the book under ``key``; ``cap`` has its scope and period."""

    key: str
    cap: Cap
    change: Callable[[Book], Book]


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
        changes: list[_Change] = []
        for key, one in said.items():
            book = found.get(key)
            before = None if self._written is None else self._written.get(key)
            if one != before or (key not in found) or (book is not None and book.ruled is None):
                changes.append(_Change(key, one.cap, partial(Book.rule, rollout=one.rollout, cap=one.cap)))
        if said != self._written:
            changes += _lifted(found, said, rollouts.keys())
        if self._make(changes, books):
            self._written = said

    def give_up(self) -> None:
        """Without caps in any rule file there is nothing to write, and nothing to lift that we may see."""
        self._written = {}

    def _make(self, changes: Sequence[_Change], books: Snapshot) -> bool:
        """Whether all books are as they are to be; not where others kept changing one."""
        items = {item.key: item for item in books.items}
        done = True
        parts = (self._part(one, items.get(one.key)) for one in changes)
        for run in portions(part for part in parts if part is not None):
            outcome = self._store.commit(
                [compare for part in run for compare in part.compares], [write for part in run for write in part.writes]
            )
            if isinstance(outcome, Lost):
                for part in run:
                    done &= self._make_alone(part.subject)
        return done

    def _make_alone(self, one: _Change) -> bool:
        for _ in range(_TRIES):
            part = self._part(one, self._store.get(one.key))
            if part is None or not isinstance(self._store.commit(part.compares, part.writes), Lost):
                return True
        return False

    def _part(self, one: _Change, item: Item | None) -> Part[_Change] | None:
        """What is to be written; None where the book is as it is to be, or cannot be read."""
        begun = Book.begin(Cap(one.cap.scope, one.cap.period), self._wall())
        book = begun if item is None else _book(one.key, item.value)
        if book is None:
            return None  # `killswitch spend` names it; no process spends from a book that it cannot read
        changed = one.change(book)
        if changed == book and item is not None:
            return None
        compare = Compare(one.key, 0 if item is None else item.mod_revision)
        return Part(one, (compare,), (Put(one.key, to_document(changed)),))


def _lifted(
    found: Mapping[str, Book | None], said: Mapping[str, _Said], rollouts: Collection[str]
) -> Iterator[_Change]:
    for key, book in found.items():
        if book is not None and book.ruled is not None and book.ruled.rollout in rollouts and key not in said:
            yield _Change(key, Cap(book.scope, book.period), Book.lift)


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
