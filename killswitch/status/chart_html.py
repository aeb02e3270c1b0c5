"""A chart in a page: the picture, what is not known, and its numbers as a table for people who cannot see it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from killswitch.charts.chart import Chart, LineRole, in_words, moment_in_words
from killswitch.charts.svg import svg
from killswitch.status.html_document import Row, table, text
from killswitch.trends.trend import NOTHING, RuleTrend, Trend
from killswitch.wording import count_in_words

MOST_NUMBERS: Final = 13  # rows of a table, the newest among them, and one more for the worst moment


def figure(chart: Chart, name: str, *, heading: str = "") -> str:
    """The chart with its title as a caption. ``name`` is unique on the page; ``heading``: a caption that says more."""
    return f"<figure><figcaption>{escape(heading or chart.title)}</figcaption>{svg(chart, name)}</figure>"


def numbers_of_rule(trend: Trend, rule: RuleTrend, charts: Sequence[Chart]) -> str:
    """The numbers of one rule's charts, folded away; "" where nothing is known."""
    at = [number for number, moment in enumerate(rule.moments) if moment != NOTHING]
    if not at:
        return ""
    scale = charts[0].scale
    heads = ("time", "canary", "control", "limit", "requests", "evidence")
    rows = []
    worst = max(at, key=lambda number: rule.moments[number].canary or 0.0)
    for number in sorted({*_spread(at), worst}, reverse=True):
        one = rule.moments[number]
        requests = f"{count_in_words(one.samples_canary)} / {count_in_words(one.samples_control)}"
        evidence = "-" if one.evidence is None else "none" if one.evidence <= 1.0 else f"1 in {one.evidence:,.3g}"
        values = (one.canary, one.control, one.limit)
        rows.append(
            Row(
                [
                    text(moment_in_words(trend.times[number], charts[0])),
                    *(text(in_words(value, scale)) for value in values),
                    text(requests),
                    text(evidence),
                ]
            )
        )
    needed = "" if rule.needed is None else f"; it trips at 1 in {rule.needed:,.0f}"
    caption = f"{rule.rule}, newest first, UTC; requests of canary / control in the window{needed}"
    return _folded(rule.rule, table(caption, heads, rows, right=heads[1:]))


def numbers_of_stairs(chart: Chart) -> str:
    """The steps of a chart of percents, folded away, the newest first."""
    points = [point for one in chart.series if one.role is LineRole.CANARY for point in one.points]
    rows = [Row([text(moment_in_words(at, chart)), text(in_words(value, chart.scale))]) for at, value in points[-50:]]
    shown = table("users with the canary from then on, UTC", ("time", "percent"), rows[::-1], right=("percent",))
    return _folded(chart.title, shown) if rows else ""


def _folded(title: str, shown: str) -> str:
    return f"<details><summary>Numbers of {escape(title)}</summary>{shown}</details>"


def _spread(at: Sequence[int]) -> list[int]:
    """At most `MOST_NUMBERS` of these, evenly, with the first and the last."""
    if len(at) <= MOST_NUMBERS:
        return list(at)
    last = len(at) - 1
    return [at[round(number * last / (MOST_NUMBERS - 1))] for number in range(MOST_NUMBERS)]
