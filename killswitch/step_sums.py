"""A window as the sum of the steps that evidence has read, for a replay that reads no windows of its own."""

from __future__ import annotations

from collections import deque

from killswitch.model import Buckets, Counts, Measurement, Reading, Reason, Unreadable

_NOTHING = Unreadable(Reason.NO_DATA, "no step of the window could be read")


class StepSums:
    """The newest steps of one rule, ``steps`` of them at most. A step that could not be read adds nothing."""

    def __init__(self, steps: int) -> None:
        self._kept: deque[Reading] = deque(maxlen=max(1, steps))

    def add(self, reading: Reading) -> None:
        self._kept.append(reading)

    def clear(self) -> None:
        self._kept.clear()

    def window(self) -> Reading:
        return Reading(
            _sum([one.canary for one in self._kept]),
            _sum([one.control for one in self._kept]),
            sum(one.seconds for one in self._kept),
        )


def _sum(sides: list[Measurement]) -> Measurement:
    """Histograms whose edges changed within the window have no sum."""
    counts = [side for side in sides if isinstance(side, Counts)]
    if counts:
        return Counts(sum(one.events for one in counts), sum(one.trials for one in counts))
    histograms = [side for side in sides if isinstance(side, Buckets)]
    if not histograms or any(one.bounds != histograms[0].bounds for one in histograms):
        return _NOTHING
    columns = zip(*(one.counts for one in histograms), strict=True)
    return Buckets(histograms[0].bounds, tuple(sum(column) for column in columns))
