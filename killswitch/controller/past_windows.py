"""What the metric store has of both cohorts' windows in the past, for charts. It decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from killswitch.deadline import Deadline
from killswitch.model import Range, Reading, Readings, Rollout, Rule, Signal, Unreadable, Want
from killswitch.sources import Source
from killswitch.trends.trend import NOTHING, Moment
from killswitch.verdicts.catch_up import PASSING
from killswitch.verdicts.compare import compare

PLAIN: Final = "chart"
PER_USER: Final = "chart per user"


def read_past(
    source: Source, rollout: Rollout, ticks: Sequence[float], deadline: Deadline
) -> list[Mapping[str, Moment]] | None:
    """Each rule's window at these ticks (evenly spaced, ascending), by rule; None if the source did not answer.

    Evidence is not among it: it is a function of every step, and a chart is not worth reading them all.
    """
    wants = [want for rule in rollout.rules for want in _wants(rollout, rule)]
    if not wants or not ticks:
        return []
    readings = source.read_back(wants, ticks, deadline)
    if not any(_answered(readings[tick]) for tick in ticks):
        return None
    return [{rule.name: _moment(rollout, rule, readings[tick]) for rule in rollout.rules} for tick in ticks]


def _wants(rollout: Rollout, rule: Rule) -> list[Want]:
    signals: list[tuple[str, Signal]] = [(PLAIN, rule.signal)]
    if rule.per_user is not None:
        signals.append((PER_USER, rule.per_user))
    return [
        Want(
            rollout=rollout.name,
            rule=rule.name,
            part=part,
            signal=signal,
            cohorts=rollout.cohorts_of(rule),
            seconds=rollout.window,
            range=Range.WINDOW,
            absent_is_zero=rule.absent_is_zero,
        )
        for part, signal in signals
    ]


def _moment(rollout: Rollout, rule: Rule, readings: Readings) -> Moment:
    reading = readings.get((rollout.name, rule.name, PER_USER))
    if reading is None or isinstance(reading.canary, Unreadable):
        reading = readings.get((rollout.name, rule.name, PLAIN))
    if reading is None:
        return NOTHING
    found = compare(rule, reading)
    return Moment(
        found.canary,
        found.control,
        found.limit,
        samples_canary=found.samples_canary,
        samples_control=found.samples_control,
    )


def _answered(readings: Readings) -> bool:
    return any(_said(reading) for reading in readings.values())


def _said(reading: Reading) -> bool:
    """Whether the source answered, if only that it has no data."""
    sides = (reading.canary, reading.control)
    return any(not isinstance(side, Unreadable) or side.reason not in PASSING for side in sides)
