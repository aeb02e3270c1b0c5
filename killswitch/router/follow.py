"""Keeps the newest snapshot: three threads that drive the pure state machine of `killswitch.router.failsafe`.

- *watch* learns of a change within milliseconds, but proves nothing about the store.
- *re-read* reads every ten seconds, linearizably. It proves that the store answers, finds a watch that died without a
  sign, and reports what this router has acted on.
- *clock* does no I/O, so nothing that hangs can postpone the moment at which an armed flag is no longer trusted.

None of them calls an observer or writes to the log: `killswitch.router.observers` does, on other threads. No fork
happens while observers are called: in the child, their locks would be held for ever by a thread that does not exist
there.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, BadDocument, KillswitchError, Unavailable
from killswitch.flags.flag import check_rollout_name
from killswitch.router import failsafe
from killswitch.router.background import READ_SPREAD, REREAD_EVERY, Background, elapsed
from killswitch.router.failsafe import LinearizableRead, Memory, RouterState, StalePolicy, control_after_of
from killswitch.router.health import Health
from killswitch.router.observers import Happening, Observer, Observers
from killswitch.router.presence import Reporter, new_id
from killswitch.router.snapshot import ObeyedFlag, build
from killswitch.stores import keys
from killswitch.stores.access import Access
from killswitch.stores.reader import Change, Connected, Disconnected, LeaseWriter, Reader, Resync
from killswitch.stores.reader_opening import open_reader

_REPORT_AFTER = (0.5, 2.5)  # seconds from a change to its report, drawn at random
_LOOK_FOR_REPORTS = 2.0  # seconds between checks for something to report
_REPORT_RETRY = 30.0  # seconds until a failed report is tried again
_FIVE_MINUTES: Final[Mapping[str, object]] = {"control_after": "5m"}
_CLOCK_STEP = 10.0  # seconds; an armed flag is re-judged at least this often (the machine may have slept)


def follow(
    rollout: str,
    store: str,
    *,
    control: str = "",
    stale_grace: float = 60.0,
    stale_jitter: float = 30.0,
    when_unwatched: str | Mapping[str, object] = _FIVE_MINUTES,
    access: Access | None = None,
    report: bool = True,
    observers: tuple[Observer, ...] = (),
) -> Follower:
    """A follower of ``rollout``'s flag in the store that the URL ``store`` names, started.

    ``control``: the model to route to before the flag was ever read. ``stale_grace``, ``stale_jitter``: seconds, see
    `StalePolicy`. ``when_unwatched``: ``"hold"`` or ``{"control_after": "5m"}``. ``access``: how etcd lets us in, by
    default from the environment (`Access.from_environment`). ``report``: whether to report the revision acted on, where
    the store takes reports. Raises BadSettings, or BadDocument for a name that is no rollout's.
    """
    policy = StalePolicy(
        stale_grace=stale_grace, stale_jitter=stale_jitter, control_after=control_after_of(when_unwatched)
    )
    reader = open_reader(store, access)
    follower = Follower(
        rollout,
        reader,
        policy=policy,
        control_model=control,
        reread_every=_reread_every(policy),
        reports=reader if report and isinstance(reader, LeaseWriter) else None,
        observers=observers,
    )
    follower.start()
    return follower


def _reread_every(policy: StalePolicy) -> float:
    """Often enough that one or two lost reads do not end a short grace while all is well."""
    return min(REREAD_EVERY, policy.stale_grace / 3, (policy.control_after or math.inf) / 3)


class Follower(Background):
    """Follows one rollout's flag. `current` may be read from any thread, without a lock, at any time.

    ``control_model`` is the name to route to before the flag was ever read. ``reports``: where the store takes
    them, this router's reports. ``policy.spread`` is drawn at random in every process.
    """

    observers: Observers

    def __init__(
        self,
        rollout: str,
        reader: Reader,
        *,
        policy: StalePolicy | None = None,
        control_model: str = "",
        reread_every: float = REREAD_EVERY,
        reports: LeaseWriter | None = None,
        observers: tuple[Observer, ...] = (),
        clock: Callable[[], float] = elapsed,
    ) -> None:
        self.rollout = check_rollout_name(rollout)
        super().__init__(rollout, reader, reread_every=reread_every, clock=clock)
        self._policy = policy if policy is not None else StalePolicy()
        self._reports = reports
        self._observers = observers
        self._memory = Memory(rollout, control_model)
        self._controllers: int | None = None
        self._begin()
        self.current: ObeyedFlag = build(self._memory, self._policy, clock())

    # --- what a service calls

    def close(self) -> None:
        """End the threads and withdraw the report. Then everyone goes to control, because no trip would be seen."""
        self._stop()
        self._apply(lambda memory: failsafe.after_close(memory, "closed"))
        self._tick.set()
        with contextlib.suppress(Exception):
            self._join()
            if self._reporter is not None:
                self._reporter.close()
            self._reader.close()
            self.observers.close(Deadline(1.0))

    def wait_until_read(self, timeout: float) -> bool:
        """Whether the store is read within ``timeout`` seconds, here or before the fork; False once closed."""
        if self._memory.fresh_at is None:
            self._first_read.wait(max(0.0, min(timeout, threading.TIMEOUT_MAX)))
        return self._memory.fresh_at is not None and self._memory.closed is None

    def health(self) -> Health:
        snapshot, memory = self.current, self._memory
        return Health(
            rollout=self.rollout,
            standing=snapshot.standing,
            sentence=snapshot.sentence,
            canary_percent=snapshot.canary_percent,
            generation=snapshot.generation,
            revision=snapshot.revision,
            stale=snapshot.stale,
            read_age=None if memory.fresh_at is None else max(0.0, self._clock() - memory.fresh_at),
            controllers=self._controllers,
            watching=self._watching,
            reporting=self._reported,
            router_id=self.router_id,
            store=self._reader.describe(),
            error=self._error,
            following=self._following,
            counts={str(what): count for what, count in self._counts.items()},
        )

    # --- processes and threads

    def _begin(self) -> None:
        super()._begin()
        self.router_id = new_id()
        self._policy = replace(self._policy, spread=random.random())  # noqa: S311  # no secret
        self._lock = threading.Lock()
        self.observers = Observers(self.rollout, self._observers)  # held during a fork
        self._tick = threading.Event()
        self._tick_at = 0.0
        self._report_at = 0.0
        self._acted_at = self._clock()
        self._reported = False
        self._reporter = Reporter(self.rollout, self._reports, self.router_id) if self._reports is not None else None

    def _duties(self) -> Mapping[str, Callable[[], None]]:
        return {"watch": self._keep_watching, "re-read": self._keep_reading, "clock": self._keep_time}

    def _cannot_start(self, why: str) -> None:
        self._apply(lambda memory: failsafe.after_close(memory, why))

    # --- the clock

    def _keep_time(self) -> None:
        while not self._closed.is_set():
            self._tick.clear()
            self._apply(lambda memory: memory)
            self._tick_at = min(self._next_change(), self._clock() + _CLOCK_STEP)
            self._tick.wait(max(0.0, self._tick_at - self._clock()))

    def _next_change(self) -> float:
        due = failsafe.next_change(self._memory, self._policy, self._clock())
        return math.inf if due is None else due

    def _apply(self, learn: Callable[[Memory], Memory]) -> Memory:
        """Replace memory and snapshot, and inform observers; returns the memory before."""
        with self._lock:
            before = self._memory
            self._memory = learn(before)
            if self._next_change() < self._tick_at:
                self._tick.set()
            snapshot = build(self._memory, self._policy, self._clock())
            previous = self.current
            if snapshot == previous:
                return before
            self.current = snapshot
            self.observers.settled(previous, snapshot)
        self._acted_at = self._clock()
        # no thread is woken for the report: a thousand routers act first, then report
        self._report_at = self._clock() + random.uniform(*_REPORT_AFTER)  # noqa: S311  # no secret
        if snapshot.standing is RouterState.CORRUPT:
            self._note(Happening.BAD_DOCUMENT)
        return before

    def _distrust(self, problem: str) -> None:
        self._error = problem
        self._apply(lambda memory: failsafe.after_garbage(memory, problem))

    # --- re-reading

    def _keep_reading(self) -> None:
        while not self._closed.is_set():
            now = self._clock()
            if now >= self._read_at:
                self._read_at = math.inf  # a read wanted meanwhile is noted here
                pause = self._reread_every  # after an internal error too
                try:
                    pause = self._next_read_in(succeeded=self._read())
                finally:
                    self._read_at = min(self._read_at, now + pause)
            due = min(self._read_at, self._report_due_at())
            if due > self._clock():
                self._wake.wait(min(due - self._clock(), _LOOK_FOR_REPORTS))
                self._wake.clear()
            elif due < self._read_at:
                self._report()

    def _read(self) -> bool:
        """One linearizable read of the flag and of the controllers' number; whether it succeeded."""
        name = keys.flag(self.rollout)
        sees_controllers = self._reader.sees_controllers
        known_revision, sent_at = self._memory.revision, self._clock()
        try:
            view = self._reader.read((name,), counted=(keys.CONTROLLERS,) if sees_controllers else ())
        except BadDocument as error:
            self._note(Happening.READ_FAILED)
            self._distrust(str(error))
            return False
        except KillswitchError as error:
            self._note(Happening.READ_FAILED)
            if self._error is None:
                self.observers.log(
                    logging.WARNING, "%s: the flag cannot be read, trying again: %s", self.rollout, error
                )
            self._error = str(error)
            return False
        item = view.items.get(name)
        self._controllers = view.counts.get(keys.CONTROLLERS) if sees_controllers else None
        read = LinearizableRead(sent_at, known_revision, item, view.revision, self._controllers)
        before = self._apply(lambda memory: failsafe.after_read(memory, read))
        self._note(Happening.READ)
        if self._error is not None:
            self.observers.log(logging.INFO, "%s: the flag can be read again", self.rollout)
        self._error = None
        self._check_watch(before)
        self._first_read.set()
        return True

    def _check_watch(self, before: Memory) -> None:
        """A watch that has not delivered what a read found may be dead: set it up again from the read."""
        after = self._memory
        if self._watch is not None and (after.changed_at != before.changed_at or after.revision < before.revision):
            self._note(Happening.WATCH_MISSED)
            self._watch.restart(after.revision)

    # --- watching

    def _keep_watching(self) -> None:
        self._first_read.wait()
        if self._closed.is_set():
            return
        self._watch = watch = self._reader.watch(keys.flag(self.rollout), after=self._memory.revision)
        while not self._closed.is_set():
            try:
                for event in watch:
                    self._on_event(event)
            except Resync as error:
                self._watching = False
                self._note(Happening.WATCH_BROKE)
                self.observers.log(logging.INFO, "%s: %s", self.rollout, error)
                while not self._closed.is_set() and not self._read():
                    self._closed.wait(random.uniform(0.5, 1.5))  # noqa: S311  # no secret
                watch.restart(self._memory.revision)

    def _on_event(self, event: Change | Connected | Disconnected) -> None:
        if isinstance(event, Change):
            self._apply(lambda memory: failsafe.after_change(memory, event))
            self._note(Happening.CHANGE)
        elif isinstance(event, Connected):
            # the store answers again; if its revision is older than ours, it lags or was restored
            if self._retries > 0 or event.revision < self._memory.revision:
                self._read_soon(READ_SPREAD)
            self._watching = True
        elif event.quiet:
            self._watching = False  # until it is set up again, at once; no fault if the flag has not changed
        else:
            if self._watching:
                self.observers.log(
                    logging.INFO, "%s: the watch broke, setting it up again: %s", self.rollout, event.reason
                )
            self._watching = False
            self._note(Happening.WATCH_BROKE)

    # --- reporting

    def _report_due_at(self) -> float:
        # no report before the first read, or to a store that does not answer
        if self._reporter is None or self._retries > 0 or self._memory.fresh_at is None:
            return math.inf
        return self._reporter.due_at(self.current, self._report_at)

    def _report(self) -> None:
        assert self._reporter is not None
        now = self._clock()
        try:
            self._reporter.report(self.current, now, time.time(), acted_at=self._acted_at)
        except (Unavailable, AccessDenied, BadDocument) as error:
            self._note(Happening.REPORT_FAILED)
            if self._reported or self._counts[Happening.REPORT_FAILED] == 1:
                self.observers.log(
                    logging.WARNING, "%s: this router cannot report what it obeys: %s", self.rollout, error
                )
            self._reported = False
            self._report_at = now + _REPORT_RETRY
        else:
            self._reported = True
