"""The mirror: keeps a route's weights as the flag says, and reports as a router that has followed.

It obeys the flag as a router of the SDK does, with the same fail-safe: unsure, everyone goes to control. While it is
unsure it lowers the canary once, and then leaves the route to replicas that know more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from killswitch.errors import KillswitchError
from killswitch.gateway.routes import Changed
from killswitch.gateway.weights import Pair, Turn, Wanted, turn, wanted_of
from killswitch.router.snapshot import ObeyedFlag

log = logging.getLogger(__name__)
ATTEMPTS = 5  # others change the route too: its controller writes status, people edit it
LEAVING = 12.0  # seconds; with a last call of 14 it still ends within the 30 s that Kubernetes gives a pod
_PAUSE = 1.0  # seconds


class WrittenRoute(Protocol):
    """`killswitch.gateway.routes.WeightedRoute`."""

    def read(self) -> Mapping[str, Any]: ...
    def patch(self, changes: Sequence[Mapping[str, Any]]) -> None: ...


@dataclass(frozen=True, slots=True)
class MirrorState:
    """What the newest pass found. ``percent``: what the route gives the canary, None where that is not known.

    ``reached``: whether the route is as the flag wants it; ``problem``: why not, or why it is not known.
    """

    percent: float | None
    reached: bool
    problem: str = ""


class Mirroring:
    """One flag, one route. ``current`` gives what is obeyed; ``report`` is told what the route does, once it does it.

    ``report`` may raise what the store raises. For one thread.
    """

    def __init__(
        self,
        rollout: str,
        route: WrittenRoute,
        pair: Pair,
        *,
        current: Callable[[], ObeyedFlag],
        report: Callable[[ObeyedFlag], None],
    ) -> None:
        self._rollout = rollout
        self._route = route
        self._pair = pair
        self._current = current
        self._report = report
        self._lowered_unsure: Wanted | None = None
        self._said = ""

    def once(self) -> MirrorState:
        """One pass: read the route, change it where it must be, report. Never raises an error of ours."""
        snapshot = self._current()
        wanted = wanted_of(self._rollout, snapshot)
        if wanted.sure:
            self._lowered_unsure = None
        elif self._lowered_unsure == wanted:
            return MirrorState(0.0, False, f"unsure, so the canary was lowered: {snapshot.sentence}")
        try:
            done = self._turned(wanted)
        except KillswitchError as error:
            self._say(logging.ERROR, f"{self._rollout}: the route is not as the flag says: {error}")
            return MirrorState(None, False, str(error))
        if not wanted.sure:
            self._lowered_unsure = wanted
        if done.said:
            self._say(logging.WARNING, f"{self._rollout}: the canary stays at {done.percent:g}%: {done.said}")
        else:
            self._said = ""
        self._told(replace(snapshot, canary_percent=done.percent))
        return MirrorState(done.percent, done.reached, done.said)

    def leave(self, clock: Callable[[], float], wait: Callable[[float], None]) -> MirrorState:
        """The last passes: no trip would be seen any more, so it tries for LEAVING seconds to lower the canary.

        ``clock`` gives monotonic seconds. What is obeyed must be unsure by now. Never raises an error of ours.
        """
        until = clock() + LEAVING
        while True:
            state = self.once()
            if state.percent is not None:
                return state
            if clock() + _PAUSE > until:
                log.error(
                    "%s: the route could not be set to control before the end, so it stays as it is: set the canary's "
                    "weight to 0 by hand", self._rollout,
                )  # fmt: skip
                return state
            wait(_PAUSE)

    def _turned(self, wanted: Wanted) -> Turn:
        attempt = 1
        while True:
            done = turn(self._route.read(), self._pair, wanted)
            if not done.patch:
                return done
            try:
                self._route.patch(done.patch)
            except Changed:
                attempt += 1
                if attempt > ATTEMPTS:
                    raise
            else:
                log.info(
                    "%s: the route sends %g%% to the canary (generation %d, revision %d)",
                    self._rollout, done.percent, wanted.generation, wanted.revision,
                )  # fmt: skip
                return done

    def _told(self, snapshot: ObeyedFlag) -> None:
        """A failed report changes nothing of the route, and is tried with the next pass."""
        try:
            self._report(snapshot)
        except KillswitchError as error:
            self._say(logging.WARNING, f"{self._rollout}: this mirror cannot report what the route does: {error}")

    def _say(self, level: int, line: str) -> None:
        """Once for as long as it stays so."""
        if line != self._said:
            self._said = line
            log.log(level, "%s", line)
