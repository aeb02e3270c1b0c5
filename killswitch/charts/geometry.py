"""Where everything of a chart is drawn, in units of the drawing: shapes that each kind of picture draws as they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal

from killswitch.charts.chart import Chart, ChartMark, LineRole, MarkKind, Scale, Series, in_words, known
from killswitch.timestamps import DAY, HOUR
from killswitch.wording import plain

WIDTH: Final = 360.0
HEIGHT: Final = 200.0
TEXT: Final = 11.0  # height of a text
_LETTER = 6.2  # width of a letter of that height, on average and with some room
_TITLE, _LEGEND, _BELOW, _RIGHT = 18.0, 18.0, 20.0, 10.0
_MARKS = 14.0  # room for the marks' texts above the plot
_NEAR = 4.0  # between two texts of marks
_MOST_TITLE, _MOST_NAME, _MOST_MARK = 52, 24, 14  # characters
_TIME_STEPS = (
    300, 600, 900, 1800, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 28 * DAY,
)  # fmt: skip
_MOST_TIMES = 5
_VALUE_TICKS = 4
_MOST_TICK = 14  # characters
_MOST_VALUE, _LEAST_RANGE = 1e100, 1e-100  # what lies beyond is drawn at the edge

Anchor = Literal["start", "middle", "end"]
Paint = Literal["canary", "control", "limit", "trip", "step", "text", "dim", "grid"]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Stroke:
    """A line through ``points``."""

    points: tuple[Point, ...]
    paint: Paint


@dataclass(frozen=True, slots=True)
class Dot:
    """A value without neighbours, which a line would not show."""

    at: Point
    paint: Paint


@dataclass(frozen=True, slots=True)
class Wedge:
    """A filled triangle: the sign of a trip."""

    points: tuple[Point, Point, Point]
    paint: Paint


@dataclass(frozen=True, slots=True)
class Label:
    """A text; ``at`` is the left end, the middle or the right end of its baseline."""

    at: Point
    text: str
    paint: Paint
    anchor: Anchor = "start"


Shape = Stroke | Dot | Wedge | Label


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart's shapes, in the order in which they are drawn, on an area of ``width`` by ``height``."""

    width: float
    height: float
    shapes: tuple[Shape, ...]


def drawing(chart: Chart, *, titled: bool, width: float = WIDTH, height: float = HEIGHT) -> Drawing:
    """The chart's shapes. ``titled``: with its title, for a picture that has no heading of its own."""
    plot = _Plot.of(chart, titled=titled, width=width, height=height)
    shapes: list[Shape] = []
    if titled:
        shapes.append(Label((4.0, 13.0), _short(chart.title, _MOST_TITLE), "text"))
    shapes += _legend(chart, plot)
    shapes += _grid(chart, plot)
    shapes += _marks(chart, plot)
    for series in chart.series:
        shapes += _line(series, plot)
    if chart.empty:
        middle = ((plot.left + plot.right) / 2, (plot.top + plot.bottom) / 2)
        shapes.append(Label(middle, "no values", "dim", "middle"))
    return Drawing(width, height, tuple(shapes))


@dataclass(frozen=True, slots=True)
class _Plot:
    """The area of the lines, and what its edges stand for."""

    left: float
    right: float
    top: float
    bottom: float
    since: float
    until: float
    least: float
    most: float
    logarithmic: bool
    ticks: tuple[float, ...] = field(default=())

    @classmethod
    def of(cls, chart: Chart, *, titled: bool, width: float, height: float) -> _Plot:
        logarithmic = chart.scale is Scale.ODDS
        ticks = _odds_ticks(chart) if logarithmic else _value_ticks(chart)
        margin = 12.0 + _LETTER * max(len(_tick_text(tick, chart)) for tick in ticks)
        top = (_TITLE if titled else 0.0) + _LEGEND + (_MARKS if chart.shown_marks else 4.0)
        span = max(chart.until - chart.since, 1.0)
        return cls(
            margin, width - _RIGHT, top, height - _BELOW, chart.since, chart.since + span,
            ticks[0], ticks[-1], logarithmic, ticks,
        )  # fmt: skip

    def x(self, at: float) -> float:
        share = (at - self.since) / (self.until - self.since)
        return self.left + min(max(share, 0.0), 1.0) * (self.right - self.left)

    def y(self, value: float) -> float:
        """The height of a value; one that is off the scale lies on its edge."""
        if self.logarithmic:
            share = math.log(max(value, self.least)) / math.log(self.most) if math.isfinite(value) else 1.0
        else:
            share = (value - self.least) / (self.most - self.least)
        return self.bottom - min(max(share, 0.0), 1.0) * (self.bottom - self.top)


def _value_ticks(chart: Chart) -> tuple[float, ...]:
    """Round values from 0, or from below the least, up to the first at or above the greatest."""
    values = [value for one in chart.series for value in known(one.points) if abs(value) < _MOST_VALUE]
    most, least = max(values, default=0.0), min(0.0, min(values, default=0.0))
    if most - least < _LEAST_RANGE:
        most = least + (100.0 if chart.scale is Scale.PERCENT else abs(least) or 1.0)
    step = _round_step((most - least) / _VALUE_TICKS)
    first, last = math.floor(least / step + 1e-9), math.ceil(most / step - 1e-9)
    return tuple(number * step for number in range(first, last + 1))


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is at least ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(each * power for each in (1.0, 2.0, 2.5, 5.0, 10.0) if each * power >= least * (1 - 1e-9))


