"""The cohort schema as instruments: exactly the names, labels and units that the default rules read.

===================================================  =========  ==================================
metric                                               type       labels
===================================================  =========  ==================================
llm_requests_total, llm_judged_requests_total        counter    model, cohort, outcome
llm_latency_ms, llm_judged_latency_ms                histogram  model, cohort (milliseconds)
llm_completion_tokens                                histogram  model, cohort
llm_tokens_total                                     counter    model, cohort, kind
llm_unmetered_requests_total                         counter    model, cohort
llm_refusals_total, llm_judged_refusals_total        counter    model, cohort
llm_thumbs_down_total, llm_judged_thumbs_down_total  counter    model, cohort
llm_shadow_pairs_total                               counter    rollout, kind, outcome
llm_shadow_dropped_total                             counter    rollout, reason
llm_shadow_shared_key_total                          counter    rollout
llm_shadow_uncapped_total                            counter    rollout
===================================================  =========  ==================================

``cohort`` is ``control`` or ``canary``, and ``shadow`` for requests that were asked of the canary unseen.

``kind`` is ``input``, ``cached_input``, ``cache_write``, ``output`` or ``reasoning``, as tokens are billed: each is in
one of them. A request whose answer did not say what it used is unmetered: its tokens are in no counter.

The judged counters count a user's first request in each five minutes (see `killswitch.router.judged`).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import ClassVar, Protocol

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from killswitch.model import CohortLabel
from killswitch.router import worker_warnings
from killswitch.router.outcomes import Outcome
from killswitch.token_usage import KINDS, Usage

# The R10 series of preferred numbers (ISO 3): each bucket a quarter wider than the last, so that a
# quantile's ratio is read to a few percent, from a fast cache hit to the slowest answer with tools.
LATENCY_BUCKETS_MS = (
    *(10, 25, 50),
    *(step * decade for decade in (100, 1000, 10_000) for step in (1, 1.25, 1.6, 2, 2.5, 3.15, 4, 5, 6.3, 8)),
    *(100_000, 125_000, 160_000, 200_000, 300_000, 600_000),
)
TOKEN_BUCKETS = (
    *(1, 2, 5, 10, 20, 50, 100, 150, 200, 300, 400, 500, 700, 1000, 1500, 2000, 3000, 4000, 6000),
    *(8000, 16_000, 32_000, 64_000, 128_000),
)


class CohortSeries(Protocol):
    """All series of one model in one cohort; a ``judged`` event counts in the plain series too."""

    def ended(self, outcome: Outcome, milliseconds: float | None, *, judged: bool) -> None:
        """``milliseconds``: None where its latency is not comparable with control's."""
        ...

    def refused(self, *, judged: bool) -> None: ...
    def tokens(self, count: int) -> None: ...
    def billed(self, usage: Usage | None) -> None:
        """What an answer is billed for; None where it was not said."""
        ...

    def thumbs_down(self, *, judged: bool) -> None: ...


class Instruments(Protocol):
    """Where the numbers go: Prometheus, or OpenTelemetry (`killswitch.router.integrations.opentelemetry`)."""

    def series(self, cohort: CohortLabel, model: str) -> CohortSeries:
        """The series of one model in one cohort; from this call on they exist, at 0."""
        ...

    def before_scrape(self, declare: Callable[[], None]) -> None:
        """Call ``declare`` (a bound method, held weakly) before each export, where that is possible."""
        ...

    def shadow_pairs(self, rollout: str) -> PairCounter:
        """The shadow's own counters of one rollout."""
        ...


class PairCounter(Protocol):
    """Pairs that the shadow has recorded, and sampled requests without one."""

    def pair(self, kind: str, outcome: str) -> None: ...
    def dropped(self, reason: str, number: int) -> None: ...
    def shared_key(self) -> None:
        """A call of the shadow was made with an API key of production's."""
        ...

    def uncapped(self) -> None:
        """A call of the shadow was made without a spend ledger."""
        ...


