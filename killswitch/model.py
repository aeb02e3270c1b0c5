"""The words of the project: cohort, signal, rule, rollout, reading, finding.

Plain values. Units: rates and shares are fractions (0.02 is 2 %), times are seconds, percents (0 to 100) say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from killswitch.alert_settings import AlertSettings
from killswitch.drill_settings import DrillSettings
from killswitch.page_addresses import NO_ADDRESSES, PageAddresses
from killswitch.plan import Plan
from killswitch.slow_settings import SlowSettings
from killswitch.spend_cap import SpendCap


class Cohort(StrEnum):
    """Which side of the rollout a user is on; decided by a sticky hash of the user."""

    CONTROL = "control"
    CANARY = "canary"


SHADOW_COHORT: Literal["shadow"] = "shadow"  # a label of metrics: requests that no user sees, so no user's side
CohortLabel = Cohort | Literal["shadow"]


class Verdict(StrEnum):
    """What a rule says at one tick. Never a bool: UNKNOWN is not False."""

    HEALTHY = "HEALTHY"
    SUSPECT = "SUSPECT"  # over its limit in the window, and that is not proven yet; no one acts on it
    BREACH = "BREACH"
    UNKNOWN = "UNKNOWN"


class Reason(StrEnum):
    """Why a verdict is what it is, where the numbers alone do not say it."""

    # the source could not be read
    SOURCE_DOWN = "SOURCE_DOWN"
    SOURCE_TIMEOUT = "SOURCE_TIMEOUT"
    SOURCE_REFUSED = "SOURCE_REFUSED"
    GARBAGE = "GARBAGE"
    PARTIAL_ANSWER = "PARTIAL_ANSWER"
    SEVERAL_SERIES = "SEVERAL_SERIES"
    # it was read, and the data cannot be judged
    NO_DATA = "NO_DATA"
    STALE = "STALE"
    GAP = "GAP"
    BEHIND = "BEHIND"
    NEVER_SEEN = "NEVER_SEEN"
    NUMERIC = "NUMERIC"
    SATURATED = "SATURATED"
    TOO_FEW_REQUESTS = "TOO_FEW_REQUESTS"
    JUST_ARMED = "JUST_ARMED"
    DRAINING = "DRAINING"
    WARMING_UP = "WARMING_UP"
    TRAFFIC_SPLIT = "TRAFFIC_SPLIT"
    TOO_FEW_USERS = "TOO_FEW_USERS"
    SETTLING = "SETTLING"
    RESPONSE_RATE = "RESPONSE_RATE"
    NOT_IN_SHADOW = "NOT_IN_SHADOW"
    # judged, with something to add
    CONTROL_TOO = "CONTROL_TOO"
    INTERNAL_ERROR = "INTERNAL_ERROR"


# --- signals: how a source obtains a number -----------------------------------------------------

MatchOperator = Literal["=", "!=", "=~", "!~"]
Bursts = Literal["auto", "short", "long"]


@dataclass(frozen=True, slots=True, order=True)
class Matcher:
    """One label matcher, as in PromQL: ``label`` ``operator`` ``value`` (unescaped)."""

    label: str
    operator: MatchOperator
    value: str


@dataclass(frozen=True, slots=True)
class Selector:
    """The counters of one metric name that satisfy every matcher (cohort matchers not included)."""

    metric: str
    matchers: tuple[Matcher, ...] = ()


CohortMatchers = Mapping[Cohort, tuple[Matcher, ...]]


@dataclass(frozen=True, slots=True)
class RatioSignal:
    """events / trials (``error_rate``): sums of counters, or numbers of the users that the label ``per`` names."""

    events: tuple[Selector, ...]
    trials: tuple[Selector, ...]
    per: str = ""


@dataclass(frozen=True, slots=True)
class QuantileSignal:
    """A quantile of a classic histogram (``latency_p95``).

    ``buckets`` selects the cumulative ``…_bucket`` counters; ``le`` times ``unit_seconds`` is seconds.
    """

    buckets: Selector
    quantile: float
    unit_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class QuerySignal:
    """A free PromQL query per cohort that yields one number; only the bare comparison applies."""

    canary: str
    control: str


Signal = RatioSignal | QuantileSignal | QuerySignal


# --- rules: what is asked of a signal -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of a rule; the canary is over the rule when it is over every bound stated.

    For rates ``maximum``, ``max_increase`` and ``floor`` are fractions; for quantiles they are
    seconds; for free queries, the query's own unit. ``maximum`` implies "and worse than control"
    unless ``even_if_control_is_bad``.
    """

    maximum: float | None = None
    max_increase: float | None = None
    max_ratio: float | None = None
    floor: float | None = None
    even_if_control_is_bad: bool = False


