"""What a back-test is asked and what it found: its terms, and the history of each rule and rollout."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from killswitch.model import Counts, Finding, Reading, Reason, Rollout
from killswitch.preflight.backtest.ramp_detection import Stage
from killswitch.verdicts.evidence.evariables import Array
from killswitch.verdicts.missing_events import never_counted


@dataclass(frozen=True, slots=True)
class Terms:
    """What is replayed and how. Times are Unix seconds, durations seconds.

    ``interval`` is the time between ticks, ``step`` the time between evidence ticks. ``armed_at`` None: from
    the first tick at which both cohorts have requests. ``percent`` None: the canary's measured share of
    requests. ``rearm_after`` None: the replay ends at the first trip. ``patience``: the total for one read.
    ``tracks``: keep each rule's evidence tick by tick, to draw it.
    """

    since: float
    until: float
    interval: float = 30.0
    step: float = 30.0
    armed_at: float | None = None
    percent: float | None = None
    rearm_after: float | None = None
    patience: float = 120.0
    tracks: bool = False


@dataclass(frozen=True, slots=True)
class ReplayedTrip:
    """A trip that the switch would have made at ``at``. ``rules``: all that were a breach then, ``rule`` the first."""

    rollout: str
    rule: str
    rules: tuple[str, ...]
    at: float
    sentence: str
    generation: int
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True)
class RuleHistory:
    """What happened to one rule. ``ticks`` counts usable ticks, ``unknown`` the others by reason.

    ``peak``: the highest evidence, at ``peak_at``; ``needed``: the evidence of a breach (all None without
    evidence). ``example``: one of the reasons in words. ``events`` of ``trials``: the counts of both cohorts
    together, if the rule counts. ``track``: (times, evidence).

    ``suspect``: how many of ``ticks`` were over the limit in the window, but not proven. With evidence, the
    window is the sum of its steps, because no windows are read.
    """

    name: str
    ticks: int = 0
    suspect: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    example: str = ""
    peak: float | None = None
    peak_at: float | None = None
    needed: float | None = None
    events: float = 0.0
    trials: float = 0.0
    track: list[tuple[Array, Array]] = field(default_factory=list)

    def missed(self, reason: Reason, detail: str) -> None:
        self.unknown[reason.value] += 1
        self.example = detail

    def count(self, reading: Reading) -> None:
        """Add up what a step counted."""
        for side in (reading.canary, reading.control):
            if isinstance(side, Counts):
                self.events += side.events
                self.trials += side.trials


@dataclass(frozen=True, slots=True)
class RolloutHistory:
    """What happened to one rollout. ``armed_at`` None: it was not judged; ``problem`` says why, ``why`` for each rule.

    ``percent`` is the flag's at the arming, ``stages`` its ramp from then on, as far as traffic shows it.
    """

    rollout: Rollout
    armed_at: float | None
    percent: float | None
    ticks: int
    trips: tuple[ReplayedTrip, ...]
    rules: tuple[RuleHistory, ...]
    problem: str | None = None
    split_is_wrong: bool = False
    stages: tuple[Stage, ...] = ()
    why: tuple[str, ...] = ()

    @property
    def doubts(self) -> tuple[str, ...]:
        """Rules that never had an event: perhaps nothing counts their events."""
        rules = zip(self.rollout.rules, self.rules, strict=True)
        found = ((rule, never_counted(rule, kept.events, kept.trials)) for rule, kept in rules)
        return tuple(f"{rule.name}: {doubt}" for rule, doubt in found if doubt is not None)

    @property
    def never_judged(self) -> tuple[RuleHistory, ...]:
        """Rules without a single usable tick: they did not trip, but they were not healthy either."""
        return tuple(rule for rule in self.rules if not rule.ticks)


@dataclass(slots=True)
class BareRule:
    """What the bare comparison would have done with one rule: how often it began to fire, and when first."""

    name: str
    episodes: int = 0
    ticks_over: int = 0
    first: float | None = None
    sentence: str = ""
