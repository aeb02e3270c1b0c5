"""Keeps both cohorts around each trip next to its incident: an hour before it, and ten minutes after.

What is remembered is written soon after the flip; when the ten minutes are over, it is completed from the metric store.
Nothing waits for it, and it may be missing: the incident itself has all that the trip rests on.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from killswitch.controller.past_windows import read_past
from killswitch.deadline import Deadline
from killswitch.errors import BadDocument, KillswitchError
from killswitch.flags.flag import Flag, drilled
from killswitch.model import Rollout
from killswitch.sources import Source
from killswitch.stores import Compare, Item, Put, Store, keys
from killswitch.timestamps import HOUR
from killswitch.trends.document import from_document, to_document
from killswitch.trends.memory import TrendMemory
from killswitch.trends.trend import RuleTrend, Span, Trend, merged

log = logging.getLogger(__name__)
BEFORE: Final = HOUR
AFTER: Final = 600.0
HEIRS_AFTER: Final = 60.0  # seconds after which another replica completes what the one that tripped has not
RECENT: Final = 2400.0  # seconds after a trip in which a picture of it is still made
WRITTEN_AT_ONCE: Final = 20
WITHIN: Final = 10.0
REST: Final = 60.0  # seconds after an error, such as a permission that is missing
_STEP: Final = Span.HOUR.step


@dataclass(slots=True)
class _Trip:
    """``at`` as the flag has it: a tick of the metric store's clock."""

    rollout: str
    generation: int
    at: float
    by: str
    rules: tuple[str, ...]
    written: bool = False
    rests_until: float = 0.0  # monotonic, after an error

    @property
    def since(self) -> float:
        return math.floor((self.at - BEFORE) / _STEP) * _STEP

    @property
    def until(self) -> float:
        return math.ceil((self.at + AFTER) / _STEP) * _STEP


class TripTrends:
    """Thread-safe. ``rollouts`` gives the rule files in force."""

    def __init__(
        self,
        store: Store,
        memory: TrendMemory,
        source: Source,
        *,
        controller_id: str,
        rollouts: Callable[[], Mapping[str, Rollout]],
        monotonic: Callable[[], float],
    ) -> None:
        self._store, self._memory, self._source = store, memory, source
        self._controller_id, self._rollouts, self._monotonic = controller_id, rollouts, monotonic
        self._lock = threading.Lock()
        self._trips: dict[tuple[str, int], _Trip] = {}
        self._done: set[tuple[str, int]] = set()
        self._tick = 0.0

    def notice(self, flags: Iterable[Flag], tick: float) -> None:
        """Take in all flags as the cycle at ``tick`` (Unix seconds) has read them."""
        fresh = {
            (flag.rollout, flag.generation): flag
            for flag in flags
            if flag.trip is not None and not flag.armed and not drilled(flag) and -RECENT < tick - flag.trip.at < RECENT
        }
        with self._lock:
            self._tick = tick
            self._done &= fresh.keys()
            for key, flag in fresh.items():
                if key not in self._trips and key not in self._done and flag.trip is not None:
                    trip = flag.trip
                    self._trips[key] = _Trip(flag.rollout, flag.generation, trip.at, trip.by, trip.rules)
            for key, one in list(self._trips.items()):
                # one that was re-armed or ended is completed all the same
                if abs(tick - one.at) >= RECENT:
                    del self._trips[key]

    def look(self) -> None:
        """Write what is new, and complete one trip that is old enough; to be called every second or so."""
        with self._lock:
            now = self._monotonic()
            tick, trips = self._tick, [one for one in self._trips.values() if now >= one.rests_until]
        for trip in [one for one in trips if not one.written][:WRITTEN_AT_ONCE]:
            self._try(trip, self._write, tick)
        due = (one for one in trips if one.written and tick >= one.until + self._patience(one))
        trip_due = next(due, None)
        if trip_due is not None:
            self._try(trip_due, self._complete, tick)

    def _patience(self, trip: _Trip) -> float:
        return 0.0 if trip.by == self._controller_id else HEIRS_AFTER

    def _try(self, trip: _Trip, write: Callable[[_Trip, float], None], tick: float) -> None:
        try:
            write(trip, tick)
        except KillswitchError as error:
            trip.rests_until = self._monotonic() + REST
            log.info("%s.%d: the course around its trip is not kept yet: %s", trip.rollout, trip.generation, error)

    def _write(self, trip: _Trip, tick: float) -> None:
        """What is remembered so far; the first replica's is kept."""
        until = min(trip.until, max(math.ceil(tick / _STEP) * _STEP, trip.since + _STEP))
        trend = self._memory.trend(trip.rollout, Span.HOUR, until, since=trip.since)
        if not trend.empty:
            key = keys.incident_trend(trip.rollout, trip.generation)
            self._store.commit((Compare(key, 0),), (Put(key, to_document(trend, trip.rules)),))
        trip.written = True

    def _complete(self, trip: _Trip, tick: float) -> None:  # noqa: ARG002  as `_write`
        """The whole time: what is stored and remembered, and where both have a gap, what the metric store has."""
        key = keys.incident_trend(trip.rollout, trip.generation)
        item = self._store.get(key)
        stored = _read(item, trip.rollout)
        if stored is None or stored.until < trip.until:
            trend = self._memory.trend(trip.rollout, Span.HOUR, trip.until, since=trip.since)
            past = self._past(trip)
            if past is None and self._tick < trip.at + RECENT / 2:
                trip.rests_until = self._monotonic() + REST  # the metric store may answer later
                return
            whole = merged(trip.rollout, trip.since, trip.until, _STEP, [stored, trend, past])
            if not whole.empty:
                revision = 0 if item is None else item.mod_revision
                self._store.commit((Compare(key, revision),), (Put(key, to_document(whole, trip.rules)),))
        with self._lock:
            self._trips.pop((trip.rollout, trip.generation), None)
            self._done.add((trip.rollout, trip.generation))

    def _past(self, trip: _Trip) -> Trend | None:
        rules = self._rollouts().get(trip.rollout)
        if rules is None:
            return Trend(trip.rollout, trip.since, trip.until, _STEP, (), ())
        count = round((trip.until - trip.since) / _STEP)
        ticks = [trip.since + _STEP * number for number in range(1, count + 1)]
        moments = read_past(self._source, rules, ticks, Deadline(WITHIN, self._monotonic))
        if moments is None:
            return None
        trends = tuple(RuleTrend(rule.name, rule.unit, tuple(at[rule.name] for at in moments)) for rule in rules.rules)
        return Trend(trip.rollout, trip.since, trip.until, _STEP, tuple(ticks), trends)


def _read(item: Item | None, rollout: str) -> Trend | None:
    try:
        return None if item is None else from_document(item.value, rollout=rollout)
    except BadDocument:
        return None
