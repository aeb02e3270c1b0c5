"""A metric source whose readings a test writes, in virtual time.

`ScriptedSource` answers each want with what its script says, or fails as it is told. `Traffic` is a
script: seeded requests of both cohorts, step by step, of which windows are sums, so that the several
ranges, rules and replays of one history agree as they would in a real metric store.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from killswitch.deadline import Deadline
from killswitch.errors import Unavailable
from killswitch.model import (
    Buckets,
    Cohort,
    Counts,
    Decide,
    Limits,
    Matcher,
    Measurement,
    QuantileSignal,
    Range,
    RatioSignal,
    Reading,
    Readings,
    Reason,
    Rollout,
    Rule,
    Selector,
    Unit,
    Unreadable,
    Want,
)
from tests.doubles.clock import VirtualClock

STEP = 30.0
BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, float("inf"))
COHORTS = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}
DOWN = Unreadable(Reason.SOURCE_DOWN, "the metric store does not answer")

ERRORS = Rule(
    "error_rate",
    RatioSignal((Selector("errors_total"),), (Selector("requests_total"),)),
    Limits(maximum=0.02),
    Unit.FRACTION,
)
REFUSALS = Rule(
    "refusal_rate",
    RatioSignal((Selector("refusals_total"),), (Selector("requests_total"),)),
    Limits(max_increase=0.05),
    Unit.FRACTION,
)
THUMBS = Rule(
    "thumbs_down_rate",
    RatioSignal((Selector("thumbs_total"),), (Selector("requests_total"),)),
    Limits(max_ratio=2.0),
    Unit.FRACTION,
    delay=300.0,
)
LATENCY = Rule(
    "latency_p95", QuantileSignal(Selector("latency_bucket"), 0.95), Limits(max_ratio=1.5), Unit.SECONDS
)  # fmt: skip
ALL_RULES = (ERRORS, LATENCY, REFUSALS, THUMBS)
HEALTHY_RATES = {"error_rate": 0.01, "refusal_rate": 0.011, "thumbs_down_rate": 0.005}

Script = Callable[[Want, Cohort, float], Measurement]


def rollout(name: str = "copilot", rules: Sequence[Rule] = ALL_RULES, **changes: object) -> Rollout:
    """A rollout as a rule file would give it; ``changes`` are fields of `Rollout`."""
    values: dict[str, object] = {"min_requests": 50, "digest": "sha256:1", "decide": Decide.EVIDENCE, **changes}
    return Rollout(name, "model-old", "model-new", COHORTS, tuple(rules), **values)  # type: ignore[arg-type]  # test keywords


@lru_cache(maxsize=200_000)
def _trials(seed: int, who: str, cohort: Cohort, step: int, mean: float) -> int:
    return int(np.random.default_rng(zlib.crc32(f"{seed} {who} {cohort} {step}".encode())).poisson(mean))


@lru_cache(maxsize=200_000)
def _events(seed: int, who: str, cohort: Cohort, step: int, trials: int, rate: float) -> int:
    generator = np.random.default_rng(zlib.crc32(f"{seed} {who} {cohort} {step} events".encode()))
    return int(generator.binomial(trials, min(rate, 1.0)))


@lru_cache(maxsize=200_000)
def _histogram(seed: int, who: str, cohort: Cohort, step: int, trials: int, scale: float) -> tuple[float, ...]:
    generator = np.random.default_rng(zlib.crc32(f"{seed} {who} {cohort} {step} latency".encode()))
    slow = generator.lognormal(0.0, 0.5, trials) * scale
    return tuple(float(count) for count in np.searchsorted(np.sort(slow), BOUNDS, side="right"))


@dataclass(slots=True)
class Traffic:
    """Requests a step by cohort, and what becomes of them.

    ``rate``: given rollout, rule, cohort and the step's end (Unix seconds), the share of events, or for the
    latency rule the factor on every latency. ``since`` (Unix seconds): before it the canary is not there.
    """

    mean: Mapping[Cohort, float] = field(default_factory=lambda: {Cohort.CONTROL: 1425.0, Cohort.CANARY: 75.0})
    rate: Callable[[str, str, Cohort, float], float] = lambda _rollout, rule, _cohort, _tick: HEALTHY_RATES.get(rule, 1)
    seed: int = 1
    since: float = 0.0

    def __call__(self, want: Want, cohort: Cohort, tick: float) -> Measurement:
        steps = round(want.seconds / STEP)
        ends = [round(tick / STEP) - back for back in range(steps)]
        if cohort is Cohort.CANARY:
            ends = [end for end in ends if (end - 1) * STEP >= self.since]
        if not ends:
            return Unreadable(Reason.NO_DATA, "no series")
        parts = [self._one(want, cohort, end) for end in ends]
        if isinstance(want.signal, QuantileSignal):
            columns = zip(*(part for part in parts if isinstance(part, tuple)), strict=True)
            return Buckets(BOUNDS, tuple(float(sum(column)) for column in columns))
        pairs = [part for part in parts if isinstance(part, Counts)]
        return Counts(sum(part.events for part in pairs), sum(part.trials for part in pairs))

    def _one(self, want: Want, cohort: Cohort, end: int) -> Counts | tuple[float, ...]:
        trials = _trials(self.seed, want.rollout, cohort, end, self.mean[cohort])
        rate = self.rate(want.rollout, want.rule, cohort, end * STEP)
        if isinstance(want.signal, QuantileSignal):
            return _histogram(self.seed, f"{want.rollout} {want.rule}", cohort, end, trials, rate)
        return Counts(_events(self.seed, f"{want.rollout} {want.rule}", cohort, end, trials, rate), trials)


def canary_from(start: float, **rates: float) -> Callable[[str, str, Cohort, float], float]:
    """Healthy, until the canary's rates change with the step after ``start``: ``error_rate=0.1``, ``latency_p95=2``."""

    def rate(_rollout: str, rule: str, cohort: Cohort, tick: float) -> float:
        usual = HEALTHY_RATES.get(rule, 1.0)
        return rates.get(rule, usual) if cohort is Cohort.CANARY and tick > start else usual

    return rate


