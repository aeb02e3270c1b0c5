"""The demo's world: users, the requests they make, and how each model answers them.

Pure: everything is a function of the seed and of simulated time (seconds since the world began), so one
seed gives one story at any speed, and a request is the same request whichever cohort serves it.
Only who serves it depends on the flag.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from killswitch.router import Outcome
from killswitch.timestamps import DAY

SLOT = 0.5  # simulated seconds that are drawn together
START_HOUR = 10.0  # late morning: traffic rises while one looks
DAY_SWING = 0.6
WANDER_PERIODS = (620.0, 1_700.0, 5_200.0)  # simulated seconds; no common divisor, so it never repeats in a demo
WANDER_SIZE = 0.08  # each: together error rates drift by some 15 %, in both cohorts alike
ACTIVITY_SPREAD = 0.8  # log-normal sd of how busy a user is
FEEDBACK_DELAY = (10.0, 90.0)  # simulated seconds from an answer to its thumbs-down
REFUSAL_TOKENS = 40


class Regression(StrEnum):
    """What gets worse in the canary's model."""

    NONE = "none"
    REFUSALS = "refusals"
    ERRORS = "errors"
    LATENCY = "latency"
    THUMBS_DOWN = "thumbs-down"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a model answers. Rates are fractions; latency is log-normal."""

    error_rate: float = 0.010
    refusal_rate: float = 0.011
    thumbs_down_rate: float = 0.005
    latency_median_ms: float = 900.0
    latency_sigma: float = 0.5


HEALTHY = Behaviour()
REGRESSED: Mapping[Regression, Behaviour] = {
    Regression.NONE: HEALTHY,
    Regression.REFUSALS: replace(HEALTHY, refusal_rate=0.20),
    Regression.ERRORS: replace(HEALTHY, error_rate=0.10),
    Regression.LATENCY: replace(HEALTHY, latency_median_ms=2.2 * HEALTHY.latency_median_ms),
    Regression.THUMBS_DOWN: replace(HEALTHY, thumbs_down_rate=0.05),
}


@dataclass(frozen=True, slots=True)
class Request:
    """One user's request at simulated second ``at``, with the luck it will have.

    ``error``, ``refusal``, ``thumb`` are uniform on [0, 1): the event happens where the model's rate is
    above them. ``slowness`` is standard normal.
    """

    at: float
    user: str
    error: float
    refusal: float
    thumb: float
    slowness: float
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What came back: ``OK``, ``ERROR`` or ``REFUSED``.

    ``thumbs_down_after``: simulated seconds until the user says it was bad, None for never.
    """

    outcome: Outcome
    latency_ms: float
    completion_tokens: int
    thumbs_down_after: float | None = None


class World:
    """``rate``: requests a simulated second, averaged over a day."""

    def __init__(self, *, seed: int, rate: float, users: int) -> None:
        self.rate = rate
        self._seed = seed
        once = random.Random(f"{seed}/world")  # noqa: S311  # a simulation, and one that can be repeated
        self._users = [f"user-{number:05d}" for number in range(users)]
        busy = [once.lognormvariate(0.0, ACTIVITY_SPREAD) for _ in self._users]
        self._cumulated = list(itertools.accumulate(busy))
        self._phases = [once.uniform(0.0, 2 * math.pi) for _ in WANDER_PERIODS]

    def arrivals(self, slot: int) -> Iterator[Request]:
        """The requests of the ``SLOT`` seconds from ``slot * SLOT`` on, in order of time."""
        draw = random.Random(f"{self._seed}/{slot}")  # noqa: S311  # likewise
        begin, end = slot * SLOT, (slot + 1) * SLOT
        rate = self.rate * day_factor(begin)
        at = begin + draw.expovariate(rate)
        while at < end:
            (user,) = draw.choices(self._users, cum_weights=self._cumulated)
            yield Request(
                at=at,
                user=user,
                error=draw.random(),
                refusal=draw.random(),
                thumb=draw.random(),
                slowness=draw.gauss(0.0, 1.0),
                completion_tokens=1 + int(draw.expovariate(1 / 240)),
            )
            at += draw.expovariate(rate)

    def wander(self, at: float) -> float:
        """What multiplies error, refusal and thumbs-down rates of both cohorts at simulated second ``at``."""
        waves = zip(WANDER_PERIODS, self._phases, strict=True)
        return math.exp(WANDER_SIZE * sum(math.sin(2 * math.pi * at / period + phase) for period, phase in waves))

    def latency_median_ms(self, at: float, behaviour: Behaviour) -> float:
        """A model's median latency at simulated second ``at``: a little slower in busy hours."""
        return (1.0 + 0.1 * (day_factor(at) - 1.0)) * behaviour.latency_median_ms

    def activity(self) -> list[float]:
        """Each user's share of the requests."""
        return [
            (until - since) / self._cumulated[-1]
            for since, until in itertools.pairwise(itertools.chain((0.0,), self._cumulated))
        ]

    def answer(self, request: Request, behaviour: Behaviour) -> ModelAnswer:
        wander = self.wander(request.at)
        latency = self.latency_median_ms(request.at, behaviour) * math.exp(behaviour.latency_sigma * request.slowness)
        if request.error < behaviour.error_rate * wander:
            return ModelAnswer(Outcome.ERROR, latency, 0)
        if request.refusal < behaviour.refusal_rate * wander:
            # users dislike refusals, too; but then two rules would fire at once, and the demo shows one at a time
            return ModelAnswer(Outcome.REFUSED, latency, min(request.completion_tokens, REFUSAL_TOKENS))
        return ModelAnswer(
            Outcome.OK, latency, request.completion_tokens, _thumbs_down_after(request, behaviour, wander)
        )


def _thumbs_down_after(request: Request, behaviour: Behaviour, wander: float) -> float | None:
    rate = behaviour.thumbs_down_rate * wander
    if request.thumb >= rate:
        return None
    soonest, latest = FEEDBACK_DELAY
    return soonest + (latest - soonest) * request.thumb / rate  # uniform, given that it happens


def day_factor(at: float) -> float:
    """How busy it is: 1 on average, lowest at 3 in the night, highest at 15 o'clock."""
    hour = START_HOUR + 24.0 * at / DAY
    return 1.0 + DAY_SWING * math.sin(2 * math.pi * (hour - 9.0) / 24.0)