def _odds_ticks(chart: Chart) -> tuple[float, ...]:
    """Powers of ten from 1 to above all that is shown, at most five of them; evidence grows without bound."""
    values = [min(value, 1e12) for one in chart.series for value in known(one.points)]
    top = max(1, math.ceil(math.log10(max([10.0, *values])) - 1e-9))
    step = math.ceil(top / _VALUE_TICKS)
    return tuple(10.0**power for power in range(0, step * math.ceil(top / step) + 1, step))


def _legend(chart: Chart, plot: _Plot) -> Iterator[Shape]:
    """Each line's sample, its name and its newest value, in one row above the plot."""
    y = plot.top - (_MARKS if chart.shown_marks else 4.0) - 5.0
    room = (plot.right - 4.0) / max(len(chart.series), 1)
    for number, series in enumerate(chart.series):
        x = 4.0 + number * room
        yield Stroke(((x, y - 4.0), (x + 16.0, y - 4.0)), _paint(series))
        values = known(series.points)
        newest = f" {in_words(values[-1], chart.scale)}" if values else ""
        letters = max(4, int((room - 22.0) / _LETTER))
        yield Label((x + 20.0, y), _short(f"{series.name}{newest}", letters), "text")


def _grid(chart: Chart, plot: _Plot) -> Iterator[Shape]:
    for tick in plot.ticks:
        y = plot.y(tick)
        yield Stroke(((plot.left, y), (plot.right, y)), "grid")
        yield Label((plot.left - 5.0, y + 4.0), _tick_text(tick, chart), "dim", "end")
    times, spec = time_ticks(chart.since, chart.until)
    for at in times:
        x = plot.x(at)
        yield Stroke(((x, plot.bottom), (x, plot.bottom + 3.0)), "dim")
        text = datetime.fromtimestamp(at, tz=UTC).strftime(spec)
        half = len(text) * _LETTER / 2
        anchor: Anchor = "end" if x + half > plot.right + _RIGHT else "middle"
        yield Label((x, plot.bottom + 15.0), text, "dim", anchor)


def _tick_text(tick: float, chart: Chart) -> str:
    return _short(in_words(tick, chart.scale), _MOST_TICK)


def time_ticks(since: float, until: float) -> tuple[list[float], str]:
    """Round moments in UTC, at most five, and how they are written."""
    step = next((one for one in _TIME_STEPS if (until - since) / one <= _MOST_TIMES), _TIME_STEPS[-1])
    first = math.ceil(since / step) * step
    spec = "%H:%M" if step < DAY and until - since <= DAY + 1 else "%d %b" if step >= DAY else "%d %H:%M"
    return [first + number * step for number in range(int((until - first) // step) + 1)], spec


def _marks(chart: Chart, plot: _Plot) -> Iterator[Shape]:
    """A line for each mark; its text where there is room: trips first, then the newest steps."""
    taken: list[tuple[float, float]] = []
    for mark in sorted(chart.shown_marks, key=lambda one: (one.kind is not MarkKind.TRIP, -one.at)):
        x = plot.x(mark.at)
        yield Stroke(((x, plot.top), (x, plot.bottom)), _paint_of(mark))
        if mark.kind is MarkKind.TRIP:
            yield Wedge(((x - 4.0, plot.top - 1.0), (x + 4.0, plot.top - 1.0), (x, plot.top + 6.0)), "trip")
        text = _short(mark.text, _MOST_MARK)
        half = len(text) * _LETTER / 2
        middle = _free_middle(min(max(x, half + 1.0), plot.right + _RIGHT - half), half, taken)
        if middle is not None:
            taken.append((middle - half, middle + half))
            yield Label((middle, plot.top - 4.0), text, _paint_of(mark), "middle")


def _free_middle(wanted: float, half: float, taken: Sequence[tuple[float, float]]) -> float | None:
    """Where a text of this half width goes; None where there is no room.

    The percent before a trip is often as close as a minute: its text goes to the left of the trip's.
    """

    def free(middle: float) -> bool:
        return middle - half >= 0.0 and all(
            middle + half + _NEAR <= begin or middle - half - _NEAR >= end for begin, end in taken
        )

    if free(wanted):
        return wanted
    begin = next((begin for begin, end in taken if begin - half - _NEAR < wanted < end + half + _NEAR), None)
    left = wanted if begin is None else begin - half - _NEAR
    return left if free(left) else None


def _line(series: Series, plot: _Plot) -> Iterator[Shape]:
    paint = _paint(series)
    for part in _unbroken(series.points):
        points = [(plot.x(at), plot.y(value)) for at, value in part]
        if series.stairs:
            points = list(_stairs(points))
        if len(points) == 1:
            yield Dot(points[0], paint)
        else:
            yield Stroke(tuple(points), paint)


def _unbroken(points: Sequence[tuple[float, float | None]]) -> Iterator[list[tuple[float, float]]]:
    part: list[tuple[float, float]] = []
    for at, value in points:
        if value is not None and not math.isnan(value):
            part.append((at, value))
        elif part:
            yield part
            part = []
    if part:
        yield part


def _stairs(points: Sequence[Point]) -> Iterator[Point]:
    for number, (x, y) in enumerate(points):
        if number:
            yield x, points[number - 1][1]
        yield x, y


def _paint(series: Series) -> Paint:
    match series.role:
        case LineRole.CANARY:
            return "canary"
        case LineRole.CONTROL:
            return "control"
        case LineRole.LIMIT:
            return "limit"


def _paint_of(mark: ChartMark) -> Paint:
    return "trip" if mark.kind is MarkKind.TRIP else "step"


def _short(text: str, letters: int) -> str:
    return plain(text, letters)
