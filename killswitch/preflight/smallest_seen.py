"""The smallest regression of a rule that is seen within a given time, at given traffic, by the bound on any test.

An hour into a stage, the detector takes up to 3.2 times the information bound (median; measured on the default rules).
This is that time with some room, solved for the regression. So it costs no simulation: `killswitch power` simulates it.
"""

from __future__ import annotations

import math

from killswitch.model import QuantileSignal, Rollout, Rule
from killswitch.preflight.assumptions import AssumedTraffic, TrafficLevel, limit_of
from killswitch.preflight.power import information_bound
from killswitch.wording import duration_in_words, value_in_words

SLOWER = 3.5
"""How many times the information bound evidence is taken to need."""
_MORE = 30.0  # seconds
_LARGEST_RATIO = 20.0  # of a limit on latency
SPANS = (600.0, 3600.0)
"""Seconds that people ask about: ten minutes, an hour."""


def seconds_until_seen(
    rollout: Rollout, rule: Rule, baseline: AssumedTraffic, level: TrafficLevel, value: float
) -> float:
    """How long a canary of this value takes to be seen, in seconds; inf where it is within its limit."""
    needed = len(rollout.rules) / rollout.false_trips_per_day
    bound = information_bound(rule, baseline, level, value, needed)
    return math.inf if bound is None else SLOWER * bound + _MORE


def smallest_within(
    rollout: Rollout, rule: Rule, baseline: AssumedTraffic, level: TrafficLevel, seconds: float
) -> float | None:
    """The smallest value of the canary that is seen within ``seconds`` (median); None if not even the worst is."""
    low = limit_of(rule, baseline)
    high = low * _LARGEST_RATIO if isinstance(rule.signal, QuantileSignal) else 1.0
    if not math.isfinite(low) or not low < high or seconds_until_seen(rollout, rule, baseline, level, high) > seconds:
        return None
    for _ in range(30):
        middle = (low + high) / 2
        if seconds_until_seen(rollout, rule, baseline, level, middle) <= seconds:
            high = middle
        else:
            low = middle
    return high


def seen_in_words(rollout: Rollout, rule: Rule, baseline: AssumedTraffic, level: TrafficLevel) -> str:
    """``a canary at 9.5% or more is seen within 10m, at 5.3% or more within 1h``."""
    smallest = [(smallest_within(rollout, rule, baseline, level, span), duration_in_words(span)) for span in SPANS]
    seen = [(value_in_words(value, rule.unit), span) for value, span in smallest if value is not None]
    if not seen:
        return f"no regression is seen within {smallest[-1][1]}"
    value, span = seen[0]
    more = "".join(f", at {value} or more within {span}" for value, span in seen[1:])
    none = "" if len(seen) == len(smallest) else f", and none within {smallest[0][1]}"
    return f"a canary at {value} or more is seen within {span}{more}{none}"
