"""The ledger: one account of money for everything that asks a model on our bill, however many processes ask.

::

    with Ledger("etcd://etcd:2379", caps, PriceList.from_file("prices.yaml")) as ledger:
        shadow = ledger.for_scopes("shadow:support", "project:eval")
        reserved = shadow.reserve("gpt-5", input_tokens_at_most=1200, output_tokens_at_most=4000)
        if isinstance(reserved, Reservation):
            answer = ask(...)
            reserved.settle(answer.usage)

A thread of the ledger speaks to the store: it leases blocks, and writes what was spent. Whoever reserves only takes
from this process's block.

Caps that a rule file says for a scope are obeyed besides those that the process states, also for periods that it does
not state; the lower one is in force.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, Self

from killswitch.deadline import Deadline
from killswitch.errors import BadDocument, BadSettings, KillswitchError
from killswitch.net.credentials import TLS
from killswitch.spend.caps import Cap, checked_caps
from killswitch.spend.leasing import LeaseEnded, Leaser
from killswitch.spend.local_account import LocalAccount
from killswitch.spend.period_clock import PeriodClock, clocks_in_words
from killswitch.spend.prices import PriceList
from killswitch.spend.reservations import Desk, ScopedLedger
from killswitch.stores import Store, keys
from killswitch.stores.access import Access
from killswitch.stores.opening import open_store

_log = logging.getLogger(__name__)

TTL: Final = 15.0  # seconds after which the block of a process that has died returns
WAIT: Final = 0.5  # seconds that a reservation waits for a block
_STILL: Final = 3  # looks without any change after which the rest of a block is given back
_BACKOFF: Final = 0.5  # seconds between attempts while the store is away


class Ledger:
    """Reserves and settles money under caps. Safe from any thread; a forked child begins with no block.

    ``store``: a store's URL, or a function that opens one; it is opened once in each process. ``caps``: the newest
    writer's caps are in force, for every process. ``wait``: seconds that a reservation waits at most for a block.
    ``ttl``: seconds after which a dead process's block returns. ``background=False``: no thread is started, and
    `step` does the work. Raises BadSettings.
    """

    def __init__(
        self,
        store: str | Callable[[], Store],
        caps: Iterable[Cap],
        prices: PriceList,
        *,
        wait: float = WAIT,
        ttl: float = TTL,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        background: bool = True,
    ) -> None:
        self._open_store = partial(_opened, store) if isinstance(store, str) else store
        self._caps = {keys.account(cap.scope, cap.period): cap for cap in checked_caps(caps)}
        self._own = frozenset(self._caps)  # the others are those of rule files
        self._wait = wait
        self._ttl = ttl
        self._background = background
        self._clock = PeriodClock(wall, monotonic)
        self._clock_problem: str | None = None
        self._desk = Desk(prices, self._clock, monotonic)
        self._scoped: list[ScopedLedger] = []
        self._reset()
        _ledgers.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def problem(self) -> str | None:
        """Why the store, or one of its books, could not be used at the last attempt; None if all could."""
        return next(iter(self._desk.problems.values()), None)

    @property
    def clock_problem(self) -> str | None:
        """Why this process's clock is not trusted with the begin of a period; None if it agrees with the store's."""
        return self._clock_problem

    def for_scopes(self, *scopes: str, wait: float | None = None) -> ScopedLedger:
        """The ledger for requests that are charged to all of these scopes. Raises BadSettings for one without a cap."""
        missing = [scope for scope in scopes if not any(cap.scope == scope for cap in self._caps.values())]
        if missing or not scopes:
            problems = [f"no cap is stated for {scope!r:.120}; state one, if only a soft one" for scope in missing]
            raise BadSettings(problems or ["name at least one scope"])
        mine = tuple(key for key, cap in self._caps.items() if cap.scope in scopes)
        scoped = ScopedLedger(self._desk, scopes, mine, self._wait if wait is None else wait, self._begin)
        with self._desk.guard:
            self._scoped.append(scoped)
        self._begin()
        self._desk.wake.set()
        return scoped

    def state(self, caps: Iterable[Cap]) -> None:
        """State other caps for the same scopes and periods: they are in force for every process from now on.

        Raises BadSettings if a scope or period is missing or new; for these a new ledger is needed.
        """
        stated = {keys.account(cap.scope, cap.period): cap for cap in checked_caps(caps)}
        if stated.keys() != self._own:
            raise BadSettings(["caps may be changed, but not added or removed, while a ledger is open"])
        with self._desk.guard:
            self._caps = {**self._caps, **stated}
            self._restated = True
        self._desk.wake.set()

    def step(self) -> None:
        """One pass over all accounts: renew the lease, lease and return blocks, write what was spent.

        Raises nothing that a store raises: `problem` says it.
        """
        desk = self._desk
        problems: dict[str, str] = {}
        desk.wake.clear()
        try:
            self._pass(problems)
        except LeaseEnded:
            self._lose_everything()
            desk.wake.set()
        except KillswitchError as error:
            problems[""] = str(error)
        for key in problems.keys() - desk.problems.keys():
            _log.warning(
                "the ledger can lease no more money; what it has is spent until its lease ends: %s", problems[key]
            )
        with desk.guard:
            desk.problems = problems
            self._hand_out()
            for local in self._open.values():
                local.waiting = 0  # whoever still waits says so again
            desk.guard.notify_all()

    def close(self, timeout: float = 5.0) -> None:
        """Return what is not spent. What is reserved and not settled by now counts as spent."""
        atexit.unregister(self.close)
        desk = self._desk
        with desk.guard:
            already, desk.closing, desk.good_until = desk.closing, True, 0.0
            desk.guard.notify_all()
        if already:
            return
        deadline = Deadline(timeout)
        desk.wake.set()
        if self._thread is not None:
            self._thread.join(deadline.remaining())
            if self._thread.is_alive():
                return  # it waits for the store; the lease ends by itself
        try:
            self._settle_all(deadline)
        except (KillswitchError, LeaseEnded) as error:
            _log.warning("the ledger's blocks could not be returned, and return with their lease: %s", error)
        if self._leaser is not None:
            self._leaser.close()
        if self._store is not None:
            self._store.close()

    # --- inner workings; all but `_begin` on one thread

    def _reset(self) -> None:
        """As a process that has leased nothing."""
        self._store: Store | None = None
        self._leaser: Leaser | None = None
        self._thread: threading.Thread | None = None
        self._open: dict[str, LocalAccount] = {}
        self._ended: list[LocalAccount] = []  # periods that are over, and blocks that are lost
        self._look_at = 0.0
        self._restated = False
        for scoped in self._scoped:
            scoped.opened(())
            scoped.wanted = True

    def _begin(self) -> None:
        """Start the thread, if there is none in this process."""
        if not self._background or self._thread is not None:
            return
        with self._desk.guard:
            if self._thread is not None or self._desk.closing:
                return
            atexit.register(self.close)
            self._thread = threading.Thread(target=self._run, name="killswitch-ledger", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        desk = self._desk
        while not desk.closing:
            try:
                self.step()
            except Exception as error:  # noqa: BLE001  a bug must not leave the ledger without its thread
                _log.exception("the ledger failed; it tries again")
                desk.problems = {"": f"unexpected error: {error}"}
            if "" in desk.problems:
                time.sleep(_BACKOFF)
            else:
                desk.wake.wait(max(0.0, self._look_at - desk.monotonic()))

    def _pass(self, problems: dict[str, str]) -> None:
        """Add the problem of each book that cannot be read. Raises what is wrong with the store as a whole."""
        leaser = self._opened_leaser()
        desk = self._desk
        if not leaser.renew():
            self._lose_everything()
        self._look_at_the_clock(leaser)
        with desk.guard:
            desk.good_until = 0.0 if desk.closing else leaser.good_until
            restated, self._restated = self._restated, False
        if restated:
            leaser.restate()
        looking = desk.monotonic() >= self._look_at
        if looking:
            self._look_at = desk.monotonic() + self._ttl / 3
            self._adopt(leaser)
        with desk.guard:
            wanted = {key for scoped in self._scoped if scoped.wanted for key in scoped.keys}
        for key, cap in self._caps.items():
            try:
                self._keep(leaser, key, cap, wanted=key in wanted, looking=looking or restated)
            except BadDocument as error:
                problems[key] = f"{error}; repair or delete {key} in the store"
        self._finish_ended(leaser, looking=looking)

    def _look_at_the_clock(self, leaser: Leaser) -> None:
        """Before any period is begun: the store has just answered."""
        assert self._store is not None
        self._clock.note(self._store)
        ahead = self._clock.ahead
        leaser.tell_clock(ahead)
        if not ahead:
            self._clock_problem = None
        elif self._clock_problem is None:
            self._clock_problem = clocks_in_words(ahead)
            _log.warning("%s", self._clock_problem)

    def _adopt(self, leaser: Leaser) -> None:
        """Take over the accounts of our scopes that rule files cap and we do not."""
        scopes = {cap.scope for cap in self._caps.values()}
        found = {keys.account(cap.scope, cap.period): cap for scope in sorted(scopes) for cap in leaser.ruled(scope)}
        added = {key: cap for key, cap in found.items() if key not in self._caps}
        if not added:
            return
        with self._desk.guard:
            self._caps = {**self._caps, **added}
            for scoped in self._scoped:
                mine = tuple(key for key, cap in added.items() if cap.scope in scoped.scopes)
                scoped.keys += mine
                scoped.wanted = scoped.wanted or bool(mine)
            self._hand_out()

    def _keep(self, leaser: Leaser, key: str, cap: Cap, *, wanted: bool, looking: bool) -> None:
        """Keep one account as this process needs it."""
        desk = self._desk
        local = self._open.get(key)
        if local is not None and desk.wall() >= local.end:
            self._end(key, local)
            local = None
        if local is None:
            if not wanted:
                return
            local = LocalAccount(cap, leaser.newest(cap))
            with desk.guard:
                self._open[key] = local
                self._hand_out()  # so that it learns how large reservations are
                local.waiting = local.most_asked
            due, idle = True, False
        else:
            local.cap = cap
            due, idle = self._is_due(leaser, local, looking=looking)
        if not due:
            return
        book = leaser.sync(local, returned=idle)
        if book is None:
            self._end(key, local, lost=True)
        elif book.current.start != local.start:
            self._end(key, local)
            desk.wake.set()  # a newer period was begun by somebody else

    def _is_due(self, leaser: Leaser, local: LocalAccount, *, looking: bool) -> tuple[bool, bool]:
        """Whether the store must be asked about this account, and whether its rest is to be returned."""
        with self._desk.guard:
            short = local.waiting > local.room or local.room < local.low
            if not looking:
                return short, False
            local.still = 0 if local.moved() else local.still + 1
            idle = local.still >= _STILL and not short
            due = short or local.settled > 0 or (idle and local.room > 0)
            leased = local.size > 0
        return due or (leased and leaser.is_stale(local)), idle

    def _end(self, key: str, local: LocalAccount, *, lost: bool = False) -> None:
        """Nothing more is reserved of this account."""
        with self._desk.guard:
            self._open.pop(key, None)
            self._ended.append(local)
            local.lost = local.lost or lost
            self._hand_out()

    def _lose_everything(self) -> None:
        """The lease may have ended: the store counts our blocks as spent up to their marks."""
        for key, local in tuple(self._open.items()):
            self._end(key, local)
        with self._desk.guard:
            self._desk.good_until = 0.0
            for local in self._ended:
                local.lost = True

    def _finish_ended(self, leaser: Leaser, *, looking: bool) -> None:
        """Write what was settled since in accounts that have ended, and forget those with nothing under way."""
        for local in tuple(self._ended):
            with self._desk.guard:
                under_way, owed = local.reserved > 0, local.owed > 0
                due = local.settled > 0 or local.room > 0
            # the account is closed for good once the next period is over, too
            over = self._desk.wall() >= local.cap.period.end(local.end)
            if local.lost and owed:
                leaser.charge(local)
            elif not local.lost and due and (looking or not under_way):
                local.lost = leaser.sync(local, returned=True) is None
            if over or not under_way:
                self._ended.remove(local)

    def _settle_all(self, deadline: Deadline) -> None:
        if self._leaser is None:
            return
        for local in (*self._open.values(), *self._ended):
            with self._desk.guard:
                local.settled += max(0, local.reserved)
                lost, owed = local.lost, local.owed > 0
            if deadline.expired:
                return
            if not lost:
                self._leaser.sync(local, returned=True)
            elif owed:
                self._leaser.charge(local)

    def _hand_out(self) -> None:
        """Give each scoped ledger its accounts, if all are open. Under the guard."""
        for scoped in self._scoped:
            found = tuple(self._open[key] for key in scoped.keys if key in self._open)
            complete = len(found) == len(scoped.keys)
            scoped.opened(found if complete else ())
            scoped.wanted = scoped.wanted and not complete

    def _opened_leaser(self) -> Leaser:
        if self._leaser is None:
            desk = self._desk
            self._store = self._open_store()
            self._leaser = Leaser(self._store, desk.guard, ttl=self._ttl, wall=desk.wall, monotonic=desk.monotonic)
        return self._leaser

    def _after_fork(self) -> None:
        """In a child: its parent's blocks, lease and connection are the parent's."""
        self._desk.after_fork()
        self._reset()


def _opened(url: str) -> Store:
    access = Access.from_environment()
    tls = access.tls if access.tls != TLS() else None
    return open_store(url, tls=tls, user=access.user, password=access.password)


_ledgers: weakref.WeakSet[Ledger] = weakref.WeakSet()


def _go_on_in_child() -> None:
    for ledger in tuple(_ledgers):
        ledger._after_fork()  # noqa: SLF001  the class's own hook


os.register_at_fork(after_in_child=_go_on_in_child)
