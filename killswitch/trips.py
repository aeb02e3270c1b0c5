"""Trips under way: decided, not yet committed. Retried every second until done or too old.

The flip never waits for anything but the flag store: no page, no other rollout's trip, no next cycle.
Evidence older than allowed is dropped here; the next cycle judges anew and, if it must, decides again.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from killswitch.errors import KillswitchError
from killswitch.stores import Compare
from killswitch.switch import Switch, TripOutcome, TripRequest, TripResult

log = logging.getLogger(__name__)
# a flip waits for etcd's disk, which writes several at once
PARALLEL = 16
# so long, in seconds, may what follows a flip wait for flips that are still to come
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
    began: float  # monotonic


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
        on_failure: Callable[[str, str], None],
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
        self._running: dict[str, Future[None]] = {}
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
            if self._closed:  # a cycle that was on its way when we were told to stop: another replica trips
                return
            before = self._pending.get(request.rollout)
            began = self._monotonic() if before is None else before.began
            self._pending[request.rollout] = _Pending(bound, decided_at, began)
            self._start(request.rollout)

    def retry(self) -> None:
        """Start an attempt for every pending trip that has none running. To be called every second."""
        with self._lock:
            self._running = {name: future for name, future in self._running.items() if not future.done()}
            for rollout in self._pending:
                self._start(rollout)

    def _start(self, rollout: str) -> None:
        running = self._running.get(rollout)
        if running is None or running.done():
            self._running[rollout] = self._pool.submit(self._attempt, rollout)

    def wait(self, seconds: float) -> None:
        """Until no attempt is running, at most ``seconds``."""
        with self._lock:
            running = list(self._running.values())
        wait(running, timeout=seconds)

    @property
    def under_way(self) -> dict[str, str]:
        """The rollouts whose trip is not committed yet, each with its reason."""
        with self._lock:
            return {rollout: pending.request.reason for rollout, pending in self._pending.items()}

    @property
    def come_first(self) -> bool:
        """Whether pages and the like should wait: a thousand flips at once need all there is of processor and store.

        Not for ever: where a flip cannot be made, what there is to tell must be told.
        """
        with self._lock:
            first = min((pending.began for pending in self._pending.values()), default=-math.inf)
        return self._monotonic() - first < FLIPS_FIRST

    def close(self) -> None:
        """Abandon what is not yet sent; finish what is."""
        with self._lock:
            self._closed = True
            self._pending.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _attempt(self, rollout: str) -> None:
        with self._lock:
            pending = self._pending.get(rollout)
        if pending is None:
            return
        try:
            result = self._switch.trip(pending.request)
        except KillswitchError as error:
            self._on_failure(rollout, str(error))
            if self._monotonic() - pending.decided_at > self._sendable_for:
                self._settle(rollout, pending, TripResult(TripOutcome.EXPIRED))
        except Exception as error:
            log.exception("tripping %s failed in a way nobody foresaw; it is retried", rollout)
            self._on_failure(rollout, repr(error))
        else:
            self._settle(rollout, pending, result)

    def _settle(self, rollout: str, pending: _Pending, result: TripResult) -> None:
        with self._lock:
            newest = self._pending.get(rollout)
            if newest is not pending and result.outcome in (TripOutcome.EXPIRED, TripOutcome.SUPERSEDED):
                return  # newer evidence has come meanwhile, perhaps about another generation
            if newest is None or newest.request.generation == pending.request.generation:
                self._pending.pop(rollout, None)
        try:
            self._on_settled(Settled(rollout, result, self._monotonic() - pending.decided_at))
        except Exception:  # the flip stands; a bug in what follows must not vanish with this thread's future
            log.exception("what follows the trip of %s failed in a way nobody foresaw", rollout)
