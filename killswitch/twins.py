"""When a rule is judged on its judged twin: a user's first request in each five minutes.

One pod of thirty with the new library must not become the whole picture, and one that is rolled back must
not leave a rule with nothing: the twin serves while it stands for a fair part of both cohorts' requests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from killswitch.model import Buckets, Cohort, Counts, Measurement, Reading, Unreadable

# Chatty users make few first requests, so the shares are small; a single pod of many has less.
ADOPTED_AT = 0.05
GIVEN_UP_AT = 0.02
# of the sums, a tick: they remember some twenty ticks
FADING = 0.95
ENOUGH_TRIALS = 200.0


@dataclass(slots=True)
class TwinWatch:
    """One rule's. ``plain`` and ``twin`` are fading sums of trials by cohort."""

    adopted: bool = False
    changed: bool = False
    plain: dict[Cohort, float] = field(default_factory=dict)
    twin: dict[Cohort, float] = field(default_factory=dict)

    def serves(self, twin: Reading, plain: Reading, *, alone: bool) -> bool:
        """Take one tick in, and say whether the twin is what is judged. ``alone``: there is no control cohort."""
        cohorts = (Cohort.CANARY,) if alone else (Cohort.CANARY, Cohort.CONTROL)
        for cohort in cohorts:
            for sums, reading in ((self.plain, plain), (self.twin, twin)):
                sums[cohort] = FADING * sums.get(cohort, 0.0) + _trials(_side(reading, cohort))
        readable = all(not isinstance(_side(twin, cohort), Unreadable) for cohort in cohorts)
        if not self.adopted:
            self.adopted = readable and all(self._share(cohort) >= ADOPTED_AT for cohort in cohorts)
        elif any(self.plain[c] >= ENOUGH_TRIALS and self._share(c) < GIVEN_UP_AT for c in cohorts):
            self.adopted, self.changed = False, True
        return self.adopted

    def take_change(self) -> bool:
        """Whether the twin was given up since the last call: what was gathered on it has ended."""
        changed, self.changed = self.changed, False
        return changed

    def _share(self, cohort: Cohort) -> float:
        plain = self.plain[cohort]
        # without plain counters the twin is all there is
        return self.twin[cohort] / plain if plain > 0 else math.inf


def _side(reading: Reading, cohort: Cohort) -> Measurement:
    return reading.canary if cohort is Cohort.CANARY else reading.control


def _trials(measurement: Measurement) -> float:
    match measurement:
        case Counts(_, trials) if math.isfinite(trials):
            return max(trials, 0.0)
        case Buckets(_, counts) if counts and math.isfinite(counts[-1]):
            return max(counts[-1], 0.0)
        case _:
            return 0.0
