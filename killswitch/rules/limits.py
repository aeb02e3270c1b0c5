"""A rule's bounds: read in the unit of its signal, and written in words."""

from __future__ import annotations

from collections.abc import Callable

from killswitch.model import Limits, Rollout, Rule, Unit
from killswitch.roles.references import PREFIX
from killswitch.rules.document import Path
from killswitch.rules.metrics import Complaint
from killswitch.rules.schema import RuleSpec
from killswitch.rules.units import (
    Kind,
    Quantity,
    UnitError,
    format_duration,
    format_percent,
    format_points,
    format_ratio,
    require,
)
from killswitch.timestamps import DAY

MAX_RATIO = 1000.0

# the unit each bound is written in, by the unit of the signal's values
_KINDS: dict[Unit, dict[str, Kind]] = {
    Unit.FRACTION: {"max": Kind.PERCENT, "max_increase": Kind.POINTS, "floor": Kind.PERCENT},
    Unit.SECONDS: {"max": Kind.DURATION, "max_increase": Kind.DURATION, "floor": Kind.DURATION},
    Unit.NUMBER: {"max": Kind.RATIO, "max_increase": Kind.RATIO, "floor": Kind.RATIO},
}
_EXAMPLES: dict[Unit, str] = {
    Unit.FRACTION: "max: 2%, max_increase: 5pp or max_ratio: 2",
    Unit.SECONDS: "max: 3s, max_increase: 500ms or max_ratio: 1.5",
    Unit.NUMBER: "max: 10, max_increase: 5 or max_ratio: 2",
}


def read_limits(name: str, rule: RuleSpec, unit: Unit | None) -> tuple[Limits | None, list[Complaint]]:
    """The bounds of a rule, and what is wrong with them. ``unit``: the signal's; None: unknown, so not checked."""
    path: Path = ("rules", name)
    complaints: list[Complaint] = []
    values: dict[str, float | None] = {"max_ratio": None}
    for key, quantity in (("max", rule.max), ("max_increase", rule.max_increase), ("floor", rule.floor)):
        values[key] = None
        if quantity is not None and unit is not None:
            try:
                values[key] = _bounded(key, require(_KINDS[unit][key], quantity), unit)
            except UnitError as error:
                complaints.append(Complaint((*path, key), f"rules.{name}.{key}: {error.what}", error.fix))
    if rule.max_ratio is not None:
        values["max_ratio"] = rule.max_ratio.value
        if not 1.0 < rule.max_ratio.value <= MAX_RATIO:
            complaints.append(_ratio_refused(name, rule.max_ratio))
    complaints.extend(_combination(name, rule, unit))
    if rule.max is not None and rule.max.value == 0.0 and unit is Unit.FRACTION:
        complaints.append(
            Complaint(
                (*path, "max"),
                f"rules.{name}.max: 0% trips on a single event",
                "raise it if single events are normal",
                warning=True,
            )
        )
    if any(not complaint.warning for complaint in complaints):
        return None, complaints
    limits = Limits(
        maximum=values["max"],
        max_increase=values["max_increase"],
        max_ratio=values["max_ratio"],
        floor=values["floor"],
        even_if_control_is_bad=rule.even_if_control_is_bad,
    )
    return limits, complaints


def _bounded(key: str, quantity: Quantity, unit: Unit) -> float:
    value = quantity.value
    if unit is Unit.FRACTION and value >= 1.0:
        raise UnitError(f"{quantity.text} can never be exceeded", "use less than 100")
    if unit is Unit.SECONDS and value > DAY:
        raise UnitError(f"{quantity.text} is longer than a day", "use the duration of one request")
    if value == 0.0 and not (key == "max" and unit is not Unit.SECONDS):
        raise UnitError(f"{quantity.text} leaves no room for noise", "use more than zero, or remove it")
    return value


def _ratio_refused(name: str, ratio: Quantity) -> Complaint:
    path: Path = ("rules", name, "max_ratio")
    if ratio.value > MAX_RATIO:
        return Complaint(path, f"rules.{name}.max_ratio: {ratio.text} is never reached", f"use at most {MAX_RATIO:g}")
    better = format_ratio(round(1 / ratio.value, 3)) if 0 < ratio.value < 1 else "1.5"
    return Complaint(
        path,
        f"rules.{name}.max_ratio: {ratio.text} would trip a canary that is exactly as good as control",
        f"use more than 1: max_ratio: {better} trips a canary over {better} times control's value",
    )


def _combination(name: str, rule: RuleSpec, unit: Unit | None) -> list[Complaint]:
    path: Path = ("rules", name)
    complaints = []
    relative = rule.max_increase is not None or rule.max_ratio is not None
    if rule.max is None and not relative:
        only = " (floor alone is not one)" if rule.floor is not None else ""
        complaints.append(
            Complaint(path, f"rules.{name} has no bound{only}", f"add {_EXAMPLES[unit or Unit.FRACTION]}")
        )
    if rule.max is not None and rule.floor is not None:
        complaints.append(
            Complaint(
                (*path, "floor"),
                f"rules.{name}: of max and floor only the higher one would count",
                "remove floor; it is for max_increase and max_ratio",
            )
        )
    if rule.even_if_control_is_bad and (rule.max is None or relative):
        complaints.append(
            Complaint(
                (*path, "even_if_control_is_bad"),
                f"rules.{name}: even_if_control_is_bad needs `max` and no bound that compares with control",
                "remove it, or remove max_increase and max_ratio",
            )
        )
    return complaints


def limits_in_words(rule: Rule) -> str:
    """``over 2% and worse than control``: when the rule trips, in the units of its file."""
    limits, absolute = rule.limits, _absolute(rule.unit)
    bounds = []
    if limits.maximum is not None:
        bounds.append(f"over {absolute(limits.maximum)}")
        if not limits.even_if_control_is_bad and limits.max_increase is None and limits.max_ratio is None:
            bounds.append("worse than control")
    if limits.max_increase is not None:
        increase = format_points if rule.unit is Unit.FRACTION else absolute
        bounds.append(f"over control + {increase(limits.max_increase)}")
    if limits.max_ratio is not None:
        bounds.append(f"over {format_ratio(limits.max_ratio)} x control")
    if limits.floor is not None:
        bounds.append(f"above {absolute(limits.floor)}")
    return " and ".join(bounds)


def rollout_in_words(rollout: Rollout) -> tuple[str, ...]:
    """A rollout and its rules, one line each, for `check` and the reference."""
    ticks = {rule.name: f", {rule.for_ticks} ticks in a row" if rule.for_ticks > 1 else "" for rule in rollout.rules}
    pinned = " (the models that are pinned when it is armed)" if rollout.canary.startswith(PREFIX) else ""
    head = (
        f"{rollout.name}: {rollout.canary} against {rollout.control}{pinned}, "
        f"window {format_duration(rollout.window)}, decide: {rollout.decide.value}, mode: {rollout.mode.value}"
    )
    return (head, *(f"{rule.name}: trips when {limits_in_words(rule)}{ticks[rule.name]}" for rule in rollout.rules))


def _absolute(unit: Unit) -> Callable[[float], str]:
    return {Unit.FRACTION: format_percent, Unit.SECONDS: format_duration, Unit.NUMBER: format_ratio}[unit]
