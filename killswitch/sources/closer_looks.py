"""Which answers need a closer look, because a counter fell or is new, and what the look changes in them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from killswitch.model import Buckets, Counts, Measurement, Reason, Unreadable
from killswitch.sources.asks import Ask, Needs, Shape, Sum
from killswitch.sources.columns import Answers, Point, points_of
from killswitch.sources.counter_resets import FEW_FALLS

CLOSER: Final[Mapping[Shape, Shape]] = {Shape.STEP: Shape.CLOSE_STEP, Shape.INCREASE: Shape.CLOSE_INCREASE}
_NOT_A_COUNTER: Final = "not a counter"
FELL = Unreadable(
    Reason.GAP,
    "a counter fell while its process went on, so this step counts nothing. A recording rule's sum falls when a pod "
    "goes (take rates first, then sums), and a pushed or duplicated counter when an older value comes late",
)


@dataclass(frozen=True, slots=True)
class Closer:
    """A closer look, and the ticks at which its answer replaces the first one."""

    ask: Sum
    where: Sequence[bool]


def with_closer(answers: Answers, closer: Mapping[Ask, Closer], looks: Answers, ticks: int) -> Answers:
    """The answers, replaced by those of closer looks where needed; a fall that was no restart is a gap."""
    if not closer:
        return answers
    found = dict(answers)
    for ask, look in closer.items():
        columns = points_of(answers[ask], ticks), points_of(looks[look.ask], ticks), look.where
        found[ask] = [_looked_at(second) if odd else first for first, second, odd in zip(*columns, strict=True)]
    return found


def _looked_at(point: Point) -> Point:
    counts = point.counts if isinstance(point, Buckets) else (point,)
    return FELL if -math.inf in counts else point


def is_odd(point: Point) -> bool:
    if isinstance(point, float):
        return not math.isfinite(point)
    return isinstance(point, Buckets) and not math.isfinite(sum(point.counts))


def fell_lately(need: Needs, falls: Answers, ticks: int) -> list[bool]:
    """At which ticks a counter fell within the hour without a restart; empty for never."""
    columns = [points_of(falls[ask], ticks) for ask in need.falls if ask in falls] if falls else []
    found = [any(isinstance(point, float) for point in points) for points in zip(*columns, strict=True)]
    return found if any(found) else []


def unless_falling(
    measurements: Sequence[Measurement], need: Needs, falls: Answers, ticks: int
) -> Sequence[Measurement]:
    """The measurements, but none from series that fell again and again within the hour: they are not counters."""
    columns = [points_of(falls[ask], ticks) for ask in need.falls if ask in falls] if falls else []
    if not columns:
        return measurements
    found = list(measurements)
    for column in columns:
        for at, point in enumerate(column):
            if isinstance(point, Unreadable):
                found[at] = point
            elif (
                isinstance(point, float)
                and point > FEW_FALLS
                and (found[at] is FELL or isinstance(found[at], Counts | Buckets))
            ):
                found[at] = falling(point)
    return found


def is_falling(measurement: Measurement) -> bool:
    """Whether the samples are not a counter's, so that asking again changes nothing."""
    return isinstance(measurement, Unreadable) and measurement.detail.startswith(_NOT_A_COUNTER)


def falling(times: float) -> Unreadable:
    """The reason for a counter that fell this often within an hour."""
    return Unreadable(
        Reason.GARBAGE,
        f"{_NOT_A_COUNTER}: a series fell {times:.0f} times within an hour, and not to zero. Usual causes: several "
        "worker processes answer /metrics in turn (use multiprocess mode), or two servers send the same series",
    )
