"""Trips under way: decided, not yet committed. Retried every second until done or too old.

The flip never waits for anything but the flag store: no page, no other rollout's trip, no next cycle.
Evidence older than allowed is dropped here; the next cycle judges again and, if it must, decides again.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from killswitch.errors import KillswitchError
from killswitch.stores import Compare
from killswitch.trips.request import Alone, TripOutcome, TripRequest, TripResult
from killswitch.trips.switch import Switch

log = logging.getLogger(__name__)
# A flip waits for etcd's disk, which writes several at once.
PARALLEL = 8
# Flips in one transaction: about 400 kB, where a transaction may hold 1 MiB and 128 writes.
TOGETHER = 20
# Pages and the like wait for flips that are still to come, at most this many seconds.
FLIPS_FIRST = 5.0


@dataclass(frozen=True, slots=True)
class Settled:
    """A trip that is no longer under way. ``seconds`` from its tick to the answer."""

    rollout: str
    result: TripResult
    seconds: float


@dataclass(frozen=True, slots=True)
class _Pending:
    request: TripRequest
    decided_at: float  # monotonic, of the tick the evidence ends at
    drafted_at: float  # monotonic, of this request
    began: float  # monotonic, of the first request about this trip
    alone: Alone | None = None  # not to be tried together with others


class Trips:
    """Thread-safe. ``max_age`` and ``session_ttl`` in seconds; ``guard`` proves we were not asleep.

    A trip is only *sent* while its evidence is younger than ``max_age - session_ttl``: a process frozen
    after that check wakes up to a session that has ended, and the store refuses its transaction.
    """

    def __init__(
        self,
        switch: Switch,
        *,
        guard: Callable[[], Compare],
        doubt: Callable[[], None],
        monotonic: Callable[[], float],
        max_age: float,
        session_ttl: float,
        on_settled: Callable[[Settled], None],
        on_failure: Callable[[str, Exception], None],
    ) -> None:
        self._switch = switch
        self._guard = guard
        self._doubt = doubt
        self._monotonic = monotonic
        self._sendable_for = max_age - session_ttl
        self._on_settled = on_settled
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._pending: dict[str, _Pending] = {}
        self._waiting: dict[str, None] = {}  # for a thread, in this order
        self._running: set[str] = set()
        self._jobs: list[Future[None]] = []
        self._closed = False
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="trip")

    def submit(self, request: TripRequest, decided_at: float) -> None:
        """Begin, or renew with newer evidence. ``decided_at`` is the tick on the monotonic clock."""

        def still_valid() -> bool:
            return request.still_valid() and self._monotonic() - decided_at <= self._sendable_for

        def guards() -> tuple[Compare, ...] | None:
            further = request.guards()
            return None if further is None else (*further, self._guard())

        def lost() -> None:
            request.lost()
            self._doubt()

        bound = replace(request, still_valid=still_valid, guards=guards, lost=lost)
        with self._lock:
            if self._closed:  # a cycle was still running when we had to stop: another replica trips
                return
            before = self._pending.get(request.rollout)
            now = self._monotonic()
            began = now if before is None else before.began
            alone = None if before is None else before.alone
            self._pending[request.rollout] = _Pending(bound, decided_at, now, began, alone)
            self._start(request.rollout)

    def retry(self) -> None:
        """Start an attempt for every pending trip that has none running. To be called every second."""
        with self._lock:
            # here and not at each start: a thousand flips at once would look through a thousand jobs each
            self._jobs = [job for job in self._jobs if not job.done()]
            for rollout in self._pending:
                self._start(rollout)

    def _start(self, rollout: str) -> None:
        if rollout in self._running or rollout in self._waiting:
            return
        self._waiting[rollout] = None
        self._jobs.append(self._pool.submit(self._work))

    def wait(self, seconds: float) -> None:
        """Until no attempt is running, at most ``seconds`` for those of one moment."""
        while True:
            with self._lock:
                jobs = [job for job in self._jobs if not job.done()]
            if not jobs or wait(jobs, timeout=seconds).not_done:
                return

    @property
    def under_way(self) -> dict[str, str]:
        """The rollouts whose trip is not committed yet, each with its reason."""
        with self._lock:
            return {rollout: pending.request.draft.reason for rollout, pending in self._pending.items()}

    @property
    def come_first(self) -> bool:
        """Whether pages and the like should wait: a thousand flips at once can use all of the processor and the store.

        They wait at most `FLIPS_FIRST` seconds: where flips are stuck, people must still be paged.
        """
        with self._lock:
            first = min((pending.began for pending in self._pending.values()), default=-math.inf)
        return self._monotonic() - first < FLIPS_FIRST

    def close(self) -> None:
        """Abandon what is not yet sent; finish what is."""
        with self._lock:
            self._closed = True
            self._pending.clear()
        self._pool.shutdown()

    def _work(self) -> None:
        """What waits, as many together as may be; nothing where another thread has taken it."""
        with self._lock:
            batch = self._taken()
        if not batch:
            return
        try:
            self._attempt(batch)
        finally:
            with self._lock:
                self._running -= batch.keys()
                for rollout in batch:
                    pending = self._pending.get(rollout)
                    if pending is not None and pending.alone is not None and batch[rollout].alone is None:
                        self._start(rollout)  # at once: the common transaction failed because of one of them

    def _taken(self) -> dict[str, _Pending]:
        batch: dict[str, _Pending] = {}
        for rollout in list(self._waiting):
            pending = self._pending.get(rollout)
            if pending is not None and pending.alone is not None and batch:
                continue
            del self._waiting[rollout]
            if pending is None:
                continue
            batch[rollout] = pending
            self._running.add(rollout)
            if pending.alone is not None or len(batch) == TOGETHER:
                break
        return batch

    def _attempt(self, batch: Mapping[str, _Pending]) -> None:
        for (rollout, pending), result in zip(batch.items(), self._results(list(batch.values())), strict=True):
            if isinstance(result, TripResult):
                self._settle(rollout, pending, result)
            elif isinstance(result, Alone):
                self._to_be_tried_alone(rollout, pending, result)
            else:
                self._on_failure(rollout, result)
                known = isinstance(result, KillswitchError)
                if known and self._monotonic() - pending.decided_at > self._sendable_for:
                    self._settle(rollout, pending, TripResult(TripOutcome.EXPIRED))

    def _results(self, batch: Sequence[_Pending]) -> Sequence[TripResult | Alone | Exception]:
        try:
            if len(batch) > 1:
                return self._switch.trip_together([self._as_of_now(pending) for pending in batch])
            request, alone = self._as_of_now(batch[0]), batch[0].alone
            if alone is not None and alone.sent:
                return [self._switch.trip(request, sent=True)]
            return [self._switch.trip(request)]
        except KillswitchError as error:
            return [error]
        except Exception as error:
            names = ", ".join(pending.request.rollout for pending in batch)
            log.exception("tripping %s failed with an unexpected error; each is tried again alone", names)
            return [error] if len(batch) == 1 else [Alone()] * len(batch)

    def _as_of_now(self, pending: _Pending) -> TripRequest:
        """The request, its incident dated to this attempt: the store may have been silent since it was drafted."""
        request = pending.request
        return replace(request, draft=request.draft.after(self._monotonic() - pending.drafted_at))

    def _to_be_tried_alone(self, rollout: str, pending: _Pending, alone: Alone) -> None:
        with self._lock:
            newest = self._pending.get(rollout)
            if newest is not None:
                self._pending[rollout] = replace(newest, alone=alone if newest is pending else Alone())

    def _settle(self, rollout: str, pending: _Pending, result: TripResult) -> None:
        with self._lock:
            newest = self._pending.get(rollout)
            if newest is not pending and result.outcome in (TripOutcome.EXPIRED, TripOutcome.SUPERSEDED):
                return  # newer evidence has come meanwhile, perhaps about another generation
            if newest is None or newest.request.generation == pending.request.generation:
                self._pending.pop(rollout, None)
        try:
            self._on_settled(Settled(rollout, result, self._monotonic() - pending.decided_at))
        except Exception:  # the flip is made; a bug in what follows must not vanish with this thread's future
            log.exception("after the trip of %s: unexpected error", rollout)
