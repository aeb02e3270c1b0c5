"""When a cap is reached at the present rate, as a time and as a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from killswitch.timestamps import DAY, HOUR

# Two samples nearer to each other than this say nothing of an hour.
_LEAST_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """When ``limit`` (micro-dollars) is reached in this period; times in Unix seconds.

    ``at_whole_rate``: at the rate of the period so far. ``at_last_hours_rate``: at the rate of the last hour. Each is
    None where the limit is not reached before ``end``, or where the rate is not known. ``reached``: it is used up now.
    ``too_early``: money is used, and the rate of the last minutes is not known yet.
    """

    limit: int
    reached: bool
    at_whole_rate: float | None
    at_last_hours_rate: float | None
    end: float
    now: float
    too_early: bool = False

    @property
    def at(self) -> float | None:
        """The earlier of the two; ``now`` where the limit is reached."""
        if self.reached:
            return self.now
        return min((at for at in (self.at_whole_rate, self.at_last_hours_rate) if at is not None), default=None)

    def sentence(self, what: str = "cap") -> str:
        """``cap reached Thu 14:00 UTC at this rate``; ``what`` names the limit."""
        if self.reached:
            return f"{what} reached; the period ends {_moment(self.end, self.now)}"
        if self.at is None and self.too_early:
            return f"when the {what} is reached is not known yet: under 5 minutes of use"
        if self.at is None:
            return f"{what} not reached before {_moment(self.end, self.now)} at this rate"
        return f"{what} reached {_moment(self.at, self.now)} at this rate"


def forecast(
    limit: int, used: int, *, start: float, end: float, now: float, trail: Sequence[tuple[float, int]] = ()
) -> Forecast:
    """The forecast for a period from ``start`` to ``end``.

    ``used`` of ``limit``, both in micro-dollars. ``trail``: earlier amounts used, as (Unix seconds, micro-dollars), the
    oldest first; the last hour's rate is counted from the newest of them that is an hour old, or from the oldest.
    """
    whole = used / (now - start) if now - start >= _LEAST_SECONDS else None
    earlier = [(at, amount) for at, amount in trail if start <= at <= now - _LEAST_SECONDS]
    seen = whole is not None if not any(start <= at <= now for at, _ in trail) else bool(earlier)
    since = max((one for one in earlier if one[0] <= now - HOUR), default=min(earlier, default=None))
    recent = None if since is None else max(0, used - since[1]) / (now - since[0])

    def reached_at(rate: float | None) -> float | None:
        if rate is None or rate <= 0.0:
            return None
        at = now + (limit - used) / rate
        return at if at < end else None

    if used >= limit:
        return Forecast(limit, True, now, now, end, now)
    return Forecast(limit, False, reached_at(whole), reached_at(recent), end, now, too_early=used > 0 and not seen)


def _moment(at: float, now: float) -> str:
    """``Thu 14:00 UTC``; with the day of the month where the weekday alone could be another week's."""
    moment = datetime.fromtimestamp(at, tz=UTC)
    return moment.strftime("%a %H:%M UTC" if at - now < 6 * DAY else "%a %d %b %H:%M UTC")
