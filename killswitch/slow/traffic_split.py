"""Whether both cohorts have as many users as the flag's history says; without that their means say nothing.

Fabijan and others, "Diagnosing sample ratio mismatch in online controlled experiments" (KDD 2019). The test is the
likelihood ratio of a beta distribution around the expected share against the share itself, valid however often it is
looked at (Lindon and Malek, "Anytime-valid inference for multinomial count data", 2022).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from killswitch.slow.counts import StretchCounts

ONE_IN = 1000.0
_WEIGHT = 100.0  # users that the distribution around the expected share is worth


def log_mismatch(canary: int, control: int, share: float) -> float:
    """Natural logarithm of the evidence that the canary's share of users is not ``share``."""
    if not 0.0 < share < 1.0:
        return math.inf if (canary if share <= 0.0 else control) else 0.0
    a, b = share * _WEIGHT, (1.0 - share) * _WEIGHT
    mixed = _log_beta(a + canary, b + control) - _log_beta(a, b)
    return mixed - canary * math.log(share) - control * math.log1p(-share)


def mismatch(stretches: Sequence[StretchCounts]) -> str | None:
    """What is wrong with the split, None if nothing is proven."""
    for one in stretches:
        canary, control = one.canary_answers.users, one.control_answers.users
        if log_mismatch(canary, control, one.share) >= math.log(ONE_IN * len(stretches)):
            found = canary / (canary + control)
            return (
                f"{canary:,} of {canary + control:,} users are in the canary ({found:.2%}), "
                f"but the flag's history says {one.share:.2%}"
            )
    return None


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
