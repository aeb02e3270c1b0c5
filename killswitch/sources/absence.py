"""Counters that have no series: whether that means zero events, or a wrong name. Pure."""

from __future__ import annotations

from killswitch.model import Unreadable
from killswitch.sources.asked import Asked
from killswitch.sources.asks import Ask
from killswitch.sources.columns import Answers, points_of


def is_doubtful(asked: Asked, answers: Answers, ticks: int) -> bool:
    """Whether an event counter is absent while there are trials, so that its existence must be looked up."""
    first = _first_seen(asked, answers, ticks)
    if first == 0:
        return False
    return any(
        isinstance(point, float)
        for need in asked.needs.values()
        for ask in need.trials
        for point in points_of(answers[ask], ticks)[:first]
    )


def _first_seen(asked: Asked, answers: Answers, ticks: int) -> int:
    """The first tick at which some cohort has events."""
    columns = [points_of(answers[ask], ticks) for need in asked.needs.values() for ask in need.events]
    if any(column[0] is not None for column in columns):
        return 0
    return min(next((at for at, point in enumerate(column) if point is not None), ticks) for column in columns)


def zero_from(asked: Asked, answers: Answers, seen: Answers, ticks: int) -> int | Unreadable:
    """From which tick on an absent event counter means zero."""
    if asked.known:
        return 0
    points = [points_of(seen[ask], 1)[0] for ask in seen_asks(asked) if ask in seen]
    if any(isinstance(point, float) and point > 0 for point in points):
        return 0
    failed = next((point for point in points if isinstance(point, Unreadable)), None)
    return failed if failed is not None else _first_seen(asked, answers, ticks)


def seen_asks(asked: Asked) -> list[Ask]:
    return [ask for need in asked.needs.values() for ask in need.seen]
