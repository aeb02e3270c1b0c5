"""What stage `aa` measures: how far the canary's *users* differ while both cohorts get the control model.

Routing is sticky, so each user stays in one cohort, and cohorts of few or uneven users differ permanently. No test
on requests can tell such a difference from a bad model. An hour of control against control can.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from killswitch.detectable import wilson
from killswitch.model import Counts


@dataclass(frozen=True, slots=True)
class Offset:
    """The canary's rate minus control's under the same model, and its interval, as fractions of trials."""

    canary: float
    control: float
    difference: float
    low: float
    high: float

    @property
    def certain(self) -> bool:
        """Whether these users differ: zero is not in the interval."""
        return self.low > 0 or self.high < 0


def measure_offset(canary: Counts, control: Counts, *, phi: float = 1.0, confidence: float = 0.99) -> Offset | None:
    """The offset of a rule over a stage's counts; None if a cohort has no trials.

    Newcombe's hybrid score interval (Statistics in Medicine 17, 1998, method 10) with trials divided by the
    dispersion ``phi``. It is valid for one look at the stage's end, not for repeated looks.
    """
    if not (canary.trials > 0 and control.trials > 0):
        return None
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate_c, low_c, high_c = _wilson(canary, phi, z)
    rate_b, low_b, high_b = _wilson(control, phi, z)
    difference = rate_c - rate_b
    return Offset(
        rate_c,
        rate_b,
        difference,
        difference - math.hypot(rate_c - low_c, high_b - rate_b),
        difference + math.hypot(high_c - rate_c, rate_b - low_b),
    )


def _wilson(counts: Counts, phi: float, z: float) -> tuple[float, float, float]:
    """The rate and Wilson's interval, with each trial counted as 1 / phi."""
    share = min(max(counts.events / counts.trials, 0.0), 1.0)
    return share, *wilson(share, counts.trials / phi, z)
