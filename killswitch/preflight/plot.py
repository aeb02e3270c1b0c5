"""Draws a back-test: the values of both cohorts, the limit, the evidence, and the trip.

Each rule has a row, each rollout a column. The upper picture shows both cohorts over the window and the limit
that follows from control, in amber where the rule is SUSPECT. The lower one shows the evidence and the line
where it becomes a breach. Needs the extra `plot`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib import dates
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from killswitch.errors import BadSettings
from killswitch.model import Rule
from killswitch.preflight.backtest.results import RolloutHistory, RuleHistory, Terms
from killswitch.preflight.backtest.window_readings import read_windows
from killswitch.sources import Source
from killswitch.verdicts.compare import compare
from killswitch.verdicts.evidence.evariables import Array
from killswitch.wording import odds_in_words, value_in_words

mpl.use("Agg")

Bools = npt.NDArray[np.bool_]
_MOST_POINTS: Final = 1500
_CONTROL, _CANARY, _LIMIT, _TRIP, _SUSPECT = "#4b6584", "#e67e22", "#8e44ad", "#c0392b", "#f1b82d"
_SUFFIXES: Final = (".png", ".svg", ".pdf")
_MOST_DRAWN: Final = 6


@dataclass(frozen=True, slots=True)
class Rates:
    """One rule's windows: times in Unix seconds, values and limit in the rule's unit, NaN where unknown."""

    times: Array
    canary: Array
    control: Array
    limit: Array


def draw(source: Source, histories: Sequence[RolloutHistory], terms: Terms, target: Path) -> None:
    """Write the picture. Rollouts without data are left out, and at most six are drawn.

    Raises BadSettings if the file has another suffix or cannot be written, Unavailable if the source fails.
    """
    if target.suffix.lower() not in _SUFFIXES:
        raise BadSettings([f"--plot {target}: the name must end in one of {', '.join(_SUFFIXES)}"])
    shown = [history for history in histories if history.armed_at is not None][:_MOST_DRAWN]
    if not shown:
        raise BadSettings(["--plot: no rollout has data, so there is nothing to draw"])
    most = max(len(history.rules) for history in shown)
    height = 1.1 + 3.0 * most
    figure = Figure(figsize=(11.0 * len(shown), height))
    grid = figure.add_gridspec(
        3 * most,
        len(shown),
        height_ratios=[3.0, 1.8, 0.45] * most,
        hspace=0.08,
        left=0.085,
        right=0.985,
        top=1 - 0.75 / height,
        bottom=0.2 / height,
    )
    for column, history in enumerate(shown):
        rates = _rates(source, history, terms)
        for row, kept in enumerate(history.rules):
            rule = history.rollout.rules[row]
            above = figure.add_subplot(grid[3 * row, column])
            below = figure.add_subplot(grid[3 * row + 1, column], sharex=above)
            title = f"{history.rollout.name}: {_outcome(history)}" if row == 0 else None
            suspect = suspect_at(rates[rule.name], kept, judged_spans(history, terms))
            _draw_rates(above, rule, rates[rule.name], suspect, title)
            _draw_evidence(below, kept)
            _mark_trips(above, below, history, rule.name)
            _format_times(above, below, terms, last=row == len(history.rules) - 1)
    figure.align_ylabels()
    try:
        figure.savefig(target, dpi=110)
    except OSError as error:
        raise BadSettings([f"--plot {target}: {error.strerror or error}"]) from error


def _outcome(history: RolloutHistory) -> str:
    if not history.trips:
        return "no trip"
    first = history.trips[0]
    more = f", and {len(history.trips) - 1} more" if len(history.trips) > 1 else ""
    return f"tripped by {first.rule} at {_moment(first.at):%Y-%m-%d %H:%M:%S}{more}   (times in UTC)"


def _rates(source: Source, history: RolloutHistory, terms: Terms) -> Mapping[str, Rates]:
    """The values that a dashboard would show, at no more points than a picture can."""
    ticks, windows = read_windows(source, history.rollout, terms, most=_MOST_POINTS)
    found: dict[str, Rates] = {}
    for rule in history.rollout.rules:
        held = [compare(rule, reading) for reading in windows[rule.name]]
        rows = [[_finite(value) for value in (one.canary, one.control, one.limit)] for one in held]
        columns = np.array(rows, dtype=np.float64).reshape(len(ticks), 3)
        found[rule.name] = Rates(np.array(ticks), *columns.T)
    return found


def _finite(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else math.nan


def judged_spans(history: RolloutHistory, terms: Terms) -> Sequence[tuple[float, float]]:
    """From each arming to its trip, or to the end."""
    assert history.armed_at is not None
    spans, begins = [], history.armed_at
    for trip in history.trips:
        spans.append((begins, trip.at))
        if terms.rearm_after is None:
            return spans
        begins = trip.at + terms.rearm_after
    return [*spans, (begins, terms.until)]


def suspect_at(rates: Rates, kept: RuleHistory, spans: Sequence[tuple[float, float]]) -> Bools:
    """At which windows the rule is SUSPECT: armed and over its limit, but its evidence is not a breach."""
    found: Bools = np.zeros(len(rates.times), dtype=np.bool_)
    for begins, ends in spans:
        found |= (rates.times > begins) & (rates.times < ends)
    found &= rates.canary > rates.limit
    if kept.track and kept.needed is not None:
        times = np.concatenate([times for times, _ in kept.track])
        values = np.concatenate([values for _, values in kept.track])
        newest = np.searchsorted(times, rates.times, side="right") - 1
        found &= (newest < 0) | (values[newest] < kept.needed)
    return found


def _draw_rates(axes: Any, rule: Rule, rates: Rates, suspect: Bools, title: str | None) -> None:
    times = _days(rates.times)
    over = rates.canary > rates.limit
    axes.fill_between(
        times, 0, 1, where=suspect, transform=axes.get_xaxis_transform(), color=_SUSPECT, alpha=0.3, linewidth=0,
        step="mid", label="SUSPECT: over, not proven",
    )  # fmt: skip
    axes.fill_between(times, rates.limit, rates.canary, where=over, color=_CANARY, alpha=0.22, linewidth=0)
    axes.plot(times, rates.control, color=_CONTROL, linewidth=1.2, label="control")
    axes.plot(times, rates.canary, color=_CANARY, linewidth=1.2, label="canary")
    axes.plot(times, rates.limit, color=_LIMIT, linewidth=1.1, linestyle=(0, (5, 3)), label="limit, given control")
    axes.set_ylim(0, _ceiling(rates))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    unit = rule.unit
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: value_in_words(value, unit)))
    axes.set_ylabel(rule.name, fontweight="bold")
    if title is not None:
        axes.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=24)
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, frameon=False, fontsize=9, borderaxespad=0.2)
    _quiet(axes)


def _ceiling(rates: Rates) -> float:
    """The top of the axis: one extreme window must not flatten the rest."""
    values = np.concatenate([rates.canary, rates.control, rates.limit])
    values = values[np.isfinite(values)]
    return 1.15 * float(np.quantile(values, 0.998)) or 1.0 if values.size else 1.0


def _draw_evidence(axes: Any, kept: RuleHistory) -> None:
    _quiet(axes)
    axes.set_ylabel("evidence")
    if not kept.track or kept.needed is None:
        axes.text(
            0.5, 0.5, "judged by the bare comparison", transform=axes.transAxes, ha="center", va="center", color="#777"
        )
        axes.set_yticks([])
        return
    times = np.concatenate([times for times, _ in kept.track])
    values = np.maximum(np.concatenate([values for _, values in kept.track]), 1e-3)
    times, values = _thinned(times, values)
    floor = 0.05
    axes.set_yscale("log")
    axes.fill_between(_days(times), floor, np.maximum(values, floor), color="#27ae60", alpha=0.25, linewidth=0)
    axes.plot(_days(times), np.maximum(values, floor), color="#1e8449", linewidth=1.0)
    axes.axhline(kept.needed, color=_TRIP, linewidth=1.0, linestyle=(0, (2, 2)))
    axes.text(
        0.004, kept.needed, f"breach: {odds_in_words(kept.needed)}", transform=axes.get_yaxis_transform(),
        color=_TRIP, fontsize=8, va="bottom", ha="left",
    )  # fmt: skip
    axes.set_ylim(floor, max(kept.needed * 30, min(float(values.max()), kept.needed * 1e3) * 3))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else ""))
    axes.set_yticks([1, 100, *([10_000] if kept.needed > 2_000 else [])])
    axes.minorticks_off()


def _thinned(times: Array, values: Array) -> tuple[Array, Array]:
    """No more points than can be seen: the largest evidence of each portion, so that no peak is lost."""
    portion = math.ceil(len(times) / _MOST_POINTS)
    if portion <= 1:
        return times, values
    starts = np.arange(0, len(times), portion)
    return times[starts], np.maximum.reduceat(values, starts)


def _mark_trips(above: Any, below: Any, history: RolloutHistory, rule: str) -> None:
    if history.trips and not _rearmed(history):
        for axes in (above, below):
            axes.axvspan(_days(np.array([history.trips[-1].at]))[0], 1e6, color="#000000", alpha=0.05, linewidth=0)
    for trip in history.trips:
        own = rule in trip.rules
        at = _days(np.array([trip.at]))[0]
        for axes in (above, below):
            axes.axvline(at, color=_TRIP, linewidth=1.6 if own else 0.8, alpha=1.0 if own else 0.35)
        if own:
            above.annotate(
                f"trip {_moment(trip.at):%H:%M:%S}", (at, 0.97), xycoords=("data", "axes fraction"), xytext=(-5, 0),
                textcoords="offset points", color=_TRIP, fontsize=9, fontweight="bold", ha="right", va="top",
            )  # fmt: skip


def _rearmed(history: RolloutHistory) -> bool:
    """Whether the replay went on after its last trip."""
    return any(times[-1] > history.trips[-1].at for rule in history.rules for times, _ in rule.track if len(times))


def _format_times(above: Any, below: Any, terms: Terms, *, last: bool) -> None:
    above.tick_params(labelbottom=False)
    locator = dates.AutoDateLocator(tz=UTC)
    below.xaxis.set_major_locator(locator)
    below.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=UTC))
    below.tick_params(labelbottom=last)
    above.set_xlim(*_days(np.array([terms.since, terms.until])))


def _quiet(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(visible=True, axis="both", color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)


def _days(times: Array) -> Any:
    return times / 86_400.0  # matplotlib's own unit, counted from 1970


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, tz=UTC)