class PrometheusInstruments:
    """The schema in a `prometheus_client` registry; one for each registry, for any number of rollouts.

    In prometheus-client's multiprocess mode (``PROMETHEUS_MULTIPROC_DIR``) it needs nothing else. Several workers
    without that mode are warned about (`killswitch.router.worker_warnings`).
    """

    _of_registry: ClassVar[weakref.WeakKeyDictionary[CollectorRegistry, PrometheusInstruments]] = (
        weakref.WeakKeyDictionary()
    )

    @classmethod
    def of(cls, registry: CollectorRegistry = REGISTRY) -> PrometheusInstruments:
        """The instruments of ``registry``, made at the first call."""
        known = cls._of_registry.get(registry)
        if known is None:
            known = cls._of_registry[registry] = cls(registry)
        return known

    def __init__(self, registry: CollectorRegistry) -> None:
        worker_warnings.warn_at_start()
        self._declarations = _Declarations()
        registry.register(self._declarations)  # first: collectors are asked in the order of registration
        labels = ("model", "cohort")
        by_outcome = (*labels, "outcome")

        def twice(kind: str, text: str, names: tuple[str, ...]) -> tuple[Counter, Counter]:
            plain = Counter(f"llm_{kind}", text, names, registry=registry)
            return plain, Counter(f"llm_judged_{kind}", f"{text}, judged ones only", names, registry=registry)

        self.requests = twice("requests", "Requests to a model, by cohort and how they ended", by_outcome)
        self.refusals = twice("refusals", "Requests that the model refused to answer", labels)
        self.thumbs_down = twice("thumbs_down", "Answers that their user disliked", labels)
        text = "Milliseconds from a request to the end of its answer, however it ended"
        self.latency = (
            Histogram("llm_latency_ms", text, labels, buckets=LATENCY_BUCKETS_MS, registry=registry),
            Histogram(
                "llm_judged_latency_ms",
                f"{text}, judged ones only",
                labels,
                buckets=LATENCY_BUCKETS_MS,
                registry=registry,
            ),
        )
        self.completion_tokens = Histogram(
            "llm_completion_tokens", "Tokens that the model wrote", labels, buckets=TOKEN_BUCKETS, registry=registry
        )
        self.billed_tokens = Counter(
            "llm_tokens", "Tokens that a request is billed for", (*labels, "kind"), registry=registry
        )
        self.unmetered = Counter(
            "llm_unmetered_requests", "Requests whose answer did not say what it used", labels, registry=registry
        )
        self.pairs = Counter(
            "llm_shadow_pairs",
            "Requests that were asked again unseen, by how that ended",
            ("rollout", "kind", "outcome"),
            registry=registry,
        )
        self.dropped = Counter(
            "llm_shadow_dropped",
            "Sampled requests that were not asked again or not recorded, by reason",
            ("rollout", "reason"),
            registry=registry,
        )

        shared, uncapped = "Calls of the shadow with an API key of production's", "Calls of the shadow without a ledger"
        self.shared_key = Counter("llm_shadow_shared_key", shared, ("rollout",), registry=registry)
        self.uncapped = Counter("llm_shadow_uncapped", uncapped, ("rollout",), registry=registry)

    def shadow_pairs(self, rollout: str) -> _PrometheusPairs:
        return _PrometheusPairs(self, rollout)

    def series(self, cohort: CohortLabel, model: str) -> _PrometheusSeries:
        return _PrometheusSeries(self, cohort, model)

    def before_scrape(self, declare: Callable[[], None]) -> None:
        self._declarations.add(declare)


class _PrometheusSeries:
    """Children bound once: a counter born with its first event would lose that event."""

    __slots__ = ("_billed", "_latency", "_refusals", "_requests", "_thumbs_down", "_tokens", "_unmetered")

    def __init__(self, instruments: PrometheusInstruments, cohort: CohortLabel, model: str) -> None:
        labels = (model, str(cohort))
        self._requests = tuple(
            {outcome: counter.labels(*labels, outcome.value) for outcome in Outcome} for counter in instruments.requests
        )
        self._refusals = tuple(counter.labels(*labels) for counter in instruments.refusals)
        self._thumbs_down = tuple(counter.labels(*labels) for counter in instruments.thumbs_down)
        self._latency = tuple(histogram.labels(*labels) for histogram in instruments.latency)
        self._tokens = instruments.completion_tokens.labels(*labels)
        self._billed = {kind: instruments.billed_tokens.labels(*labels, kind) for kind in KINDS}
        self._unmetered = instruments.unmetered.labels(*labels)

    def ended(self, outcome: Outcome, milliseconds: float | None, *, judged: bool) -> None:
        for requests in self._requests[: 1 + judged]:
            requests[outcome].inc()
        if milliseconds is not None:
            for latency in self._latency[: 1 + judged]:
                latency.observe(milliseconds)

    def refused(self, *, judged: bool) -> None:
        for refusals in self._refusals[: 1 + judged]:
            refusals.inc()

    def tokens(self, count: int) -> None:
        self._tokens.observe(count)

    def billed(self, usage: Usage | None) -> None:
        if usage is None:
            self._unmetered.inc()
            return
        for kind, counter in self._billed.items():
            count = getattr(usage, kind)
            if count:
                counter.inc(count)

    def thumbs_down(self, *, judged: bool) -> None:
        for thumbs in self._thumbs_down[: 1 + judged]:
            thumbs.inc()


class _PrometheusPairs:
    """Satisfies `PairCounter`."""

    def __init__(self, instruments: PrometheusInstruments, rollout: str) -> None:
        self._instruments = instruments
        self._rollout = rollout
        self._shared_key = instruments.shared_key.labels(rollout)
        self._uncapped = instruments.uncapped.labels(rollout)

    def pair(self, kind: str, outcome: str) -> None:
        self._instruments.pairs.labels(self._rollout, kind, outcome).inc()

    def dropped(self, reason: str, number: int) -> None:
        self._instruments.dropped.labels(self._rollout, reason).inc(number)

    def shared_key(self) -> None:
        self._shared_key.inc()

    def uncapped(self) -> None:
        self._uncapped.inc()


class _Declarations(Collector):
    """A collector without metrics: being asked for some is how it learns that a scrape begins."""

    def __init__(self) -> None:
        self._declare: list[weakref.WeakMethod[Callable[[], None]]] = []

    def add(self, declare: Callable[[], None]) -> None:
        self._declare = [kept for kept in self._declare if kept() is not None] + [weakref.WeakMethod(declare)]

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        worker_warnings.warn_when_scraped()
        for reference in self._declare:
            declare = reference()
            if declare is not None:
                declare()
        return ()