class Decide(StrEnum):
    """How a rule is judged: by accumulated evidence, or by the bare comparison."""

    EVIDENCE = "evidence"
    THRESHOLD = "threshold"


class Mode(StrEnum):
    ENFORCE = "enforce"
    DRY_RUN = "dry_run"


class Unit(StrEnum):
    """How a rule's values are printed."""

    FRACTION = "fraction"  # 0.087 -> 8.7 %
    SECONDS = "seconds"  # 2.4 -> 2.4 s
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class Rule:
    """A signal and its limit.

    ``per_user`` counts only a user's first request in each five minutes (the ``llm_judged_…`` metrics). Where it has
    trials, the rule is judged on it, and the plain signal is shown next to it.
    ``delay`` is how long feedback may trail its request, in seconds. ``cohorts`` replaces the rollout's cohort
    matchers where this rule's metrics name the model by another label (`Rollout.cohorts_of`).
    """

    name: str
    signal: Signal
    limits: Limits
    unit: Unit
    per_user: Signal | None = None
    delay: float = 0.0
    absent_is_zero: bool = False
    for_ticks: int = 1
    cohorts: CohortMatchers | None = None


@dataclass(frozen=True, slots=True)
class PageSettings:
    """Who is paged, and what the page links to; ``slack_allow``: ids of people and groups who may press buttons.

    ``slack`` is a channel, ``pagerduty`` names a key, ``addresses`` has all other receivers and the routes.
    """

    slack: str | None = None
    mention: str | None = None
    severity: Literal["critical", "error", "warning", "info"] = "critical"
    runbook: str | None = None
    dashboard: str | None = None
    pagerduty: str | None = None
    slack_allow: tuple[str, ...] = ()
    public_url: str | None = None
    addresses: PageAddresses = NO_ADDRESSES


@dataclass(frozen=True, slots=True)
class ShadowSettings:
    """What a rule file says about stage ``shadow``.

    ``cohort``: what the series of shadow requests have in common, () where the usual label says it. ``criteria``: as in
    the file, for `killswitch.shadow.criteria`. ``keep_text``: if texts that differ are kept, ``keep_text_for`` seconds.
    """

    cohort: tuple[Matcher, ...] = ()
    criteria: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    keep_text: Literal["never", "differences"] = "never"
    keep_text_for: float = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class TokenCounters:
    """The counters of the tokens that live traffic is billed for.

    ``by_kind``: those of each kind (``input``, ``output``, …). ``all_tokens``: counters that are there as soon as any
    token was counted. ``within``: the kinds whose tokens are counted in another kind as well, and that kind; their
    counters may be missing until the first such token. ``always``: the kinds whose own counters are there as soon as
    any token was counted: where one is missing, it is unknown, and not 0. ``requests``, and of these those whose
    tokens are counted (``metered``) or are not (``unmetered``); with neither, every request's tokens are counted.
    """

    by_kind: Mapping[str, tuple[Selector, ...]]
    all_tokens: tuple[Selector, ...]
    within: Mapping[str, str] = field(default_factory=dict)
    always: frozenset[str] = frozenset()
    requests: tuple[Selector, ...] = ()
    metered: tuple[Selector, ...] = ()
    unmetered: tuple[Selector, ...] = ()


@dataclass(frozen=True, slots=True)
class SpendSettings:
    """What a rule file says about money.

    ``prices``: the path of the file of prices, as written; None without one. ``match``: the label matchers that narrow
    the counters of billed tokens to this rollout. ``tokens``: these counters, None for those of our router library.
    """

    prices: str | None = None
    caps: tuple[SpendCap, ...] = ()
    match: tuple[Matcher, ...] = ()
    tokens: TokenCounters | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """One rule file: a rollout's names, its rules and how they are judged.

    ``window`` and ``trip_when_blind_after`` in seconds, None to hold for ever; ``false_trips_per_day``: all rules
    together; ``digest`` identifies the file; ``lines``: by key, where in it sections are that are checked later.
    """

    name: str
    control: str
    canary: str
    cohorts: CohortMatchers
    rules: tuple[Rule, ...]
    window: float = 300.0
    min_requests: int = 100
    decide: Decide = Decide.EVIDENCE
    false_trips_per_day: float = 0.01
    bursts: Bursts = "auto"
    trip_when_blind_after: float | None = None
    mode: Mode = Mode.ENFORCE
    page: PageSettings = field(default_factory=PageSettings)
    shadow: ShadowSettings = field(default_factory=ShadowSettings)
    spend: SpendSettings = field(default_factory=SpendSettings)
    plan: Plan | None = None
    slow: SlowSettings | None = None
    alerts: AlertSettings | None = None
    drill: DrillSettings = field(default_factory=DrillSettings)
    file: str = ""
    digest: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)

    def where(self, key: str) -> str:
        """``file:line`` of a key such as ``spend.prices``, for a problem that is found after the file was read."""
        return f"{self.file}:{self.lines.get(key, 1)}"

    def cohorts_of(self, rule: Rule) -> CohortMatchers:
        """What tells the cohorts of ``rule``'s metrics apart; every want of that rule is asked with it."""
        return self.cohorts if rule.cohorts is None else rule.cohorts


