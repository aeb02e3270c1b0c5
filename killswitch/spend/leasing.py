"""Leases a process's blocks from the store: its own lease, and one compare-and-commit for each change of an account.

Every change compares the book, and the key that proves that its owner is alive: a process that was asleep past its
lease cannot change anything as the owner that it was. An owner's key is older than its first block, and never comes
back: an owner in a book whose key is not there is dead for good.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Final

from killswitch.errors import BadDocument, KillswitchError, OutcomeUnknown, Unavailable
from killswitch.spend import account as accounts
from killswitch.spend.account import Account
from killswitch.spend.blocks import Effect, Wish, fulfil
from killswitch.spend.books import Book, from_document, to_document
from killswitch.spend.caps import Cap, Period
from killswitch.spend.local_account import LocalAccount
from killswitch.spend.period_clock import TOLERANCE, clock_document
from killswitch.stores import Compare, Delete, Lease, Lost, Put, Store, keys

# Others change the same book at the same time; each lost comparison is somebody's progress.
_TRIES: Final = 200
# Seconds until the store is asked again for money that was not free: another process may have given some back.
DRY_FOR: Final = 1.0


class LeaseEnded(Exception):
    """Our lease has ended, so that we own nothing any more."""


class Leaser:
    """One process as an owner of blocks. For one thread; ``lock`` guards the local accounts.

    ``wall`` in Unix seconds, ``monotonic`` in seconds of the clock that the store measures leases with.
    """

    def __init__(
        self,
        store: Store,
        lock: AbstractContextManager[object],
        *,
        ttl: float,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._lock = lock
        self._ttl = ttl
        self._wall = wall
        self._monotonic = monotonic
        self._lease: Lease | None = None
        self._owner = ""
        self._told_ahead = 0.0
        self._alive = Compare("", 0)  # holds while our lease lives
        self._renew_at = 0.0
        self._stated: set[str] = set()
        self._known: dict[str, tuple[Book, int]] = {}
        self._living: frozenset[str] = frozenset()
        self._living_at = float("-inf")

    @property
    def good_until(self) -> float:
        """Monotonic seconds until which the lease surely lives."""
        return 0.0 if self._lease is None else self._lease.expires_at

    def renew(self) -> bool:
        """Keep the lease alive, or begin a new one; whether we are still the same owner. Raises as the store."""
        now = self._monotonic()
        if self._lease is not None and now < self._renew_at:
            return True
        renewed = None if self._lease is None else self._store.keep_alive(self._lease)
        if renewed is not None:
            self._lease, self._renew_at = renewed, now + self._ttl / 3
            return True
        self.forget()
        lease = self._store.grant(self._ttl)
        owner = _new_owner()
        key = keys.ledger_owner(owner)
        outcome = self._store.commit((Compare(key, 0),), (Put(key, b"{}", lease),))
        if isinstance(outcome, Lost):
            raise Unavailable("the ledger's lease ended before it was used; tried again")
        self._lease, self._renew_at = lease, now + self._ttl / 3
        self._owner, self._alive = owner, Compare(key, outcome.revision)
        self._told_ahead = 0.0
        return False

    def tell_clock(self, ahead: float) -> None:
        """Let `killswitch spend` say that our clock is ``ahead`` of the store's, in seconds; 0 where it is not.

        Raises as the store.
        """
        if self._lease is None or abs(ahead - self._told_ahead) <= TOLERANCE:
            return
        key = keys.ledger_clock(self._owner)
        write = Put(key, clock_document(ahead), self._lease) if ahead else Delete(key)
        if not isinstance(self._store.commit((self._alive,), (write,)), Lost):
            self._told_ahead = ahead

    def forget(self) -> None:
        """Own nothing any more; the next `renew` begins with a new name."""
        self._lease = None
        self._known.clear()

    def restate(self) -> None:
        """Write our caps once more with the next change of each book: we are the newest to state them."""
        self._stated.clear()
        self._known.clear()

    def newest(self, cap: Cap) -> float:
        """The begin of the newest period of this book: by our clock, or by whoever was ahead of it."""
        book, _ = self._read(cap)
        return book.advance(self._wall()).current.start

    def ruled(self, scope: str) -> Iterator[Cap]:
        """The accounts of a scope that a rule file caps, and those that cannot be read, as caps that state nothing."""
        for item in self._store.list(keys.accounts(scope)).items:
            word = item.key.removeprefix(keys.accounts(scope))
            if word not in tuple(Period):
                continue
            cap = Cap(scope, Period(word))
            try:
                is_ruled = from_document(item.value, scope, cap.period).ruled is not None
            except BadDocument:
                is_ruled = True  # not known: it is refused from until it is repaired
            if is_ruled:
                yield cap

    def sync(self, local: LocalAccount, *, returned: bool) -> Book | None:
        """Bring our block of an account to what the process needs, in one commit.

        With ``returned`` everything that is not reserved goes back. The book as it is then; None where our block is
        not there any more. Raises as the store, and LeaseEnded.
        """
        for _ in range(_TRIES):
            book, revision = self._read(local.cap)
            book = book.advance(local.start)
            account = book.account(local.start)
            if account is None or (local.size > 0 and self._owner not in account.blocks):
                return None
            with self._lock:
                made = local.unsure.get(account.block(self._owner).turn)
                if made is not None:
                    local.done(made)
                # a lowered cap, or a period that is over: nothing more is spent of it
                wish = local.wish(returned=returned or account.over or account is not book.current)
                local.turn += 1
                turn = local.turn
            account = self._reclaimed(account, urgent=wish.need > 0)
            account, effect = fulfil(account, self._owner, wish, turn)
            committed = self._commit_ours(local, book.replace(account), revision, wish, effect)
            if committed is not None:
                return committed
        raise Unavailable("other processes keep changing the same account; tried again")

    def is_stale(self, local: LocalAccount) -> bool:
        """Read the book again: whether its period is over, or its cap was lowered below what is spent and leased."""
        self._known.pop(keys.account(local.cap.scope, local.cap.period), None)
        book, _ = self._read(local.cap)
        return book.current.start != local.start or (book.current.over and local.room > 0)

    def charge(self, local: LocalAccount) -> None:
        """Charge what a block that is lost has spent beyond its mark. Raises as the store, and LeaseEnded.

        If an answer of the store was lost, the same may be charged twice: too much is counted rather than too little.
        """
        with self._lock:
            owed, overrun = local.owed, local.overrun
        for _ in range(_TRIES):
            book, revision = self._read(local.cap)
            account = book.account(local.start)
            if account is not None:
                account = accounts.charge(account, owed, overrun=overrun)
                if self._commit(book.replace(account), revision) is None:
                    continue
            with self._lock:
                local.room += owed
                local.overrun -= overrun
            return
        raise Unavailable("other processes keep changing the same account; tried again")

    def close(self) -> None:
        """End the lease; what is still leased returns, but for what is up to the marks."""
        lease, self._lease = self._lease, None
        if lease is not None:
            with suppress(KillswitchError):  # it ends by itself
                self._store.revoke(lease)

    # --- inner workings

    def _read(self, cap: Cap) -> tuple[Book, int]:
        """The book and its revision, with our caps if we have not stated them yet. Raises as the store."""
        key = keys.account(cap.scope, cap.period)
        known = self._known.get(key)
        if known is not None:
            return known
        item = self._store.get(key)
        if item is None:
            return Book.begin(cap, self._wall()), 0
        book = from_document(item.value, cap.scope, cap.period)
        found = (book if key in self._stated else book.state(cap), item.mod_revision)
        self._known[key] = found
        return found

    def _reclaimed(self, account: Account, *, urgent: bool) -> Account:
        """The account without the blocks of dead owners. ``urgent``: someone waits for what they may hold."""
        others = account.blocks.keys() - {self._owner}
        if not others:
            return account
        age = self._monotonic() - self._living_at
        if age > (DRY_FOR if urgent else self._ttl) or not others <= self._living:
            # read after the book, so that no owner in it is too young to be in the list
            self._living = frozenset(
                item.key.removeprefix(keys.LEDGER_OWNERS) for item in self._store.list(keys.LEDGER_OWNERS).items
            )
            self._living_at = self._monotonic()
        for owner in sorted(others - self._living):
            account = accounts.reclaim(account, owner)
        return account

    def _commit_ours(self, local: LocalAccount, book: Book, revision: int, wish: Wish, effect: Effect) -> Book | None:
        """Commit a change of our block, and say so to the local account; None where a comparison did not hold."""
        try:
            committed = self._commit(book, revision)
        except OutcomeUnknown:
            with self._lock:
                local.unsure[effect.turn] = effect
            raise
        except KillswitchError:
            with self._lock:
                local.not_done(wish)
            raise
        with self._lock:
            if committed is None:
                local.not_done(wish)
                return None
            local.done(effect)
            if not effect.met:
                local.dry_need, local.dry_until = wish.need, self._monotonic() + DRY_FOR
        return committed

    def _commit(self, book: Book, revision: int) -> Book | None:
        key = keys.account(book.scope, book.period)
        book = book.note(self._wall())
        self._known.pop(key, None)
        outcome = self._store.commit((Compare(key, revision), self._alive), (Put(key, to_document(book)),))
        if not isinstance(outcome, Lost):
            self._known[key] = (book, outcome.revision)
            self._stated.add(key)
            return book
        if self._store.get(self._alive.key) is None:
            self.forget()
            raise LeaseEnded
        return None


def _new_owner() -> str:
    """``<host>-<pid>-<random>``: a name that no process had before, fit for a key."""
    host = re.sub(r"[^a-zA-Z0-9.-]", "-", socket.gethostname())[:48]
    return f"{host}-{os.getpid()}-{secrets.token_hex(6)}"
