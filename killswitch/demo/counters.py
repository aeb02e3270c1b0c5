"""The simulated service's counters: the cohort schema and its judged twins.

A simulated request has no real duration, so nothing here can be timed; and a user's "first request in each
five minutes" is meant in simulated minutes.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from killswitch.demo.traffic import Answer, Request
from killswitch.router.judged import RecentlySeen
from killswitch.router.routing import Route

JUDGED_EVERY = 300.0  # simulated seconds
MOST_USERS = 1_000_000
OUTCOMES = ("ok", "error", "timeout", "refused", "cancelled")
# around the p95 the demo is about (2,050 ms, and 4,500 ms when it regresses) fine enough to place a quantile
LATENCY_MS = (100, 250, 500, 750, 1000, 1250, 1500, 1750, 2000, 2250, 2500, 3000, 3500, 4000, 4500, 5000, 6000, 8000,
              12000, 20000, 40000)  # fmt: skip
TOKENS = (0, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


class _Series:
    """One family of the schema: all requests, or the judged ones."""

    def __init__(self, prefix: str, what: str, registry: CollectorRegistry) -> None:
        cohort = ["model", "cohort"]
        self.requests = Counter(f"{prefix}requests", f"{what} by outcome.", [*cohort, "outcome"], registry=registry)
        self.latency = Histogram(
            f"{prefix}latency_ms", f"Latency of {what}.", cohort, buckets=LATENCY_MS, registry=registry
        )
        self.refusals = Counter(f"{prefix}refusals", f"{what} that were refused.", cohort, registry=registry)
        self.thumbs_down = Counter(f"{prefix}thumbs_down", f"{what} the user disliked.", cohort, registry=registry)

    def begin_at_zero(self, model: str, cohort: str) -> None:
        """A counter that is born with its first event loses that event, so all begin at 0."""
        for outcome in OUTCOMES:
            self.requests.labels(model, cohort, outcome)
        self.latency.labels(model, cohort)
        self.refusals.labels(model, cohort)
        self.thumbs_down.labels(model, cohort)

    def answered(self, route: Route, answer: Answer) -> None:
        self.requests.labels(route.model, route.cohort.value, answer.outcome).inc()
        self.latency.labels(route.model, route.cohort.value).observe(answer.latency_ms)
        if answer.outcome == "refused":
            self.refusals.labels(route.model, route.cohort.value).inc()


class CohortCounters:
    """``models``: (model, cohort) pairs whose counters exist from the start."""

    def __init__(self, registry: CollectorRegistry, models: tuple[tuple[str, str], ...]) -> None:
        self._all = _Series("llm_", "requests", registry)
        self._judged = _Series("llm_judged_", "first requests of a user in five minutes", registry)
        self._tokens = Histogram(
            "llm_completion_tokens", "Tokens of an answer.", ["model", "cohort"], buckets=TOKENS, registry=registry
        )
        self._at = 0.0
        self._recently = RecentlySeen(JUDGED_EVERY, capacity=MOST_USERS, clock=lambda: self._at)
        self._seen: set[tuple[str, str]] = set()
        for model, cohort in models:
            self._begin_at_zero(model, cohort)

    def answered(self, route: Route, request: Request, answer: Answer) -> bool:
        """Count one answer; whether the request is a judged one, which its outcome has no part in."""
        self._begin_at_zero(route.model, route.cohort.value)
        self._all.answered(route, answer)
        self._tokens.labels(route.model, route.cohort.value).observe(answer.completion_tokens)
        self._at = request.at
        if not self._recently.first(request.user):
            return False
        self._judged.answered(route, answer)
        return True

    def thumbs_down(self, route: Route, *, judged: bool) -> None:
        for series in (self._all, self._judged) if judged else (self._all,):
            series.thumbs_down.labels(route.model, route.cohort.value).inc()

    def _begin_at_zero(self, model: str, cohort: str) -> None:
        if (model, cohort) in self._seen:
            return
        self._seen.add((model, cohort))
        self._tokens.labels(model, cohort)
        for series in (self._all, self._judged):
            series.begin_at_zero(model, cohort)
