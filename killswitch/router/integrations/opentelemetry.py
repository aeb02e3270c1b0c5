"""The cohort schema as OpenTelemetry instruments, for services whose metrics leave through a collector.

::

    metrics = CohortMetrics(router, instruments=OpenTelemetryInstruments(meter_provider.get_meter("copilot")))

The names are such that a Prometheus exporter, or a collector's, arrives at exactly the names the rules read:
``llm_requests`` becomes ``llm_requests_total``; ``llm_latency_ms`` carries its unit in its name and no
unit besides, because an exporter would append that to the name. Counters exist at 0 from the start; a
histogram of OpenTelemetry cannot be, so the latency of a new model appears with its first request. A delta
temporality would lose the zeros: use cumulative, the default. `CohortMetrics` declares new models when
the flag changes.
"""

from __future__ import annotations

from collections.abc import Callable

from killswitch.model import CohortLabel
from killswitch.router.instruments import LATENCY_BUCKETS_MS, TOKEN_BUCKETS
from killswitch.router.integrations import needs
from killswitch.router.outcomes import Outcome
from killswitch.token_usage import KINDS, Usage

with needs("OpenTelemetry", "opentelemetry-sdk>=1.29,<2"):
    from opentelemetry.metrics import Counter, Histogram, Meter


class OpenTelemetryInstruments:
    """Satisfies `killswitch.router.instruments.Instruments` on ``meter``."""

    def __init__(self, meter: Meter) -> None:
        def counters(kind: str, text: str) -> tuple[Counter, Counter]:
            return meter.create_counter(f"llm_{kind}", description=text), meter.create_counter(
                f"llm_judged_{kind}", description=f"{text}, judged ones only"
            )

        def histogram(name: str, text: str, bounds: tuple[float, ...]) -> Histogram:
            return meter.create_histogram(name, description=text, explicit_bucket_boundaries_advisory=bounds)

        self.requests = counters("requests", "Requests to a model, by cohort and how they ended")
        self.refusals = counters("refusals", "Requests that the model refused to answer")
        self.thumbs_down = counters("thumbs_down", "Answers that their user disliked")
        text = "Milliseconds from a request to the end of its answer, however it ended"
        self.latency = (
            histogram("llm_latency_ms", text, LATENCY_BUCKETS_MS),
            histogram("llm_judged_latency_ms", f"{text}, judged ones only", LATENCY_BUCKETS_MS),
        )
        self.completion_tokens = histogram("llm_completion_tokens", "Tokens that the model wrote", TOKEN_BUCKETS)
        self.billed_tokens = meter.create_counter("llm_tokens", description="Tokens that a request is billed for")
        self.unmetered = meter.create_counter(
            "llm_unmetered_requests", description="Requests whose answer did not say what it used"
        )
        self.pairs = meter.create_counter(
            "llm_shadow_pairs", description="Requests that were asked again unseen, by how that ended"
        )
        self.dropped = meter.create_counter(
            "llm_shadow_dropped", description="Sampled requests that were not asked again or not recorded, by reason"
        )
        self.shared_key = meter.create_counter(
            "llm_shadow_shared_key", description="Calls of the shadow that were made with an API key of production's"
        )
        self.uncapped = meter.create_counter(
            "llm_shadow_uncapped", description="Calls of the shadow without a spend ledger, so that no cap holds them"
        )

    def series(self, cohort: CohortLabel, model: str) -> _OpenTelemetrySeries:
        return _OpenTelemetrySeries(self, cohort, model)

    def before_scrape(self, declare: Callable[[], None]) -> None:
        """Nothing: an exporter does not say when it reads."""

    def shadow_pairs(self, rollout: str) -> _OpenTelemetryPairs:
        return _OpenTelemetryPairs(self, rollout)


class _OpenTelemetryPairs:
    """Satisfies `killswitch.router.instruments.PairCounter`."""

    def __init__(self, instruments: OpenTelemetryInstruments, rollout: str) -> None:
        self._instruments = instruments
        self._rollout = rollout
        instruments.shared_key.add(0, {"rollout": rollout})
        instruments.uncapped.add(0, {"rollout": rollout})

    def pair(self, kind: str, outcome: str) -> None:
        self._instruments.pairs.add(1, {"rollout": self._rollout, "kind": kind, "outcome": outcome})

    def dropped(self, reason: str, number: int) -> None:
        self._instruments.dropped.add(number, {"rollout": self._rollout, "reason": reason})

    def shared_key(self) -> None:
        self._instruments.shared_key.add(1, {"rollout": self._rollout})

    def uncapped(self) -> None:
        self._instruments.uncapped.add(1, {"rollout": self._rollout})


class _OpenTelemetrySeries:
    __slots__ = ("_by_kind", "_by_outcome", "_instruments", "_labels")

    def __init__(self, instruments: OpenTelemetryInstruments, cohort: CohortLabel, model: str) -> None:
        self._instruments = instruments
        self._labels = {"model": model, "cohort": str(cohort)}
        self._by_outcome = {outcome: {**self._labels, "outcome": outcome.value} for outcome in Outcome}
        for requests in instruments.requests:
            for labels in self._by_outcome.values():
                requests.add(0, labels)
        for counter in (*instruments.refusals, *instruments.thumbs_down, instruments.unmetered):
            counter.add(0, self._labels)
        self._by_kind = {kind: {**self._labels, "kind": kind} for kind in KINDS}
        for labels in self._by_kind.values():
            instruments.billed_tokens.add(0, labels)

    def ended(self, outcome: Outcome, milliseconds: float | None, *, judged: bool) -> None:
        for requests in self._instruments.requests[: 1 + judged]:
            requests.add(1, self._by_outcome[outcome])
        if milliseconds is not None:
            for latency in self._instruments.latency[: 1 + judged]:
                latency.record(milliseconds, self._labels)

    def refused(self, *, judged: bool) -> None:
        for refusals in self._instruments.refusals[: 1 + judged]:
            refusals.add(1, self._labels)

    def tokens(self, count: int) -> None:
        self._instruments.completion_tokens.record(count, self._labels)

    def billed(self, usage: Usage | None) -> None:
        if usage is None:
            self._instruments.unmetered.add(1, self._labels)
            return
        for kind, labels in self._by_kind.items():
            count = getattr(usage, kind)
            if count:
                self._instruments.billed_tokens.add(count, labels)

    def thumbs_down(self, *, judged: bool) -> None:
        for thumbs in self._instruments.thumbs_down[: 1 + judged]:
            thumbs.add(1, self._labels)
