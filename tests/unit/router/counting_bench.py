"""A bench for cohort metrics: a registry, a router and a clock of their own."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry

from killswitch.router import CohortMetrics, FeedbackTokens, Outcome, Route
from killswitch.router.instruments import PrometheusInstruments
from tests.doubles.held_split import armed, router_over

CONTROL, CANARY = armed().control_route, armed().canary_route
KEY = b"k" * 32


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """Cohort metrics over a registry of their own, and short names for reading it."""

    def __init__(self, **options: Any) -> None:
        self.registry = CollectorRegistry()
        self.clock = Clock()
        self.router, self.held = router_over(armed())
        options.setdefault("tokens", FeedbackTokens([KEY], clock=self.clock))
        self.metrics = CohortMetrics(
            self.router, instruments=PrometheusInstruments.of(self.registry), clock=self.clock, **options
        )

    def value(self, name: str, route: Route = CANARY, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, {"model": route.model, "cohort": route.cohort.value, **labels})

    def outcomes(self, route: Route = CANARY, prefix: str = "llm_") -> dict[str, float]:
        counts = {str(o): self.value(f"{prefix}requests_total", route, outcome=str(o)) for o in Outcome}
        return {outcome: count for outcome, count in counts.items() if count}


class Shared:
    """A shared memory, as Redis' ``SET key 1 NX EX …`` is one."""

    def __init__(self) -> None:
        self.keys: list[object] = []

    def first(self, key: object) -> bool:
        self.keys.append(key)
        return self.keys.count(key) == 1


class Unreachable:
    def first(self, key: object) -> bool:
        raise ConnectionError("shared memory is down")
