"""Writes the sentences of findings: values, limits, and evidence in words."""

from __future__ import annotations

import math

from killswitch.flags.flag import AA
from killswitch.model import Counts, Reading, Rule, Unit
from killswitch.verdicts.compare import Comparison, LimitKind, limits_given
from killswitch.verdicts.evidence import measure_offset
from killswitch.verdicts.evidence_view import EvidenceView
from killswitch.wording import (
    count_in_words,
    duration_in_words,
    odds_in_words,
    points_in_words,
    time_of_day,
    value_in_words,
)

AA_SAID = f"; in stage {AA}: "  # in a finding's sentence, before what that stage measured
OTHER_USERS = "choose another salt or more users"
_LONGEST_ESTIMATE = 3.0 * 3600.0


def limit_in_words(rule: Rule, control: float) -> tuple[float, str]:
    """The largest bound given control's value, and how it is made up: ``control 1.1% + 5.0 pp``."""
    limits, unit = rule.limits, rule.unit
    limit, bound = max(limits_given(rule, control), key=lambda one: one[0], default=(math.inf, None))
    control_words = f"control {value_in_words(control, unit)}"
    match bound:
        case LimitKind.MAXIMUM:
            return limit, value_in_words(limits.maximum, unit)
        case LimitKind.CONTROL:
            return limit, control_words
        case LimitKind.MAX_INCREASE:
            assert limits.max_increase is not None
            fraction = unit is Unit.FRACTION
            step = points_in_words(limits.max_increase) if fraction else value_in_words(limits.max_increase, unit)
            return limit, f"{control_words} + {step}"
        case LimitKind.MAX_RATIO:
            return limit, f"{limits.max_ratio:g} x {control_words}"
        case LimitKind.FLOOR:
            return limit, f"the floor of {value_in_words(limits.floor, unit)}"
        case None:
            return limit, "no limit"


def limit_words(rule: Rule, comparison: Comparison) -> str:
    if comparison.limit is None or comparison.control is None:
        return ""
    return limit_in_words(rule, comparison.control)[1]


def cohort_words(rule: Rule, comparison: Comparison) -> str:
    counted = "" if comparison.samples_canary is None else f", n={comparison.samples_canary:.0f}"
    if comparison.canary is not None and math.isinf(comparison.canary):
        return f"{rule.name} above the last bucket (canary{counted})"
    return f"{rule.name} {value_in_words(comparison.canary, rule.unit)} (canary{counted})"


def against_words(comparison: Comparison) -> str:
    return "" if comparison.samples_control is None else f" (control n={comparison.samples_control:.0f})"


def over_words(rule: Rule, comparison: Comparison) -> str:
    limit = limit_words(rule, comparison)
    words = f"{cohort_words(rule, comparison)} over {limit}"
    if "control" not in limit and comparison.control is not None:
        words += f", control {value_in_words(comparison.control, rule.unit)}"
    return words + against_words(comparison)


def _in_the_window(rule: Rule, comparison: Comparison) -> str:
    """The quantile in the window. It may not be over yet, if the window holds minutes from before the excursion."""
    if comparison.limit is None:
        return rule.name
    if comparison.over:
        return over_words(rule, comparison)
    limit = f"{limit_words(rule, comparison)}{against_words(comparison)}"
    return f"{cohort_words(rule, comparison)} in the whole window, limit {limit}"


def evidence_words(rule: Rule, comparison: Comparison, view: EvidenceView) -> str:
    """``refusal_rate 8.7% (canary, 160 of 1,842 since 14:08:11) over control 1.1% + 5.0 pp; chance …``."""
    since = f" since {time_of_day(view.since)}" if view.since is not None else ""
    counted = f"{count_in_words(view.events_canary)} of {count_in_words(view.trials_canary)}"
    luck = f"chance of this by luck under {odds_in_words(view.value)}"
    if rule.unit is not Unit.FRACTION or not view.trials_canary:
        share = f"; {counted} canary requests{since} were slower than control's allow" if view.trials_canary else ""
        return f"{_in_the_window(rule, comparison)}{share}; {luck}"
    rate = view.events_canary / view.trials_canary
    of_control = view.events_control / view.trials_control if view.trials_control else comparison.control
    _, words = limit_in_words(rule, of_control) if of_control is not None else (0.0, "its limit")
    control = "" if of_control is None or "control" in words else f", control {value_in_words(of_control, rule.unit)}"
    return f"{rule.name} {value_in_words(rate, rule.unit)} (canary, {counted}{since}) over {words}{control}; {luck}"


def pace_in_words(view: EvidenceView, estimate: float | None) -> str:
    if estimate is None or view.since is None:
        return "too early to say when it would be enough"
    since = time_of_day(view.since)
    if estimate > _LONGEST_ESTIMATE:
        return f"which at the pace since {since} takes hours more"
    return f"enough in about {duration_in_words(max(60.0, 60.0 * round(estimate / 60.0)))} at the pace since {since}"


def offset_in_words(rule: Rule, reading: Reading, phi: float) -> str | None:
    """What stage `aa` measured: how far the canary's users differ under the same model; None without data.

    ``phi``: the dispersion of the rule's events. Clumps make the interval wider.
    """
    if not isinstance(reading.canary, Counts) or not isinstance(reading.control, Counts):
        return None
    offset = measure_offset(reading.canary, reading.control, phi=phi)
    if offset is None:
        return None
    unit = Unit.FRACTION
    span = f"{points_in_words(offset.low)} to {points_in_words(offset.high)}"
    words = (
        f"with the same model these users have {value_in_words(offset.canary, unit)}, the others "
        f"{value_in_words(offset.control, unit)}, a difference of {points_in_words(offset.difference)} "
        f"(99 % interval: {span})"
    )
    limit = max((bound for bound, _ in limits_given(rule, offset.control)), default=math.inf)
    if offset.control + offset.low > limit:
        return (
            f"{words}; that is over the limit of {value_in_words(limit, unit)}, so an equally good canary would be "
            f"tripped in the next stage: {OTHER_USERS}"
        )
    if offset.low > 0:
        return f"{words}; these users differ: {OTHER_USERS}"
    if offset.canary > limit:
        return f"{words}; that is over the limit of {value_in_words(limit, unit)}, but so few requests may be chance"
    return words