# --- wants: what a source is asked --------------------------------------------------------------


class Range(StrEnum):
    """How the counters before a tick are to be counted."""

    WINDOW = "window"  # what PromQL's increase(x[seconds]) shows; overlaps from tick to tick
    STEP = "step"  # the disjoint increments of the evidence step that ends at the tick


@dataclass(frozen=True, slots=True)
class Want:
    """One signal of one rule, over the ``seconds`` before a tick.

    ``part`` tells the several wants of one rule apart ("window", "step", "raw", …); (rollout, rule,
    part) is unique in a call. ``absent_is_zero`` and freshness are as the rule states them. ``shown``: the seconds
    of the window that the reading's queries are to show a person, where it is not what is asked.
    """

    rollout: str
    rule: str
    part: str
    signal: Signal
    cohorts: CohortMatchers
    seconds: float
    range: Range = Range.WINDOW
    absent_is_zero: bool = False
    shown: float | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.rollout, self.rule, self.part)


# --- readings: what a source answered -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counts:
    """Events among trials in a range of time; fractional where a source interpolates.

    ``absent``: there is no such counter of events at all, which is taken for none.
    """

    events: float
    trials: float
    absent: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram's increments in a range.

    ``bounds``: ascending upper edges in seconds, the last is ``inf``. ``counts``: cumulative; the last counts all.
    """

    bounds: tuple[float, ...]
    counts: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number from a free query; it says nothing about how many requests stand behind it."""

    value: float


@dataclass(frozen=True, slots=True)
class Unreadable:
    """No number could be had, and why. It is never data."""

    reason: Reason
    detail: str


Measurement = Counts | Buckets | Scalar | Unreadable


@dataclass(frozen=True, slots=True)
class Reading:
    """Both cohorts of one signal over the same range (tick - seconds, tick].

    ``queries`` are the texts that were asked, so that a person can ask them again.
    """

    canary: Measurement
    control: Measurement
    seconds: float
    queries: tuple[str, ...] = ()


Readings = Mapping[tuple[str, str, str], Reading]


# --- findings: what a judge said ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Excursion:
    """What was counted since evidence began to point at the canary: ``since`` (Unix seconds).

    Events of trials in both cohorts. For a rate they are the signal's own; for a quantile, requests that were
    slower than the limit allows. ``canary`` and ``control`` are the shares, None without trials; ``limit`` is
    what the canary's share must not exceed given control's, None for a quantile.
    """

    since: float
    events_canary: float
    trials_canary: float
    events_control: float
    trials_control: float
    limit: float | None = None

    @property
    def canary(self) -> float | None:
        return self.events_canary / self.trials_canary if self.trials_canary > 0 else None

    @property
    def control(self) -> float | None:
        return self.events_control / self.trials_control if self.trials_control > 0 else None


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says at one tick.

    ``canary``, ``control``, ``limit`` are in the rule's unit, None where unknown; ``limit`` is what the canary must not
    exceed given control now. ``samples_*`` are requests in the window; ``raw_*``: of all requests, if only users' first
    ones are judged. ``over``: the window's value is over every bound now, whatever the verdict. ``evidence`` is how far
    it has come (1 in ``evidence`` by luck), ``needed`` where it becomes a breach; both None in threshold mode.
    ``since``, ``excursion``: when it began, and what was counted since. ``proven_in``: seconds until a breach, a guess.
    """

    rule: str
    verdict: Verdict
    reason: Reason | None
    sentence: str
    unit: Unit
    canary: float | None = None
    control: float | None = None
    limit: float | None = None
    samples_canary: float | None = None
    samples_control: float | None = None
    over: bool = False
    since: float | None = None
    evidence: float | None = None
    needed: float | None = None
    excursion: Excursion | None = None
    proven_in: float | None = None
    raw_canary: float | None = None
    raw_control: float | None = None
    raw_samples_canary: float | None = None
    raw_samples_control: float | None = None
    queries: tuple[str, ...] = ()
