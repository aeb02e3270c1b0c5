"""A chart as SVG, to be put into an HTML page. It has no style of its own: `STYLE` belongs into the page's sheet.

Every text is escaped; there is no script, no link and no inline style, so the strictest content policy shows it.
"""

from __future__ import annotations

import re
from html import escape
from typing import Final

from killswitch.charts.chart import Chart, description
from killswitch.charts.geometry import Dot, Label, Point, Shape, Stroke, Wedge, drawing
from killswitch.wording import plain

# Dashes tell the lines apart, too. The colours have a contrast of 4.5 or more on both themes' backgrounds.
STYLE: Final = """
.chart { display: block; width: 100%; height: auto; }
.chart text { font: 11px system-ui, sans-serif; fill: var(--text); } .chart text.dim { fill: var(--dim); }
.chart polyline { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
.chart .canary { stroke: var(--canary); stroke-width: 2.2; } .chart circle.canary { fill: var(--canary); }
.chart .control { stroke: var(--control); stroke-dasharray: 5 3; } .chart circle.control { fill: var(--control); }
.chart .limit { stroke: var(--limit); stroke-dasharray: 1.5 3; } .chart circle.limit { fill: var(--limit); }
.chart polyline.trip { stroke: var(--bad); stroke-width: 1.4; } .chart polygon.trip { fill: var(--bad); }
.chart text.trip { fill: var(--bad); font-weight: 600; }
.chart polyline.step { stroke: var(--dim); stroke-width: 1; stroke-dasharray: 2 2; }
.chart text.step { fill: var(--dim); } .chart polyline.grid { stroke: var(--line); stroke-width: 1; }
.chart polyline.dim { stroke: var(--dim); stroke-width: 1; }
"""
COLOURS_LIGHT: Final = (
    "--text: #1b1b1b; --dim: #5c5c5c; --bad: #b3261e; --canary: #a84300; --control: #0b57a4; --limit: #1b1b1b;"
)
COLOURS_DARK: Final = (
    "--text: #ececec; --dim: #a8a8a8; --bad: #ff8a80; --canary: #ffb077; --control: #82b7ff; --limit: #ececec;"
)
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9_-]")


def svg(chart: Chart, name: str) -> str:
    """The chart as one ``<svg>`` element. ``name``: unique on the page; its title and description are found by it."""
    drawn = drawing(chart, titled=False)
    base = "c-" + _NOT_IN_AN_ID.sub(lambda found: f"_{ord(found[0]):x}", name)
    body = "".join(map(_element, drawn.shapes))
    return (
        f'<svg class=chart viewBox="0 0 {drawn.width:g} {drawn.height:g}" role=img'
        f' aria-labelledby="{base}-t" aria-describedby="{base}-d">'
        f'<title id="{base}-t">{escape(plain(chart.title))}</title>'
        f'<desc id="{base}-d">{escape(description(chart))}</desc>'
        f"{body}</svg>"
    )


def _element(shape: Shape) -> str:
    match shape:
        case Stroke(points, paint):
            return f'<polyline class={paint} points="{_points(points)}"/>'
        case Dot((x, y), paint):
            return f'<circle class={paint} cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>'
        case Wedge(points, paint):
            return f'<polygon class={paint} points="{_points(points)}"/>'
        case Label((x, y), text, paint, anchor):
            where = "" if anchor == "start" else f" text-anchor={anchor}"
            # the title and the description say all of it to a screen reader
            return f'<text class={paint} x="{x:.1f}" y="{y:.1f}"{where} aria-hidden=true>{escape(text)}</text>'


def _points(points: tuple[Point, ...]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
