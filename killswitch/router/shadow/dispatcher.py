"""Takes sampled requests from the queue, decides which are asked now, watches the time of the calls, and counts.

One turn after another, on one thread (`killswitch.router.shadow.mirror`). A turn waits for no disk and no network.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

from killswitch.model import Cohort
from killswitch.router.lock_free_count import LockFreeCount
from killswitch.router.outcomes import Outcome
from killswitch.router.route_types import ShadowSplit
from killswitch.router.shadow.asking import Finished, Kind
from killswitch.router.shadow.call import PREPARING, CallSettings, Counted, Sampled, ShadowCall
from killswitch.router.shadow.drops import Drop, Drops
from killswitch.router.shadow.lanes import CallLane
from killswitch.router.shadow.pressure import Pressure
from killswitch.router.shadow.raw_pair import Dropped
from killswitch.router.shadow.sampling import asks_control_again

LATE = 60.0  # seconds in the queue after which the two answers are of different times
DROPS_EVERY = 60.0  # seconds between entries of `Dropped`
_COMPARABLE = frozenset({Outcome.OK.value, Outcome.REFUSED.value})

log = logging.getLogger(__name__)


# What `Shadow.offer` appends: the request, what was obeyed, its hash, seconds on the shadow's clock, and about how many
# bytes it keeps. A plain tuple: making one of named fields would cost the request's path 0.2 microseconds.
Offered = tuple[Finished, ShadowSplit, bytes, float, int]


class Counting(Protocol):
    """Where pairs and drops are counted; `killswitch.router.shadow.shadow_metrics`."""

    def dropped(self, reason: Drop, number: int) -> None: ...
    def recorded(self, counted: Counted) -> None: ...


class Dispatcher:
    """The turns of one `Shadow`. ``most_hung``: calls that hang before the shadow stops asking."""

    def __init__(
        self,
        queue: deque[Offered],
        *,
        settings: CallSettings,
        lane: CallLane,
        drops: Drops,
        limited: LockFreeCount,
        pressure: Pressure,
        counting: Counting,
        noise: float,
        most_hung: int,
        write_drops: Callable[[Dropped], None],
        calendar: Callable[[], float],
    ) -> None:
        self._queue = queue
        self._settings = settings
        self.lane = lane
        self._drops = drops
        self._limited = limited
        self._pressure = pressure
        self._counting = counting
        self._noise = noise
        self._most_hung = most_hung
        self._write_drops = write_drops
        self._calendar = calendar
        self.results: deque[Counted] = deque()
        self._waiting: deque[ShadowCall] = deque()  # second calls of requests whose first has begun
        self._rests_until = float("-inf")  # the canary's quota is used up
        self._unwritten: Counter[Drop] = Counter()
        self._minute = calendar()
        self._said = ""
        self.lost = 0  # in shutting down

    def turn(self) -> None:
        now = self._settings.clock()
        self._watch_the_time(now)
        self._count(now)
        if self._limited.take():
            self._pressure.limited(now)
        self._hand_out(now)
        self._count_drops()

    def idle(self) -> bool:
        return not (self._queue or self._waiting or self.lane.running())

    def give_up_all(self) -> None:
        """At the end: what waits, and what still runs, is lost and counted."""
        for call in (*self._waiting, *self.lane.running()):
            call.give_back(Drop.SHUTTING_DOWN)
        self._waiting.clear()
        while self._queue:
            self._queue.popleft()
            self._drops.add(Drop.SHUTTING_DOWN)
        self._count(self._settings.clock())
        self._count_drops(at_once=True)

    def _watch_the_time(self, now: float) -> None:
        for call in self.lane.running():
            if now >= call.deadline and call.give_up(now):
                self.lane.abandon(call)

    def _count(self, now: float) -> None:
        while self.results:
            counted = self.results.popleft()
            self._counting.recorded(counted)
            if counted.rest is None:
                continue
            if counted.kind == "noise":
                self._pressure.limited(now)  # it is control's model that has no quota
            else:
                self._rests_until = max(self._rests_until, now + counted.rest)

    def _hand_out(self, now: float) -> None:
        # a second call belongs to a pair that has begun: it goes first
        while self._waiting and self.lane.free() > 0:
            self._start_call(self._waiting.popleft(), now)
        while self._queue:
            why = self._rest(now) or self._turned_off()
            if why is None and self.lane.free() <= 0:
                break
            try:
                offered = self._queue.popleft()
            except IndexError:
                break
            self._pressure.read(offered[0].control_headers, now)
            why = self._turned_off() or self._refusal(offered, now) or self._rest(now)
            if why is None:
                self._start(offered, now)
            else:
                self._drops.add(why)
        self._say(now)

    def _rest(self, now: float) -> Drop | None:
        """Why nothing is asked now."""
        if self.lane.hung() >= self._most_hung:
            return Drop.STUCK
        if self._pressure.rests(now):
            return Drop.PRESSURE
        return Drop.BUDGET if now < self._rests_until else None

    def _turned_off(self) -> Drop | None:
        return None if self._settings.current().canary else Drop.TURNED_OFF

    def _refusal(self, offered: Offered, now: float) -> Drop | None:
        """Why this one is not asked."""
        finished, split, _, at, _ = offered
        if finished.served_outcome not in _COMPARABLE or finished.route.cohort != Cohort.CONTROL:
            return Drop.NOT_COMPARABLE
        if finished.side_effects:
            return Drop.SIDE_EFFECTS
        if not finished.request_id:  # all requests without an id would be sampled, or none
            return Drop.UNIDENTIFIED
        if self._settings.current().generation != split.generation:
            return Drop.TURNED_OFF
        return Drop.LATE if now - at > LATE else None

    def _start(self, offered: Offered, now: float) -> None:
        finished, split, digest, at, _ = offered
        sampled = Sampled(finished, split, at, self._settings)
        kinds: tuple[Kind, ...] = ("candidate",)
        if asks_control_again(digest, self._noise):
            kinds = ("candidate", "noise")
        for kind in kinds:
            call = ShadowCall(sampled, kind, self._settings)
            if self.lane.free() > 0:
                self._start_call(call, now)
            else:
                self._waiting.append(call)

    def _start_call(self, call: ShadowCall, now: float) -> None:
        call.deadline = now + PREPARING
        self.lane.start(call)

    def _count_drops(self, *, at_once: bool = False) -> None:
        new = self._drops.take()
        for reason, number in new.items():
            self._counting.dropped(reason, number)
        self.lost += new[Drop.SHUTTING_DOWN]
        del new[Drop.NOISE]  # a metric alone: what is written is the denominator of the sampled requests
        self._unwritten.update(new)
        now = self._calendar()
        if not at_once and 0 <= now - self._minute < DROPS_EVERY:
            return
        if self._unwritten:
            reasons = {reason.value: number for reason, number in self._unwritten.items()}
            self._write_drops(Dropped(self._settings.rollout, self._minute, reasons))
            self._unwritten.clear()
        self._minute = now

    def _say(self, now: float) -> None:
        """Log that the shadow rests, and that it goes on: once each."""
        why = self._rest(now)
        sentence = ""
        if why is Drop.STUCK:
            sentence = f"{self.lane.hung()} calls hang; give `ask` a timeout of its own"
        elif why is Drop.PRESSURE:
            sentence = self._pressure.sentence
        elif why is Drop.BUDGET:
            sentence = "the provider refused a call for money or quota"
        if bool(sentence) != bool(self._said):
            log.warning("shadow of %s: %s", self._settings.rollout, sentence or "asks again")
        self._said = sentence
