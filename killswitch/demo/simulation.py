"""The simulated service itself: who serves which request, and what came of it.

It uses the SDK as any service does, a router and `CohortMetrics`, but no real time passes while a request is
served: the metrics' clock is `SimulatedClock`, which is set to a request's begin and then to its end. So
latency is recorded without waiting, and "a user's first request in five minutes" means simulated minutes.

No I/O, clock or thread of its own; `killswitch.demo.service` makes a process of it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from killswitch.demo.traffic import HEALTHY, REGRESSED, SLOT, ModelAnswer, Regression, Request, World
from killswitch.model import Cohort
from killswitch.router import CohortMetrics, Outcome, Route, ServedRequest
from killswitch.router.counting import Routes
from killswitch.router.instruments import PrometheusInstruments
from killswitch.router.judged import PERIOD, RecentlySeen

MOST_USERS = 1_000_000  # whose last judged request is remembered
RECENT = 30.0  # simulated seconds over which the canary's share is taken


@dataclass(frozen=True, slots=True)
class Tally:
    """What one cohort has seen since the world began."""

    requests: int = 0
    errors: int = 0
    refused: int = 0
    thumbs_down: int = 0


@dataclass(frozen=True, slots=True)
class SimulationState:
    """The service's account of itself. Times are simulated seconds since the world began.

    ``canary_share``: of the requests of the last `RECENT` seconds, a fraction; None before the first.
    ``last_canary_at``: when the canary cohort was last served, None for never. ``route_reason``,
    ``generation`` and ``revision`` are those of the newest routing decision. ``behind``: how far the world
    lags behind its clock; more than a second or two means that this machine is too slow for this rate.
    """

    at: float = 0.0
    behind: float = 0.0
    regression: Regression = Regression.NONE
    regression_at: float | None = None
    control: Tally = field(default_factory=Tally)
    canary: Tally = field(default_factory=Tally)
    canary_share: float | None = None
    last_canary_at: float | None = None
    route_reason: str = ""
    generation: int = 0
    revision: int = 0


class SimulatedClock:
    """Simulated seconds since the world began; the caller sets ``now``."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def cohort_metrics(router: Routes, registry: CollectorRegistry, clock: SimulatedClock) -> CohortMetrics:
    """The SDK's metrics, on simulated time."""
    return CohortMetrics(
        router,
        instruments=PrometheusInstruments.of(registry),
        first_requests=RecentlySeen(PERIOD, capacity=MOST_USERS, clock=clock),
        clock=clock,
    )


class Simulation:
    """One service's life. ``state`` is replaced as a whole, and may be read from any thread.

    The model called ``canary_model`` is the one that regresses, from simulated second ``regression_at`` on.
    """

    def __init__(
        self,
        *,
        world: World,
        route: Callable[[str], Route],
        metrics: CohortMetrics,
        clock: SimulatedClock,
        canary_model: str,
        regression: Regression = Regression.NONE,
        regression_at: float | None = None,
    ) -> None:
        self._world = world
        self._route = route
        self._metrics = metrics
        self._clock = clock
        self._canary_model = canary_model
        self._regression = (regression, regression_at)
        self._slot = 0
        self._feedback: list[tuple[float, int, ServedRequest]] = []
        self._feedback_given = 0
        self._recent: deque[tuple[int, int]] = deque(maxlen=round(RECENT / SLOT))
        self._totals = {cohort: _Totals() for cohort in Cohort}
        self._last_route: Route | None = None
        self._last_canary_at: float | None = None
        self.state = SimulationState()

    def regress(self, kind: Regression, at: float = 0.0) -> None:
        """From simulated second ``at``, or else the next slot, on the canary's model is worse in this way.

        ``none`` makes it well again.
        """
        self._regression = (kind, max(at, self._slot * SLOT))

    def advance(self, until: float) -> None:
        """Live on through the whole slots that end by simulated second ``until``."""
        while (end := (self._slot + 1) * SLOT) <= until:
            regression, regression_at = self._regression
            canary = requests = 0
            for request in self._world.arrivals(self._slot):
                route = self._route(request.user)
                worse = regression_at is not None and request.at >= regression_at and route.model == self._canary_model
                self._serve(request, route, self._world.answer(request, REGRESSED[regression] if worse else HEALTHY))
                requests += 1
                canary += route.cohort is Cohort.CANARY
            self._recent.append((canary, requests))
            self._slot += 1
            self._collect_feedback(end)
            self._report(end, until, regression, regression_at)

    def _serve(self, request: Request, route: Route, answer: ModelAnswer) -> None:
        self._clock.now = request.at
        served = self._metrics.request(route, user=request.user)
        self._clock.now = request.at + answer.latency_ms / 1000.0
        served.ends_as(answer.outcome)
        served.tokens(answer.completion_tokens)
        served.end()
        totals = self._totals[route.cohort]
        totals.requests += 1
        totals.errors += answer.outcome is Outcome.ERROR
        totals.refused += answer.outcome is Outcome.REFUSED
        if answer.thumbs_down_after is not None:
            self._feedback_given += 1  # breaks ties, so that the heap never compares requests
            heapq.heappush(self._feedback, (request.at + answer.thumbs_down_after, self._feedback_given, served))
        self._last_route = route
        if route.cohort is Cohort.CANARY:
            self._last_canary_at = request.at

    def _collect_feedback(self, until: float) -> None:
        while self._feedback and self._feedback[0][0] <= until:
            _, _, served = heapq.heappop(self._feedback)
            served.thumbs_down()
            self._totals[served.route.cohort].thumbs_down += 1

    def _report(self, at: float, until: float, regression: Regression, regression_at: float | None) -> None:
        canary = sum(slot[0] for slot in self._recent)
        requests = sum(slot[1] for slot in self._recent)
        route = self._last_route
        self.state = SimulationState(
            at=at,
            behind=until - at,
            regression=regression,
            regression_at=regression_at,
            control=self._totals[Cohort.CONTROL].tally(),
            canary=self._totals[Cohort.CANARY].tally(),
            canary_share=canary / requests if requests else None,
            last_canary_at=self._last_canary_at,
            route_reason=route.reason if route else "",
            generation=route.generation if route else 0,
            revision=route.revision if route else 0,
        )


@dataclass(slots=True)
class _Totals:
    """A tally under way."""

    requests: int = 0
    errors: int = 0
    refused: int = 0
    thumbs_down: int = 0

    def tally(self) -> Tally:
        return Tally(self.requests, self.errors, self.refused, self.thumbs_down)
