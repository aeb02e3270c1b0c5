"""An hour and a half of the control model's past, so that the demo's daemon need not watch that long first.

Evidence needs to know how bursty control is: until it has seen 120 ticks of it, an hour, only a gross
breach counts. In a real rollout the metric store holds that hour. The demo's world has just begun, so its
past is drawn: the users' and the model's rates of `killswitch.demo.traffic`, at the negative seconds of the
same world (the same wander, the same time of day), counts by scrape instead of request by request. There is
nothing of the canary in it, and nothing in it is counted against the canary.

Pure, but for the two writers, which put it where the source will look for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from killswitch.demo.pace import SCRAPE_INTERVAL, Pace
from killswitch.demo.traffic import HEALTHY, World, day_factor
from killswitch.model import Cohort
from killswitch.router import Outcome
from killswitch.router.instruments import LATENCY_BUCKETS_MS
from killswitch.router.judged import PERIOD
from killswitch.sources.scrape.sample_history import SampleHistory

PAST = 5400.0  # simulated seconds: the hour that is needed, and half of one for what is missed while all starts

_ByUser = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
_ByBucket = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
Sample = tuple[str, Mapping[str, str], float]
"""Metric, labels, value."""


@dataclass(frozen=True, slots=True)
class PastScrape:
    """What a scrape at ``stamp`` (Unix seconds) would have shown: counters since the past began."""

    stamp: float
    samples: tuple[Sample, ...]


def control_past(world: World, pace: Pace, *, model: str, began: float, seed: int) -> Iterator[PastScrape]:
    """The control model's scrapes in the `PAST` before ``began``, Unix seconds at the world's second 0."""
    luck = np.random.default_rng(seed)
    activity = np.array(world.activity())
    interval = pace.real(SCRAPE_INTERVAL)
    newest = math.ceil(began / interval - 0.5) - 1  # in the middle of the clock's slots, as the embedded source scrapes
    count = round(PAST / SCRAPE_INTERVAL)
    counters = _Counters(model)
    for number in range(newest - count, newest + 1):
        stamp = (number + 0.5) * interval
        at = pace.simulated(stamp - began) - SCRAPE_INTERVAL / 2
        _live(counters, world, at, judged_share(activity, world.rate * day_factor(at)), luck)
        yield PastScrape(stamp, counters.samples())


def write_samples(past: Iterable[PastScrape], file: Path, *, instance: str) -> None:
    """Into the file of the embedded source, as if it had scraped ``instance`` (host:port) all the while."""
    history = SampleHistory(file)
    try:
        for scrape in past:
            rows = [(metric, {**labels, "instance": instance}, value) for metric, labels, value in scrape.samples]
            history.add(round(scrape.stamp * 1000), rows)
    finally:
        history.close()


def openmetrics(past: Iterable[PastScrape], labels: Mapping[str, str]) -> str:
    """The text ``promtool tsdb create-blocks-from openmetrics`` makes blocks of; each series gets ``labels``, too."""
    series: dict[str, list[str]] = {}
    for scrape in past:
        for metric, own, value in scrape.samples:
            text = ",".join(f'{name}="{content}"' for name, content in sorted({**own, **labels}.items()))
            name = f"{metric}{{{text}}}"
            series.setdefault(name, []).append(f"{name} {value:g} {scrape.stamp:.3f}")
    return "\n".join([*(line for lines in series.values() for line in lines), "# EOF", ""])


def judged_share(activity: _ByUser, rate: float) -> float:
    """The share of ``rate`` requests a second that are their user's first in his `PERIOD`.

    A user of r requests a second has one in a period with the chance ``1 - exp(-r PERIOD)``.
    """
    periods = -np.expm1(-rate * PERIOD * np.asarray(activity))
    return float(np.sum(periods) / (rate * PERIOD))


def _live(counters: _Counters, world: World, at: float, share: float, luck: np.random.Generator) -> None:
    """One scrape interval around simulated second ``at``."""
    wander = world.wander(at)
    requests = int(luck.poisson(world.rate * day_factor(at) * SCRAPE_INTERVAL))
    failed = int(luck.binomial(requests, HEALTHY.error_rate * wander))
    refused = int(luck.binomial(requests - failed, HEALTHY.refusal_rate * wander))
    answered = requests - failed - refused
    disliked = int(luck.binomial(answered, HEALTHY.thumbs_down_rate * wander))
    shares = _latency_shares(world.latency_median_ms(at, HEALTHY), HEALTHY.latency_sigma)
    judged_requests = 0
    for outcome, count in ((Outcome.OK, answered), (Outcome.ERROR, failed), (Outcome.REFUSED, refused)):
        judged = int(luck.binomial(count, share))
        judged_requests += judged
        counters.requests(outcome, count, judged)
        if outcome is Outcome.REFUSED:
            counters.refusals(count, judged)
    counters.thumbs_down(disliked, int(luck.binomial(disliked, share)))
    counters.latencies(luck.multinomial(requests - judged_requests, shares), luck.multinomial(judged_requests, shares))


def _latency_shares(median_ms: float, sigma: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How much of a log-normal latency falls into each bucket of the schema."""
    below = [0.5 * (1 + math.erf(math.log(edge / median_ms) / (sigma * math.sqrt(2)))) for edge in LATENCY_BUCKETS_MS]
    shares: np.ndarray[tuple[int], np.dtype[np.float64]] = np.diff([0.0, *below, 1.0])
    return shares


class _Counters:
    """The cohort schema of one model in control, plain and judged, counting up."""

    def __init__(self, model: str) -> None:
        self._labels = {"model": model, "cohort": Cohort.CONTROL.value}
        self._values: dict[tuple[str, str, str], float] = {}

    def requests(self, outcome: Outcome, count: int, judged: int) -> None:
        self._add("requests_total", "outcome", outcome.value, count, judged)

    def refusals(self, count: int, judged: int) -> None:
        self._add("refusals_total", "", "", count, judged)

    def thumbs_down(self, count: int, judged: int) -> None:
        self._add("thumbs_down_total", "", "", count, judged)

    def latencies(self, rest: _ByBucket, judged: _ByBucket) -> None:
        edges = [*(repr(float(edge)) for edge in LATENCY_BUCKETS_MS), "+Inf"]
        for edge, others, of_judged in zip(edges, np.cumsum(rest), np.cumsum(judged), strict=True):
            self._add("latency_ms_bucket", "le", edge, int(others + of_judged), int(of_judged))

    def samples(self) -> tuple[Sample, ...]:
        return tuple(
            (metric, {**self._labels, label: value} if label else self._labels, count)
            for (metric, label, value), count in self._values.items()
        )

    def _add(self, name: str, label: str, value: str, count: int, judged: int) -> None:
        for metric, more in ((f"llm_{name}", count), (f"llm_judged_{name}", judged)):
            key = (metric, label, value)
            self._values[key] = self._values.get(key, 0.0) + more
