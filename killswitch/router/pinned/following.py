"""Keeps the newest pins of all roles: two threads that drive the pure laws of `killswitch.router.pinned.memory`.

- *watch* learns of a change within milliseconds, but proves nothing about the store.
- *re-read* asks each ten seconds, linearizably, what was written since its last read and how many roles there are. All
  roles are read only now and then, after a watch broke, and where the number differs: a thousand processes with a
  thousand roles would otherwise read 70 MB/s. It also notices when pins get old, and leaves reports of mismatches.

Neither calls an observer or writes to the log: `killswitch.router.observers` does, on other threads.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Mapping

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, BadDocument, KillswitchError, Unavailable
from killswitch.roles.role import Slot
from killswitch.router.background import READ_SPREAD, REREAD_EVERY, Background, elapsed
from killswitch.router.observers import Happening, ObserverLanes, ObserverOf
from killswitch.router.pinned import memory as laws
from killswitch.router.pinned.answered import Mismatches
from killswitch.router.pinned.memory import PinnedModels, RolesMemory, RolesPolicy, RolesRead, RolesState, pinned_at
from killswitch.router.pinned.mismatch_report import MismatchReporter
from killswitch.router.presence import new_id
from killswitch.stores import keys
from killswitch.stores.reader import Change, Connected, Disconnected, LeaseWriter, Reader, ReadView, Resync

_WHOLE_EVERY = 300.0  # seconds between reads of all roles, with a jitter of a fifth
_WHOLE_SPREAD = 30.0  # seconds over which processes read all roles after their watch broke
_LOOK = 10.0  # seconds; pins are looked at again at least this often (the machine may have slept)
_REPORT_RETRY = 30.0  # seconds until a failed report is tried again
_LOG_LEVELS = {RolesState.UNREAD: logging.INFO, RolesState.FOLLOWED: logging.INFO, RolesState.CLOSED: logging.INFO}


class RolesFollower(Background):
    """Follows all roles of one store. `current` may be read from any thread, without a lock, at any time.

    ``defaults``: models by role, in slot prod, before the first read. ``reports``: where the store takes them, this
    process's reports of ``mismatches``.
    """

    observers: ObserverLanes[PinnedModels]

    def __init__(
        self,
        reader: Reader,
        *,
        policy: RolesPolicy,
        defaults: Mapping[str, str],
        mismatches: Mismatches,
        reports: LeaseWriter | None = None,
        reread_every: float = REREAD_EVERY,
        observers: tuple[ObserverOf[PinnedModels], ...] = (),
        clock: Callable[[], float] = elapsed,
    ) -> None:
        super().__init__("roles", reader, reread_every=min(reread_every, policy.stale_grace / 3), clock=clock)
        self._policy = policy
        self._mismatches = mismatches
        self._reports = reports
        self._observers = observers
        self._memory = RolesMemory(defaults=dict(defaults))
        self._begin()
        self.current: PinnedModels = pinned_at(self._memory, policy, clock())

    # --- what a service calls

    def ask(self, slot: Slot, role: str) -> None:
        """Note that the service asks for this slot."""
        self._apply(lambda memory: laws.after_ask(memory, slot, role))

    def wait_until_read(self, timeout: float) -> bool:
        """Whether the store is read within ``timeout`` seconds, here or before the fork; False once closed."""
        if self._memory.fresh_at is None:
            self._first_read.wait(max(0.0, min(timeout, threading.TIMEOUT_MAX)))
        return self._memory.fresh_at is not None and self._memory.closed is None

    def close(self) -> None:
        """End the threads and withdraw the report. From here on no model is given."""
        self._stop()
        self._apply(lambda memory: laws.after_close(memory, "close() was called"))
        with contextlib.suppress(Exception):
            self._join()
            if self._reporter is not None:
                self._reporter.close()
            self._reader.close()
            self.observers.close(Deadline(1.0))

    @property
    def read_age(self) -> float | None:
        """Seconds since the last read that succeeded was sent; None before the first."""
        fresh_at = self._memory.fresh_at
        return None if fresh_at is None else max(0.0, self._clock() - fresh_at)

    @property
    def watching(self) -> bool:
        return self._watching

    @property
    def following(self) -> bool:
        """Whether the threads live."""
        return self._following

    @property
    def error(self) -> str | None:
        """What last went wrong, None while all is well."""
        return self._error

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each `Happening` happened."""
        return {str(what): count for what, count in self._counts.items()}

    def where(self) -> str:
        """The store, in words fit for a log."""
        return self._reader.describe()

    # --- processes and threads

    def _begin(self) -> None:
        super()._begin()
        self.process_id = new_id()
        self._lock = threading.Lock()
        self.observers = ObserverLanes("roles", self._observers)  # held during a fork
        self._whole_at = 0.0
        self._report_at = 0.0
        self._report_failed = False
        self._mismatches.begin()
        self._reporter = (
            MismatchReporter(self._mismatches, self._reports, self.process_id) if self._reports is not None else None
        )

    def _duties(self) -> Mapping[str, Callable[[], None]]:
        return {"watch": self._keep_watching, "re-read": self._keep_reading}

    def _cannot_start(self, why: str) -> None:
        self._apply(lambda memory: laws.after_close(memory, why))

    def _apply(self, learn: Callable[[RolesMemory], RolesMemory]) -> RolesMemory:
        """Replace memory and what the service reads, and inform observers; returns the memory before."""
        with self._lock:
            before = self._memory
            self._memory = learn(before)
            previous, snapshot = self.current, pinned_at(self._memory, self._policy, self._clock())
            if snapshot == previous:
                return before
            self.current = snapshot
            self.observers.show(snapshot)
        if snapshot.sentence != previous.sentence:
            level = logging.WARNING if snapshot.problems else _LOG_LEVELS.get(snapshot.state, logging.WARNING)
            self.observers.log(level, "%s", snapshot.sentence)
        for role in sorted(snapshot.problems.keys() - previous.problems.keys()):
            self._note(Happening.BAD_DOCUMENT)
            self.observers.log(logging.ERROR, "role %s is damaged: %s", role, snapshot.problems[role])
        return before

    # --- re-reading

    def _keep_reading(self) -> None:
        while not self._closed.is_set():
            self._apply(lambda memory: memory)  # time alone changes what pins are worth
            now = self._clock()
            if now >= self._read_at:
                self._read_at = math.inf  # a read that is wanted during this one is noted here
                pause = self._reread_every  # after an internal error too
                try:
                    pause = self._next_read_in(succeeded=self._read())
                finally:
                    self._read_at = min(self._read_at, now + pause)
                continue
            if now >= self._report_due_at():
                self._report()
            ends = laws.next_change(self._memory, self._policy, now)
            due = min(self._read_at, self._report_due_at(), ends, now + _LOOK)
            self._wake.wait(max(0.0, due - self._clock()))
            self._wake.clear()

    def _read(self) -> bool:
        """One linearizable read of what has changed, or of all roles; whether it succeeded."""
        now = self._clock()
        whole = self._memory.fresh_at is None or now >= self._whole_at or bool(self._memory.left_out)
        try:
            read = self._ask_store(whole=whole)
            if laws.misses_deletions(self._memory, read):
                read = self._ask_store(whole=True)
        except KillswitchError as error:
            self._note(Happening.READ_FAILED)
            if self._error is None:
                self.observers.log(logging.WARNING, "roles: they cannot be read, trying again: %s", error)
            self._error = str(error)
            return False
        if read.whole:
            self._whole_at = now + _WHOLE_EVERY * random.uniform(0.8, 1.2)  # noqa: S311  # no secret
        if read.set_back:
            self.observers.log(logging.WARNING, "roles: the store was set back, its pins of now are served")
        before = self._apply(lambda memory: laws.after_read(memory, read))
        self._note(Happening.READ)
        if self._error is not None:
            self.observers.log(logging.INFO, "roles: they can be read again")
        self._error = None
        self._check_watch(before, read)
        self._first_read.set()
        return True

    def _ask_store(self, *, whole: bool) -> RolesRead:
        memory, sent_at = self._memory, self._clock()
        known = memory.newest_revision
        after = 0 if whole else memory.read_revision
        view: ReadView = self._reader.read((), prefixes=(keys.ROLES,), counted=(keys.ROLES,), changed_after=after)
        return RolesRead(sent_at, known, view.items, view.revision, whole=whole, count=view.counts[keys.ROLES])

    def _check_watch(self, before: RolesMemory, read: RolesRead) -> None:
        """A watch that has not delivered what a read found may be dead: set it up again from the read."""
        if self._watch is not None and (read.set_back or self._memory.roles != before.roles):
            self._note(Happening.WATCH_MISSED)
            self._watch.restart(read.revision)

    # --- watching

    def _keep_watching(self) -> None:
        self._first_read.wait()
        if self._closed.is_set():
            return
        self._watch = watch = self._reader.watch(keys.ROLES, after=self._memory.read_revision, prefix=True)
        while not self._closed.is_set():
            try:
                for event in watch:
                    self._on_event(event)
            except Resync as error:
                self._watching = False
                self._note(Happening.WATCH_BROKE)
                self.observers.log(logging.INFO, "roles: %s", error)
                self._whole_at = 0.0
                while not self._closed.is_set() and not self._read():
                    self._closed.wait(random.uniform(0.5, 1.5))  # noqa: S311  # no secret
                watch.restart(self._memory.read_revision)

    def _on_event(self, event: Change | Connected | Disconnected) -> None:
        if isinstance(event, Change):
            self._apply(lambda memory: laws.after_change(memory, event))
            self._note(Happening.CHANGE)
        elif isinstance(event, Connected):
            # the store answers again; if its revision is older than ours, it lags or was restored
            if self._retries > 0 or event.revision < self._memory.newest_revision:
                self._read_soon(READ_SPREAD)
            self._watching = True
        else:
            if not event.quiet:  # a quiet one is set up again at once; no fault if no role has changed
                if self._watching:
                    self.observers.log(logging.INFO, "roles: the watch broke, setting it up again: %s", event.reason)
                self._note(Happening.WATCH_BROKE)
                # the store may have been restored from a backup since then
                spread = self._clock() + random.uniform(0.0, _WHOLE_SPREAD)  # noqa: S311  # no secret
                self._whole_at = min(self._whole_at, spread)
            self._watching = False

    # --- reporting mismatches

    def _report_due_at(self) -> float:
        # no report before the first read, or to a store that does not answer
        if self._reporter is None or self._retries > 0 or self._memory.fresh_at is None:
            return math.inf
        return self._reporter.due_at(self._report_at)

    def _report(self) -> None:
        assert self._reporter is not None
        now = self._clock()
        try:
            self._reporter.report(self.current.model, now, time.time())
        except (Unavailable, AccessDenied, BadDocument) as error:
            self._note(Happening.REPORT_FAILED)
            if not self._report_failed:
                self.observers.log(logging.WARNING, "roles: models that do not match cannot be reported: %s", error)
            self._report_failed = True
            self._report_at = now + _REPORT_RETRY
        else:
            self._report_failed = False
            self._report_at = now + self._reporter.pause
