"""How many users a canary needs, so that the habits of a few do not look like the model's."""

from __future__ import annotations

import math

import numpy as np

from killswitch.model import QuantileSignal, Rule
from killswitch.preflight.assumptions import AssumedTraffic
from killswitch.preflight.bare_cost import over_limit
from killswitch.verdicts.evidence.evariables import Array

# first parameter of the Beta distribution of users' own shares
_ALIKE = 0.2
_SEED = 20_260_419


def effective_users(users: float, percent: float, *, spread: float = 1.2) -> float:
    """How many equally active users the canary cohort is worth: activity is log-normal with sd ``spread``.

    Kish's effective sample size, n / (1 + cv^2), with cv^2 = exp(spread^2) - 1.
    """
    return users * percent / 100.0 / math.exp(spread * spread)


def unlucky_cohorts(rule: Rule, baseline: AssumedTraffic, users: int, percent: float, *, draws: int = 400) -> float:
    """The share of salts whose canary users are over the rule's limit for good, with the *same* model.

    Activity log-normal (sd 1.2), each user's own share Beta(a, b) with control's mean and a = 0.2: a few users
    have most of the events.
    """
    if isinstance(rule.signal, QuantileSignal) or not 0.0 < baseline.share < 1.0:
        return 0.0
    rng = np.random.default_rng(_SEED)
    canary, control = max(1, round(users * percent / 100.0)), max(1, round(users * (1 - percent / 100.0)))

    def rates(size: int) -> Array:
        size = min(size, 20_000)
        activity = np.exp(rng.normal(0.0, 1.2, (draws, size)))
        own = rng.beta(_ALIKE, _ALIKE * (1.0 / baseline.share - 1.0), (draws, size))
        return np.asarray((activity * own).sum(axis=1) / activity.sum(axis=1))

    return float(over_limit(rule.limits, rates(canary), rates(min(control, 5_000))).mean())
