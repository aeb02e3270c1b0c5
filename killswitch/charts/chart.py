"""What a chart shows, as a value: lines over time, marks at single moments, and a unit for its values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from killswitch.model import Unit
from killswitch.timestamps import DAY
from killswitch.wording import date_and_time, odds_in_words, plain, time_of_day, value_in_words

MOST_MARKS: Final = 50  # a flag that something changes every minute must not make a page of megabytes


class Scale(StrEnum):
    """How values are printed and placed. ``ODDS``: 400 is ``1 in 400``, on a logarithmic axis that begins at 1."""

    FRACTION = "fraction"
    SECONDS = "seconds"
    NUMBER = "number"
    PERCENT = "percent"  # 0 to 100
    ODDS = "odds"

    @classmethod
    def of(cls, unit: Unit) -> Scale:
        """The scale of a rule's values."""
        return cls(unit.value)


class LineRole(StrEnum):
    """What a line stands for; it decides colour and dashes, so that no line is told from another by colour alone."""

    CANARY = "canary"
    CONTROL = "control"
    LIMIT = "limit"


class MarkKind(StrEnum):
    TRIP = "trip"
    STEP = "step"  # the percent changed, or the rollout was armed or ended


@dataclass(frozen=True, slots=True)
class Series:
    """One line: ``points`` of (Unix seconds, value), ascending. A value None is a gap, and is drawn as one.

    ``stairs``: a value holds until the next point, as a flag's percent does.
    """

    name: str
    role: LineRole
    points: Sequence[tuple[float, float | None]]
    stairs: bool = False


@dataclass(frozen=True, slots=True)
class ChartMark:
    """A moment that is marked by a line from top to bottom, with a short ``text`` such as ``trip`` or ``5%``."""

    at: float
    kind: MarkKind
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart from ``since`` to ``until`` (Unix seconds). ``note``: what is not known, in words; "" if all is."""

    title: str
    scale: Scale
    since: float
    until: float
    series: tuple[Series, ...]
    marks: tuple[ChartMark, ...] = ()
    note: str = ""

    @property
    def shown_marks(self) -> tuple[ChartMark, ...]:
        """Those within the chart's time, the oldest first; of more than `MOST_MARKS` the newest, trips before steps."""
        inside = sorted(self._inside(), key=lambda mark: (mark.kind is MarkKind.TRIP, mark.at))
        return tuple(sorted(inside[-MOST_MARKS:], key=lambda mark: mark.at))

    @property
    def marks_left_out(self) -> int:
        """How many marks within the chart's time are not drawn."""
        return max(0, len(self._inside()) - MOST_MARKS)

    def _inside(self) -> list[ChartMark]:
        return [mark for mark in self.marks if self.since <= mark.at <= self.until]

    @property
    def empty(self) -> bool:
        """Whether no line has a value."""
        return not any(known(one.points) for one in self.series)


def known(points: Iterable[tuple[float, float | None]]) -> list[float]:
    """The values that are there; one that lies above a histogram's last bucket is infinite."""
    return [value for _, value in points if value is not None and not math.isnan(value)]


def in_words(value: float | None, scale: Scale) -> str:
    """A value as people read it: ``8.7%``, ``2.40 s``, ``5%``, ``1 in 400``; ``-`` where there is none."""
    if value is None or math.isnan(value):
        return "-"
    if scale is Scale.ODDS:
        return "none" if value <= 1.0 else odds_in_words(value)
    if scale is Scale.PERCENT:
        return f"{value:.4g}%"
    return value_in_words(value, Unit(scale.value))


def moment_in_words(at: float, chart: Chart) -> str:
    """A moment of the chart, UTC: the time of day, with the date where the chart covers more than a day."""
    return time_of_day(at) if chart.until - chart.since <= DAY else date_and_time(at).removesuffix(" UTC")


def description(chart: Chart) -> str:
    """The chart in words: each line's range and newest value, the marks, and what is missing."""
    said = [f"From {date_and_time(chart.since)} to {date_and_time(chart.until)}."]
    said += [f"{plain(one.name)}: {_line_in_words(one, chart.scale)}." for one in chart.series]
    said += [f"{plain(mark.text)} at {moment_in_words(mark.at, chart)}." for mark in chart.shown_marks[:20]]
    more = len(chart.shown_marks[20:]) + chart.marks_left_out
    said += [f"And {more} more marks."] if more > 0 else []
    return " ".join([*said, *([plain(chart.note)] if chart.note else [])])


def _line_in_words(series: Series, scale: Scale) -> str:
    values = known(series.points)
    if not values:
        return "no values"
    least, most, newest = (in_words(value, scale) for value in (min(values), max(values), values[-1]))
    return f"always {newest}" if least == most else f"{least} to {most}, newest {newest}"
