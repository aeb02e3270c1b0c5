"""Limits out of control's last week. Pure.

Increases and ratios compare both cohorts at one time, so control's ups and downs hit both and need no room. Only `max`
is absolute: it stays above control's own worst hour.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from killswitch.model import QuantileSignal, Rule
from killswitch.preflight.first_rules.week import ControlWeek
from killswitch.rules.schema import DEFAULT_RULES
from killswitch.wording import value_in_words

_LEAST_ERRORS = 0.005
_MARGIN = 1.25
"""How far `max` is above control's worst hour."""
_TIMES_OWN = 2.0
_LEAST_POINTS, _MOST_POINTS, _TIMES_REFUSALS = 0.01, 0.05, 3.0
_NONE_YET = "Until control has any, this rule sees nothing."
_NICE = (0.5, 1, 2, 3, 5, 8, 10, 15, 20, 30, 50, 80)


@dataclass(frozen=True, slots=True)
class Limit:
    """A rule's keys, as the file has them, and ``why`` in a sentence. Without keys the rule is not watched."""

    keys: dict[str, str | float]
    why: str


def limit_of(rule: Rule, week: ControlWeek) -> Limit:
    """The rule's limit."""
    hours = f"of {week.hours} with requests" if week.hours > 1 else "the only one with requests"
    usually, worst = (value_in_words(value, rule.unit) for value in (week.value, week.worst))
    about = f"Control: {usually} in the last 7 days, {worst} in its worst hour ({hours})."
    usual = dict(DEFAULT_RULES["latency_p95" if isinstance(rule.signal, QuantileSignal) else rule.name])
    if isinstance(rule.signal, QuantileSignal):
        if not math.isfinite(week.value):
            return Limit({}, "control's own quantile is above the histogram's last bucket; add larger buckets")
        return Limit(usual, f"{about} Over {usual['max_ratio']:g} times control's is too slow.")
    if rule.name == "error_rate":
        return _errors(week, about)
    if rule.name == "refusal_rate":
        points = min(max(_nice(_TIMES_REFUSALS * week.value), _LEAST_POINTS), _MOST_POINTS)
        return Limit({"max_increase": f"{points * 100:g}pp"}, f"{about} The canary may have that many points more.")
    last = f"Over {usual['max_ratio']:g} times control's is too many." if week.events else _NONE_YET
    return Limit(usual, f"{about} {last}")


def _errors(week: ControlWeek, about: str) -> Limit:
    most = _nice(max(_LEAST_ERRORS, _TIMES_OWN * week.value, _MARGIN * week.worst))
    if most >= 1.0:
        return Limit({}, f"{about} No limit is above that; first find out why control fails")
    return Limit({"max": f"{most * 100:g}%"}, f"{about} The limit is above that hour, and the canary must be worse.")


def _nice(share: float) -> float:
    return next((each / 100 for each in _NICE if each / 100 >= share - 1e-12), 1.0)