@dataclass(slots=True)
class ScriptedSource:
    """Both cohorts of every want as ``script`` says. Its clock is ``clock``'s monotonic time plus ``offset``.

    ``down``: neither clock nor data. ``spoil``: asked for each reading, may replace it by a failure.
    ``seconds``: how long each call takes, on the virtual clock.
    """

    clock: VirtualClock
    script: Script
    offset: float = 0.0
    down: bool = False
    fails: Callable[[str], bool] = lambda _call: False
    spoil: Callable[[Want, float], Unreadable | None] = lambda _want, _tick: None
    seconds: float = 0.0
    asked: list[tuple[str, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.offset += self.clock.wall() - self.clock.monotonic()

    def now(self, deadline: Deadline) -> float:
        if self.down or self.fails("now"):
            raise Unavailable("the metric store does not answer")
        return self.clock.monotonic() + self.offset

    def read(self, wants: Sequence[Want], tick: float, deadline: Deadline) -> Readings:
        self._ask("read", wants, 1)
        if self.down or self.fails("read"):
            return {want.key: Reading(DOWN, DOWN, want.seconds) for want in wants}
        return {want.key: self._reading(want, tick) for want in wants}

    def read_back(self, wants: Sequence[Want], ticks: Sequence[float], deadline: Deadline) -> Mapping[float, Readings]:
        self._ask("read_back", wants, len(ticks))
        if self.down or self.fails("read_back"):
            return {tick: {want.key: Reading(DOWN, DOWN, want.seconds) for want in wants} for tick in ticks}
        return {tick: {want.key: self._reading(want, tick) for want in wants} for tick in ticks}

    def close(self) -> None:
        """Nothing to let go of."""

    def _reading(self, want: Want, tick: float) -> Reading:
        spoiled = self.spoil(want, tick)
        if spoiled is not None:
            return Reading(spoiled, spoiled, want.seconds)
        # what has not happened yet is not there
        newest = self.clock.monotonic() + self.offset
        if tick > newest and want.range is Range.STEP:
            ahead = Unreadable(Reason.GAP, "the step is not over")
            return Reading(ahead, ahead, want.seconds)
        canary, control = self.script(want, Cohort.CANARY, tick), self.script(want, Cohort.CONTROL, tick)
        return Reading(canary, control, want.seconds, (f"{want.rule} {want.part}",))

    def _ask(self, call: str, wants: Sequence[Want], ticks: int) -> None:
        self.asked.append((call, len(wants), ticks))
        self.clock.advance(self.seconds)
