"""Decides when a rule is judged on its per-user signal: a user's first request in each five minutes.

If one pod of thirty has the new library, its users must not stand for all. If the library is rolled back, the rule
must not be left without data. So the per-user signal is used only while it covers a fair part of the requests of
both cohorts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from killswitch.model import Buckets, Counts, Measurement, Reading, Unreadable

# Shares of all requests. Users who send many requests have few first ones, so the shares are small; one pod of many
# has a smaller share still.
ADOPTED_AT = 0.05
GIVEN_UP_AT = 0.02
# factor on the sums, per tick: they remember about twenty ticks
FADING = 0.95
ENOUGH_TRIALS = 200.0


@dataclass(slots=True)
class _Sums:
    """One cohort's fading sums of trials."""

    plain: float = 0.0
    per_user: float = 0.0

    def add(self, plain: Measurement, per_user: Measurement) -> None:
        self.plain = FADING * self.plain + _trials(plain)
        self.per_user = FADING * self.per_user + _trials(per_user)

    @property
    def share(self) -> float:
        # without plain counters the per-user signal is the only data
        return self.per_user / self.plain if self.plain > 0 else math.inf

    @property
    def given_up(self) -> bool:
        return self.plain >= ENOUGH_TRIALS and self.share < GIVEN_UP_AT


@dataclass(slots=True)
class PerUserSignal:
    """One rule's choice between its per-user signal and its plain one.

    ``changed``: the per-user signal was given up, and `take_change` has not reported it yet.
    """

    adopted: bool = False
    changed: bool = False
    canary: _Sums = field(default_factory=_Sums)
    control: _Sums = field(default_factory=_Sums)

    def serves(self, per_user: Reading, plain: Reading, *, alone: bool) -> bool:
        """Add one tick; whether the per-user signal is judged now. ``alone``: there is no control cohort."""
        canary, control = self.canary, self.control
        canary.add(plain.canary, per_user.canary)
        if not alone:
            control.add(plain.control, per_user.control)
        if self.adopted:
            if canary.given_up or (not alone and control.given_up):
                self.adopted, self.changed = False, True
        elif not isinstance(per_user.canary, Unreadable) and (alone or not isinstance(per_user.control, Unreadable)):
            self.adopted = canary.share >= ADOPTED_AT and (alone or control.share >= ADOPTED_AT)
        return self.adopted

    def take_change(self) -> bool:
        """Whether the per-user signal was given up since the last call. Evidence gathered on it is then void."""
        changed, self.changed = self.changed, False
        return changed


def _trials(measurement: Measurement) -> float:
    if isinstance(measurement, Counts):
        trials = measurement.trials
    elif isinstance(measurement, Buckets) and measurement.counts:
        trials = measurement.counts[-1]
    else:
        return 0.0
    return max(trials, 0.0) if math.isfinite(trials) else 0.0
