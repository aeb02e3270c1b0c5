"""When models are retired, and which are gone: pins rot, and a retired id answers 404.

A model is **retired**:

- if its retirement date is past, unless it has answered a probe since;
- if its provider lists it as retired;
- if its provider has said clearly that there is no such model, and it has not answered since;
- if it was not found, unclearly, on two days in a row.

A provider that is down, slow, busy, or that refuses our key never makes a model retired. Nor does an absence from the
provider's list alone: lists differ by key and region. It is a sign, and is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from killswitch.roles.health import ModelHealth
from killswitch.timestamps import DAY, to_iso
from killswitch.wording import counted, plain

DAYS_AHEAD: Final = (30, 7, 1)


@dataclass(frozen=True, slots=True)
class RetirementDate:
    """``model`` is retired ``at`` (Unix seconds), as ``source`` says. ``replacement``: what to use then, if known."""

    model: str
    at: float
    source: str
    replacement: str | None = None


@dataclass(frozen=True, slots=True)
class RetirementWarning:
    """A retirement to come. ``days``: the step of `DAYS_AHEAD` that has been reached. ``left``: seconds until it."""

    date: RetirementDate
    days: int
    left: float
    sentence: str


class Retirements:
    """What is known of some models: their retirement dates, and what probes and lists of providers have found.

    Where two sources give one model two dates, the earlier counts.
    """

    def __init__(self, dates: Iterable[RetirementDate] = (), health: Mapping[str, ModelHealth] | None = None) -> None:
        self._dates: dict[str, RetirementDate] = {}
        self._health = {} if health is None else dict(health)
        for date in sorted(dates, key=lambda one: (one.at, one.source)):
            self._dates.setdefault(date.model, date)

    def retires_at(self, model: str) -> RetirementDate | None:
        return self._dates.get(model)

    def health(self, model: str) -> ModelHealth:
        return self._health.get(model, ModelHealth(model))

    def retired(self, model: str, at: float) -> str | None:
        """Why the model must not be relied on at ``at`` (Unix seconds), in one sentence; None if it may be."""
        health = self.health(model)
        gone = health.gone
        if gone is not None:
            return gone
        date = self._dates.get(model)
        if date is None or at < date.at or health.answered_since(date.at):
            return None
        return f"{plain(model, 80)} was retired on {_day(date.at)} ({date.source}){_instead(date)}"

    def ahead(self, model: str, at: float) -> RetirementWarning | None:
        """The warning that is due at ``at``; None if no date is known, it is over 30 days away, or it is past."""
        date = self._dates.get(model)
        if date is None or at >= date.at:
            return None
        left = date.at - at
        reached = [days for days in DAYS_AHEAD if left <= days * DAY]
        if not reached:
            return None
        when = f"in {counted(max(1, math.ceil(left / DAY)), 'day')}, on {_day(date.at)}"
        sentence = f"{plain(model, 80)} is retired {when} ({date.source}){_instead(date)}"
        return RetirementWarning(date, min(reached), left, sentence)


def _day(at: float) -> str:
    return to_iso(math.floor(at))[:10]


def _instead(date: RetirementDate) -> str:
    return "" if date.replacement is None else f"; use {plain(date.replacement, 80)} instead"
