"""Recordings to replay: OpenMetrics text of a service with two cohorts, as a metric store would have kept it.

Everything that happens in real histories can be asked for: another scrape interval, jittered and missed
scrapes, restarts (counters begin again at zero), gaps, drifting rates, bursts, odd latencies, and a
canary that is worse from a known second on. Seeded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from killswitch.verdicts.evidence.evariables import Array

MONDAY = 1_776_600_000.0  # Unix seconds, a multiple of every scrape interval in use
EDGES_MS = (250, 500, 1000, 1500, 2000, 3000, 4500, 7000, 12000)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Shares of a cohort's requests, and its latency: log-normal, ``median`` in seconds."""

    errors: float = 0.01
    refusals: float = 0.011
    thumbs_down: float = 0.005
    median: float = 0.8
    spread: float = 0.5


@dataclass(frozen=True, slots=True)
class History:
    """One service's history. ``rate``: requests a second of both cohorts; times are seconds from ``start``.

    ``canary`` behaves so from ``onset`` on, and as ``control`` (or ``before``) until then. ``clump``: mean
    size of the geometric bursts events come in. ``missed``: share of scrapes that fail. ``restarts`` and
    ``gaps`` (from, to) hit both cohorts. ``drift``: rates wander by this factor within hours.
    ``ramp``: (from, percent) after the first. ``retirement``: when the canary's series end. ``labels`` stand on every
    series.
    """

    seconds: float = 3 * 3600.0
    rate: float = 50.0
    percent: float = 5.0
    ramp: Sequence[tuple[float, float]] = ()
    control: Behaviour = field(default_factory=Behaviour)
    canary: Behaviour = field(default_factory=Behaviour)
    before: Behaviour | None = None
    onset: float = 0.0
    scrape_interval: float = 15.0
    offset: float = 3.217
    jitter: float = 0.0
    missed: float = 0.0
    restarts: Sequence[float] = ()
    gaps: Sequence[tuple[float, float]] = ()
    clump: float = 1.0
    drift: float = 1.0
    arrival: float = 0.0
    retirement: float = float("inf")
    judged: bool = False
    start: float = MONDAY
    seed: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def onset_at(self) -> float:
        return self.start + self.onset


def openmetrics(*histories: History) -> str:
    """The histories as one recording; their labels must tell them apart."""
    lines = [line for history in histories for line in _lines(history)]
    return "\n".join([*lines, "# EOF", ""])


def _lines(history: History) -> list[str]:
    rng = np.random.default_rng(history.seed)
    begun = np.arange(0.0, history.seconds, history.scrape_interval)
    weather = history.drift ** np.sin(2 * np.pi * begun / 9000.0)
    stamps = history.start + begun + history.offset + rng.uniform(-1, 1, begun.size) * history.jitter
    scraped = rng.random(begun.size) >= history.missed
    for first, last in history.gaps:
        scraped &= (begun < first) | (begun >= last)
    lines: list[str] = []
    to_canary = np.full(begun.size, history.percent / 100)
    for first, percent in history.ramp:
        to_canary[begun >= first] = percent / 100
    for cohort, share in (("control", 1 - to_canary), ("canary", to_canary)):
        behaviours = (history.control, history.control)
        present = scraped
        if cohort == "canary":
            behaviours = (history.before or history.control, history.canary)
            present = scraped & (begun >= history.arrival) & (begun < history.retirement)
        late = begun >= history.onset
        n = rng.poisson(history.rate * history.scrape_interval * share).astype(np.float64)
        if cohort == "canary":
            n = np.where((begun >= history.arrival) & (begun < history.retirement), n, 0.0)
        counters = _counters(history, n, behaviours, late, weather, rng)
        labels = {"model": "model-new" if cohort == "canary" else "model-old", "cohort": cohort, **history.labels}
        for prefix in ("llm_", "llm_judged_") if history.judged else ("llm_",):
            for (name, own), counts in counters.items():
                inside = ",".join(f'{key}="{value}"' for key, value in {**labels, **dict(own)}.items())
                values = _since_restart(counts, begun, history.restarts)
                lines += [
                    f"{prefix}{name}{{{inside}}} {value:.0f} {stamp:.3f}"
                    for value, stamp in zip(values[present].tolist(), stamps[present].tolist(), strict=True)
                ]
    return lines


def _counters(
    history: History,
    n: Array,
    behaviours: tuple[Behaviour, Behaviour],
    late: npt.NDArray[np.bool_],
    weather: Array,
    rng: np.random.Generator,
) -> dict[tuple[str, tuple[tuple[str, str], ...]], Array]:
    def events(share: str, factor: Array) -> Array:
        p = np.minimum(np.where(late, getattr(behaviours[1], share), getattr(behaviours[0], share)) * factor, 1.0)
        if history.clump == 1.0:
            return rng.binomial(n.astype(np.int64), p).astype(np.float64)
        clumps = rng.poisson(n * p / history.clump)
        more = rng.negative_binomial(np.maximum(clumps, 1), 1.0 / history.clump)
        return np.minimum(np.where(clumps > 0, clumps + more, 0), n).astype(np.float64)

    errors = events("errors", weather)
    refusals = np.minimum(events("refusals", weather), n - errors)
    found: dict[tuple[str, tuple[tuple[str, str], ...]], Array] = {
        ("requests_total", (("outcome", "ok"),)): n - errors - refusals,
        ("requests_total", (("outcome", "error"),)): errors,
        ("requests_total", (("outcome", "refused"),)): refusals,
        ("refusals_total", ()): refusals,
        ("thumbs_down_total", ()): events("thumbs_down", weather),
    }
    edges = np.array([*EDGES_MS, np.inf])
    shares = np.where(
        late[:, None], _bucket_shares(edges, behaviours[1])[None], _bucket_shares(edges, behaviours[0])[None]
    )
    buckets = rng.multinomial(n.astype(np.int64), shares).cumsum(axis=1).astype(np.float64)
    for column, edge in enumerate(edges):
        found["latency_ms_bucket", (("le", "+Inf" if np.isinf(edge) else f"{edge:g}"),)] = buckets[:, column]
    return found


def _bucket_shares(edges: Array, behaviour: Behaviour) -> Array:
    from scipy.special import ndtr  # noqa: PLC0415  a test dependency

    with np.errstate(divide="ignore"):
        below = ndtr((np.log(edges / 1000.0) - np.log(behaviour.median)) / behaviour.spread)
    return np.asarray(np.diff(below, prepend=0.0))


def _since_restart(counts: Array, begun: Array, restarts: Sequence[float]) -> Array:
    """A counter that begins again at zero at each restart."""
    total = np.cumsum(counts)
    for restart in sorted(restarts):
        at = int(np.searchsorted(begun, restart))
        if 0 < at < total.size:
            total[at:] -= total[at - 1]
    return total
