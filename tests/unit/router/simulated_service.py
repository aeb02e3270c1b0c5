"""A service with the whole SDK on a simulated clock: users, processes, thumbs of every kind, and what Prometheus sees.

Both cohorts are the same model, so every judged rate must be the plain rate within sampling error.
"""

from __future__ import annotations

import contextlib
import heapq
import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from killswitch.model import Cohort
from killswitch.router import CohortMetrics, FeedbackTokens, Route
from killswitch.router.instruments import PrometheusInstruments
from tests.doubles.held_split import armed, router_over

BEGAN = 1_800_000_000.0
ERRORS, REFUSALS, SLOW = 0.03, 0.05, 0.3  # of requests; slow ones take 4 s and the others 0.5 s
MODELS = {Cohort.CONTROL: "model-old", Cohort.CANARY: "model-new"}

Delay = Callable[[random.Random], float]
Counts = Mapping[tuple[Cohort, str], float]  # by signal, judged ones as "judged …"


@dataclass(frozen=True)
class Life:
    """How users live. ``gap``: mean seconds between a user's requests; ``stay``: mean seconds until he leaves for good.

    ``names``: what the service says of a user, "both" (with request and thumb), "request", "thumb", "none",
    "some" (every other user with both), "token", or "any" of these for each request.
    """

    gap: float
    stay: float | None = None
    delay: Delay = lambda _: 0.0
    names: str = "both"
    processes: int = 1
    uneven: bool = False
    users: int = 120
    disliked: float = 0.1
    steps: tuple[tuple[float, float], ...] = ((1800.0, 25.0), (2700.0, 60.0))  # (seconds after begin, percent)
    seconds: float = 4500.0
    scrape: float = 300.0


@dataclass
class Service:
    """One run of a `Life`; ``scrapes`` holds every counter, summed over processes, at each scrape."""

    life: Life
    seed: int = 1
    scrapes: dict[float, Counts] = field(default_factory=dict)
    exposed: list[tuple[float, dict[tuple[str, tuple[tuple[str, str], ...]], float]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.now = BEGAN
        self._luck = random.Random(self.seed)
        self._registries = [CollectorRegistry() for _ in range(self.life.processes)]
        self._router, self._held = router_over(armed(0.0))
        tokens = FeedbackTokens([b"k" * 32], clock=lambda: self.now)
        self._processes = [
            CohortMetrics(
                self._router, instruments=PrometheusInstruments(registry), tokens=tokens, clock=lambda: self.now
            )
            for registry in self._registries
        ]
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def _at(self, when: float, do: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._due, (when, self._number, do))

    def run(self) -> Service:
        life = self.life
        for after, percent in life.steps:
            self._at(BEGAN + after, lambda percent=percent: self._arm(percent))  # type: ignore[misc]
        stay = life.stay
        for number in range(life.users):
            self._arrive(number, BEGAN + self._luck.uniform(0.0, min(life.gap, stay or life.gap)))
        if stay is not None:
            when, number = BEGAN, life.users
            while when < BEGAN + life.seconds:
                when += self._luck.expovariate(life.users / stay)
                number += 1
                self._arrive(number, when)
        scrape = BEGAN
        while self._due:
            when, _, do = heapq.heappop(self._due)
            while scrape <= min(when, BEGAN + life.seconds):
                self._scrape(scrape)
                scrape += life.scrape
            if when > BEGAN + life.seconds:
                break
            self.now = when
            do()
        return self

    def _arm(self, percent: float) -> None:
        self._held.current = armed(percent)

    def _arrive(self, number: int, when: float) -> None:
        stay = self.life.stay
        leaves = float("inf") if stay is None else when + self._luck.expovariate(1 / stay)
        gap = self.life.gap * (10.0 if self.life.uneven and number % 2 else 1.0)
        self._at(when, lambda: self._ask(f"user-{number}", gap, leaves))

    def _ask(self, user: str, gap: float, leaves: float) -> None:
        luck, began = self._luck, self.now
        if began > leaves:
            return
        route = self._router.route(user)
        names = self.life.names
        if names == "any":
            names = luck.choice(("both", "request", "none", "token"))
        elif names == "some":
            names = "both" if int(user[5:]) % 2 else "none"
        metrics = luck.choice(self._processes)
        request = metrics.request(route, user=user if names in ("both", "request", "token") else None)
        with contextlib.suppress(ConnectionError), request:
            self.now = began + (4.0 if luck.random() < SLOW else 0.5)
            fate = luck.random()
            if fate < REFUSALS:
                request.refused()
            elif fate < REFUSALS + ERRORS:
                raise ConnectionError
        if luck.random() < self.life.disliked:
            about: Route | str = request.token if names == "token" else route
            whose = user if names in ("both", "thumb") else None
            at = metrics if self.life.processes == 1 else luck.choice(self._processes)
            self._at(self.now + self.life.delay(luck), lambda: self._dislike(at, about, whose))
        self._at(self.now + luck.expovariate(1 / gap), lambda: self._ask(user, gap, leaves))

    @staticmethod
    def _dislike(metrics: CohortMetrics, about: Route | str, whose: str | None) -> None:
        metrics.thumbs_down(about, user=whose)

    def _scrape(self, when: float) -> None:
        counts: defaultdict[tuple[Cohort, str], float] = defaultdict(float)
        shown: defaultdict[Any, float] = defaultdict(float)
        for family in (family for registry in self._registries for family in registry.collect()):
            for sample in family.samples:
                if sample.name.endswith("_created") or "cohort" not in sample.labels:
                    continue
                shown[sample.name, tuple(sorted(sample.labels.items()))] += sample.value
                signal = _signal(sample.name, sample.labels)
                if signal is not None:
                    counts[Cohort(sample.labels["cohort"]), signal] += sample.value
        self.scrapes[when - BEGAN] = counts
        self.exposed.append((when, dict(shown)))

    def between(self, after: float, until: float, cohort: Cohort, signal: str) -> float:
        return self.scrapes[until].get((cohort, signal), 0.0) - self.scrapes[after].get((cohort, signal), 0.0)

    def openmetrics(self) -> str:
        """A recording for the back-test."""
        series: dict[Any, list[str]] = defaultdict(list)
        for when, shown in self.exposed:
            for (name, labels), value in shown.items():
                text = ",".join(f'{label}="{content}"' for label, content in labels)
                series[name, labels].append(f'{name}{{{text},job="x"}} {value:.1f} {when:.3f}')
        return "\n".join([*(line for lines in series.values() for line in lines), "# EOF", ""])


def _signal(name: str, labels: Mapping[str, str]) -> str | None:
    judged = "judged " if name.startswith("llm_judged_") else ""
    kind = name.removeprefix("llm_judged_").removeprefix("llm_")
    if kind == "requests_total":
        return f"{judged}{'errors' if labels['outcome'] == 'error' else 'others'}"
    if kind == "latency_ms_bucket" and labels["le"] == "2000.0":
        return f"{judged}fast"
    return {"refusals_total": f"{judged}refusals", "thumbs_down_total": f"{judged}thumbs"}.get(kind)
