"""When other replicas saw, on our clock: their metric store may be hours ahead of ours or behind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from killswitch.fleet.heartbeat import Heartbeat

# Replicas are a tick or two apart; beyond that one of them has another clock, or hangs.
_SAME_CLOCK_TICKS = 2


def fleet_good_at(own: float, others: Iterable[float]) -> float:
    """The newest tick at which any replica had a usable verdict for a rollout."""
    return max((own, *others))


@dataclass(slots=True)
class ReplicaClocks:
    """When others saw, on our clock: a replica may ask another metric store, hours ahead of ours or behind.

    ``met``: by store key, the newest tick a replica has reported, and our own tick when we first read it. So a replica
    that hangs grows old, whatever its clock says.
    """

    interval: float
    met: dict[str, tuple[float, float]] = field(default_factory=dict)

    def note(self, beats: Mapping[str, Heartbeat], tick: float) -> None:
        """Take in what was read at our ``tick``."""
        self.met = {key: (beat.tick, self._at(key, beat, tick)) for key, beat in beats.items()}

    def good_at(self, key: str, beat: Heartbeat, rollout: str, tick: float) -> float:
        """The last tick, on our clock, at which this replica had a usable verdict; 0 for never or not watched."""
        good = beat.good_at(rollout)
        if good <= 0.0 or abs(beat.tick - tick) <= _SAME_CLOCK_TICKS * self.interval:
            return good
        return self._at(key, beat, tick) - (beat.tick - good)

    def _at(self, key: str, beat: Heartbeat, tick: float) -> float:
        """Our tick at which its newest one was reported; at a first reading, that may have been long ago."""
        known = self.met.get(key)
        if known is None:
            return min(beat.tick, tick)
        return known[1] if known[0] == beat.tick else tick
