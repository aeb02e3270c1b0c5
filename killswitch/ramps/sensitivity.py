"""Sensitivity: would a stage have seen a regression, from the requests that it really had?

Time alone is no proof: a day of 25 % at 0.2 requests a second is 4,320 requests of the canary. What a number of
requests shows is the formula of `killswitch.detectable`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from killswitch.detectable import POWER, chance, shares, trials_needed
from killswitch.model import QuantileSignal, Rule
from killswitch.plan import WorseBy
from killswitch.ramps.progress import RuleWatch

# the regressions that are tried, smallest first
RATIOS = (1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """``chance``, 0 to 1, that the regression would have shown. ``control`` and ``canary``: the shares it is about.

    ``missing``: requests of both cohorts together until the chance is `POWER`, 0 if it is reached. ``wait``: seconds
    until then at the traffic so far; None without traffic, or if no number of requests is enough.
    """

    chance: float
    control: float
    canary: float
    missing: float
    wait: float | None

    @property
    def enough(self) -> bool:
        return self.chance >= POWER


def would_have_seen(rule: Rule, regression: WorseBy, watch: RuleWatch, watched: float) -> Sensitivity:
    """What the requests in ``watch`` say about a regression; ``watched``: the seconds in which they came."""
    trials = watch.canary.trials + watch.control.trials
    measured = None
    if not isinstance(rule.signal, QuantileSignal) and watch.control.trials > 0:
        # without any event control's rate is taken for half an event: twice nothing could never be seen
        measured = min(max(watch.control.events, 0.5) / watch.control.trials, 1.0)
    control, canary = shares(rule, regression, measured)
    phi = max(watch.phi, 1.0)
    seen = chance(canary, control, canary_trials=watch.canary.trials, control_trials=watch.control.trials, phi=phi)
    if seen >= POWER:
        return Sensitivity(seen, control, canary, 0.0, 0.0)
    part = watch.canary.trials / trials if trials > 0 else 0.0
    missing = max(trials_needed(canary, control, canary_part=part, phi=phi) - trials, 0.0)
    wait = missing / trials * watched if trials > 0 and math.isfinite(missing) else None
    return Sensitivity(seen, control, canary, missing, wait)


def seen_from(rule: Rule, watch: RuleWatch) -> float | None:
    """The smallest of `RATIOS` that the requests in ``watch`` would have shown; None if none of them."""
    for ratio in RATIOS:
        if would_have_seen(rule, WorseBy("ratio", ratio), watch, 0.0).enough:
            return ratio
    return None


def smallest_seen(
    rule: Rule, *, rate: float, percent: float, seconds: float, control_share: float | None = None
) -> float | None:
    """The smallest of `RATIOS` that a stage would see at ``rate`` requests a second; None if it would see none.

    ``control_share``: control's own share of events, None for the usual one.
    """
    canary_trials, control_trials = (rate * seconds * part for part in (percent / 100.0, 1.0 - percent / 100.0))
    for ratio in RATIOS:
        control, canary = shares(rule, WorseBy("ratio", ratio), control_share)
        if chance(canary, control, canary_trials=canary_trials, control_trials=control_trials) >= POWER:
            return ratio
    return None
