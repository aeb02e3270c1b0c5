"""How many requests it takes until a regression shows: the power of a comparison of two proportions. Pure.

"Shows" means that the interval of the difference between the cohorts excludes 0, as `measure_offset` computes it
(Newcombe's, of Wilson's intervals, at 99 %): a canary as good as control shows a regression in 1 of 200 looks. The
interval is taken at counts as unlucky as one draw in ten, by the normal approximation; so taken, the chance is 0.87 to
0.95 where 0.9 is meant, for 74 to 200,000 requests of the smaller cohort. Each trial counts as 1 / ``phi``, by how much
events clump more than independent ones do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist

from killswitch.model import QuantileSignal, Rule
from killswitch.plan import WorseBy

CONFIDENCE = 0.99
POWER = 0.9
# what the default signals look like in an ordinary service, where nothing was measured
ASSUMED_RATES: Mapping[str, float] = {"error_rate": 0.01, "refusal_rate": 0.011, "thumbs_down_rate": 0.005}
ASSUMED_RATE = 0.01
# the standard deviation of the logarithm of latencies
LATENCY_SPREAD = 0.5
MOST_TRIALS = 1e15
_MANY = 500.0  # requests from which the normal distribution is near enough
_NORMAL = NormalDist()
_Z = _NORMAL.inv_cdf(0.5 + CONFIDENCE / 2)
_UNLUCKY = _NORMAL.inv_cdf(POWER)


def shares(rule: Rule, regression: WorseBy, control_share: float | None) -> tuple[float, float]:
    """The shares of requests that are events, control's and the worse canary's.

    For a rate ``control_share`` is control's own, None for one that was not measured. For a quantile the events are
    requests slower than control's quantile, with latencies spread log-normally by `LATENCY_SPREAD`.
    """
    if isinstance(rule.signal, QuantileSignal):
        tail = 1.0 - rule.signal.quantile
        slowed = _NORMAL.inv_cdf(rule.signal.quantile) - math.log(regression.size) / LATENCY_SPREAD
        return tail, 1.0 - _NORMAL.cdf(slowed)
    share = ASSUMED_RATES.get(rule.name, ASSUMED_RATE) if control_share is None else control_share
    worse = share * regression.size if regression.kind == "ratio" else share + regression.size
    return share, min(worse, 1.0)


def wilson(share: float, trials: float, z: float) -> tuple[float, float]:
    """Wilson's interval of a share of ``trials`` trials; ``z``: the normal quantile of its confidence."""
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def chance(canary: float, control: float, *, canary_trials: float, control_trials: float, phi: float = 1.0) -> float:
    """The probability, 0 to 1, that a canary of share ``canary`` shows against control's share in this many trials."""
    of_canary, of_control = canary_trials / phi, control_trials / phi
    if canary <= control or of_canary <= 0 or of_control <= 0:
        return 0.0
    spread_c = canary * (1.0 - canary) / of_canary
    spread_b = control * (1.0 - control) / of_control
    spread = math.sqrt(spread_c + spread_b)
    if spread <= 0.0:
        return 1.0
    # the unlucky counts that are most likely: both shares nearer to each other, each by its part of the variance
    unlucky_c = max(canary - _UNLUCKY * spread_c / spread, 0.0)
    unlucky_b = min(control + _UNLUCKY * spread_b / spread, 1.0)
    half = math.hypot(unlucky_c - wilson(unlucky_c, of_canary, _Z)[0], wilson(unlucky_b, of_control, _Z)[1] - unlucky_b)
    return _NORMAL.cdf((canary - control - half) / spread)


def trials_needed(canary: float, control: float, *, canary_part: float, phi: float = 1.0) -> float:
    """How many requests of both cohorts together it takes until the chance is `POWER`, to 0.1 %.

    ``canary_part``: the canary's part of the requests, 0 to 1. inf if `MOST_TRIALS` are not enough.
    """
    if canary <= control or not 0.0 < canary_part < 1.0:
        return math.inf

    def enough(trials: float) -> bool:
        of_canary, of_control = trials * canary_part, trials * (1.0 - canary_part)
        return chance(canary, control, canary_trials=of_canary, control_trials=of_control, phi=phi) >= POWER

    low, high = 1.0, MOST_TRIALS
    if not enough(high):
        return math.inf
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def judged_part(*, rate: float, percent: float, window: float, min_requests: int) -> float:
    """The part of the time, 0 to 1, in which both cohorts have ``min_requests`` in a window of ``window`` seconds.

    ``rate``: requests a second of both together, which come independently; ``percent``: the canary's.
    """
    parts = (percent / 100.0, 1.0 - percent / 100.0)
    return math.prod(_at_least(rate * window * part, min_requests) for part in parts)


def _at_least(mean: float, number: int) -> float:
    """The probability that a Poisson number of this mean is at least ``number``."""
    if mean <= 0.0 or number <= 0:
        return 1.0 if number <= 0 else 0.0
    if mean > _MANY or number > 2 * _MANY:
        return 1.0 - _NORMAL.cdf((number - 0.5 - mean) / math.sqrt(mean))
    fewer = (math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(number))
    return max(1.0 - math.fsum(fewer), 0.0)


def limit_at(rule: Rule, control: float) -> float:
    """What the canary must not exceed with control at this value; inf for a rule without a limit."""
    limits = rule.limits
    bounds = [] if limits.floor is None else [limits.floor]
    if limits.maximum is not None:
        bounds += [limits.maximum] if limits.even_if_control_is_bad else [limits.maximum, control]
    if limits.max_increase is not None:
        bounds.append(control + limits.max_increase)
    if limits.max_ratio is not None:
        bounds.append(control * limits.max_ratio)
    return max(bounds, default=math.inf)
