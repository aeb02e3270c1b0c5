"""When a rule is judged on its per-user signal: a user's first request in each five minutes.

One pod of thirty with the new library must not become the whole picture, and one that is rolled back must
not leave a rule with nothing: the per-user signal serves while it stands for a fair part of both cohorts' requests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from killswitch.model import Buckets, Counts, Measurement, Reading, Unreadable

# Chatty users make few first requests, so the shares are small; a single pod of many has less.
ADOPTED_AT = 0.05
GIVEN_UP_AT = 0.02
# of the sums, a tick: they remember some twenty ticks
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
        # without plain counters the per-user signal is all there is
        return self.per_user / self.plain if self.plain > 0 else math.inf

    @property
    def given_up(self) -> bool:
        return self.plain >= ENOUGH_TRIALS and self.share < GIVEN_UP_AT


@dataclass(slots=True)
class PerUserSignal:
    """One rule's."""

    adopted: bool = False
    changed: bool = False
    canary: _Sums = field(default_factory=_Sums)
    control: _Sums = field(default_factory=_Sums)

    def serves(self, per_user: Reading, plain: Reading, *, alone: bool) -> bool:
        """Take one tick in; whether the per-user signal is what is judged. ``alone``: there is no control cohort."""
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
        """Whether the per-user signal was given up since the last call: what was gathered on it has ended."""
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
