"""How fast the demo's world runs: simulated seconds, and the real seconds they take.

Simulated time is the clock of the demo. At speed N one real second holds N simulated ones, and everything
that has a duration is told the real one, simulated / N:

- the service makes N times as many requests a real second, and a user's "first request in each 5
  minutes" is the first in each 300 / N real seconds;
- scrapes, the daemon's interval, its lag and every rule's window are 1 / N as long.

So a window holds the same requests, a tick sees the same increments and the rules judge the same numbers as
at speed 1.

What is not scaled:

- The machines. A network round trip, a commit and the daemon's own work take the time they take, so a delay
  printed in simulated seconds overstates them N times.
- The budget of false trips. ``false_trips: 1% per day`` means a real day, in which the demo looks N times as
  often; so per simulated day the demo is N times as strict as the rule file says, and its evidence must grow
  by another factor of N (2.3 nats at speed 10: less than one look at a canary as bad as these). Scaling the
  budget too would make the demo quicker by that, and N times as likely to trip on nothing.
- Latencies of the simulated models. They are recorded, not slept, in milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

INTERVAL = 30.0  # simulated seconds, here and below: the daemon's defaults
LAG = 5.0
SCRAPE_INTERVAL = 30.0  # one a tick: at speed 30 a scrape may still come half a real second late
WINDOW = 300.0
CYCLE_DEADLINE = 10.0  # real seconds, and at most this share of what an interval leaves
CYCLE_SHARE = 0.8
FASTEST = 60.0  # at which a scrape comes every 500 ms
MOST_REQUESTS = 10_000.0  # a real second; more than one process can make


@dataclass(frozen=True, slots=True)
class Pace:
    """``speed``: simulated seconds a real second, 1 to ``FASTEST``."""

    speed: float

    def __post_init__(self) -> None:
        if not 1.0 <= self.speed <= FASTEST:
            raise ValueError(f"speed {self.speed:g}: use 1 to {FASTEST:g}")

    def real(self, simulated: float) -> float:
        """The real seconds that ``simulated`` seconds take."""
        return simulated / self.speed

    def simulated(self, real: float) -> float:
        """The simulated seconds that ``real`` seconds hold."""
        return real * self.speed

    def duration(self, simulated: float) -> str:
        """The real time of ``simulated`` seconds in the notation of settings and rule files: ``1500ms``, ``3s``."""
        return _duration(self.real(simulated))

    def settings(self) -> dict[str, str]:
        """The environment of a daemon that keeps this pace."""
        return {
            "KILLSWITCH_INTERVAL": self.duration(INTERVAL),
            "KILLSWITCH_LAG": self.duration(LAG),
            "KILLSWITCH_CYCLE_DEADLINE": _duration(min(CYCLE_DEADLINE, CYCLE_SHARE * self.real(INTERVAL - LAG))),
            "KILLSWITCH_SCRAPE_INTERVAL": self.duration(SCRAPE_INTERVAL),
        }


def _duration(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"
