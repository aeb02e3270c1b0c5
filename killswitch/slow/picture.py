"""Both cohorts by day and their difference, as lines of text and as one SVG. Every text in it is a number of ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from killswitch.slow.counts import DayCounts, Moments
from killswitch.slow.days import date_of
from killswitch.slow.evidence import day_error
from killswitch.slow.findings import SlowFinding, amount

WIDE = 41  # characters of the difference's scale; the middle one is no difference
_Z95 = 1.96
_SVG_WIDTH, _SVG_HEIGHT, _LEFT, _RIGHT, _TOP = 720, 360, 56, 12, 28


@dataclass(frozen=True, slots=True)
class _Shown:
    """A day's difference (canary less control) and the half of its 95 % interval, NaN without both cohorts."""

    counts: DayCounts
    difference: float
    half: float


def shown_days(finding: SlowFinding, days: int) -> tuple[DayCounts, ...]:
    """The newest days, those without a user included."""
    known = {one.day: one for one in finding.days}
    first = max(finding.first_day, finding.last_day - days + 1)
    return tuple(known.get(day) or _no_users(day) for day in range(first, finding.last_day + 1))


def lines_of_text(finding: SlowFinding, days: int) -> list[str]:
    """A line a day: both means with their users, the difference, and where it is between the limit and no difference.

    ``o`` is the difference, ``[ ]`` its 95 % interval of that day alone, ``|`` no difference, ``!`` the limit.
    """
    rows = [_shown(one) for one in shown_days(finding, days)]
    if not rows:
        return []
    scale = _scale(finding, rows)
    share = finding.as_share
    half = WIDE // 2
    ends = f"{amount(-scale, as_share=share, sign=True):<{half}}|{amount(scale, as_share=share, sign=True):>{half}}"
    found = [f"{'day':<10}  {'control':>18}  {'canary':>18}  {'difference':>12}  {ends}"]
    for row in rows:
        one = row.counts
        difference = "-" if math.isnan(row.difference) else amount(row.difference, as_share=share, sign=True)
        control, canary = (_cohort(side, as_share=share) for side in (one.control, one.canary))
        bar = _bar(finding, row, scale)
        found.append(f"{date_of(one.day)}  {control:>18}  {canary:>18}  {difference:>12}  {bar}".rstrip())
    return found


def svg(findings: Sequence[SlowFinding], days: int) -> str:
    """One picture of all signals, each with its means above and its differences below."""
    drawn = [part for number, finding in enumerate(findings) for part in _panel(finding, days, number * _SVG_HEIGHT)]
    high = max(len(findings), 1) * _SVG_HEIGHT
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SVG_WIDTH} {high}" font-family="sans-serif" '
                'font-size="11">'
            ),
            f'<rect width="{_SVG_WIDTH}" height="{high}" fill="#fff"/>',
            *drawn,
            "</svg>",
            "",
        ]
    )


# --- text -----------------------------------------------------------------------------------------


def _no_users(day: int) -> DayCounts:
    return DayCounts(day, Moments(), Moments())


def _shown(one: DayCounts) -> _Shown:
    if not one.control.users or not one.canary.users:
        return _Shown(one, math.nan, math.nan)
    return _Shown(one, one.canary.mean - one.control.mean, _Z95 * day_error(one.control, one.canary))


def _scale(finding: SlowFinding, rows: Sequence[_Shown]) -> float:
    """The end of the scale: a round number that most days are within."""
    widths = sorted(abs(row.difference) + row.half for row in rows if not math.isnan(row.difference))
    wanted = max(widths[len(widths) * 9 // 10] if widths else 0.0, 1.5 * finding.limit, 1e-9)
    step = 10.0 ** math.floor(math.log10(wanted))
    return next(step * factor for factor in (1.0, 2.0, 5.0, 10.0) if step * factor >= wanted)


def _cohort(one: Moments, *, as_share: bool) -> str:
    return f"{amount(one.mean, as_share=as_share)} ({one.users:,})" if one.users else "- (0)"


def _bar(finding: SlowFinding, row: _Shown, scale: float) -> str:
    places = [" "] * WIDE

    def place(value: float) -> int:
        return min(max(round((value / scale + 1.0) * (WIDE - 1) / 2), 0), WIDE - 1)

    limit = -finding.limit if finding.lower_is_worse else finding.limit
    places[place(0.0)] = "|"
    if finding.limit:
        places[place(limit)] = "!"
    if not math.isnan(row.difference):
        low, high = place(row.difference - row.half), place(row.difference + row.half)
        for between in range(low, high + 1):
            places[between] = "-" if places[between] == " " else places[between]
        places[low], places[high] = "[", "]"
        places[place(row.difference)] = "o"
    return "".join(places)


# --- SVG ------------------------------------------------------------------------------------------


def _panel(finding: SlowFinding, days: int, down: float) -> list[str]:
    rows = [_shown(one) for one in shown_days(finding, days)]
    title = f"{finding.signal}: {finding.verdict.value}"
    parts = [f'<text x="{_LEFT}" y="{down + 18:.0f}" font-size="13">{title}</text>']
    if not any(row.counts.control.users or row.counts.canary.users for row in rows):
        return [*parts, f'<text x="{_LEFT}" y="{down + 60:.0f}">no day has settled</text>']
    wide = (_SVG_WIDTH - _LEFT - _RIGHT) / max(len(rows), 1)
    middles = [_LEFT + (number + 0.5) * wide for number in range(len(rows))]
    parts += _means(finding, rows, middles, down + _TOP)
    parts += _differences(finding, rows, middles, down + 210)
    every = max(1, -(-len(rows) // 8))
    for number in range(0, len(rows), every):
        day = f"{date_of(rows[number].counts.day):%d.%m.}"
        parts.append(f'<text x="{middles[number]:.1f}" y="{down + 348:.0f}" text-anchor="middle">{day}</text>')
    return parts


def _means(finding: SlowFinding, rows: Sequence[_Shown], middles: Sequence[float], top: float) -> list[str]:
    sides = {
        "control": [(x, row.counts.control) for x, row in zip(middles, rows, strict=True) if row.counts.control.users],
        "canary": [(x, row.counts.canary) for x, row in zip(middles, rows, strict=True) if row.counts.canary.users],
    }
    values = [moments.mean for points in sides.values() for _, moments in points]
    low, high = min(values), max(values)
    room = (high - low) * 0.1 or 1e-9
    low, high, tall = low - room, high + room, 160.0

    def y(value: float) -> float:
        return top + tall - (value - low) / (high - low) * tall

    parts = [
        f'<text x="{_LEFT - 6}" y="{y(end) + 4:.1f}" text-anchor="end">{amount(end, as_share=finding.as_share)}</text>'
        for end in (low, high)
    ]
    for (name, points), color in zip(sides.items(), ("#777", "#c0392b"), strict=True):
        path = " ".join(f"{x:.1f},{y(moments.mean):.1f}" for x, moments in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y(moments.mean):.1f}" r="2.5" fill="{color}"/>' for x, moments in points]
        at = _SVG_WIDTH - (140 if name == "control" else 60)
        parts.append(f'<text x="{at}" y="{top - 10:.0f}" fill="{color}">{name}</text>')
    return parts


def _differences(finding: SlowFinding, rows: Sequence[_Shown], middles: Sequence[float], top: float) -> list[str]:
    scale, tall = _scale(finding, rows), 120.0

    def y(value: float) -> float:
        return top + tall / 2 - min(max(value / scale, -1.0), 1.0) * tall / 2

    limit = -finding.limit if finding.lower_is_worse else finding.limit
    right = _SVG_WIDTH - _RIGHT
    parts = [
        f'<line x1="{_LEFT}" x2="{right}" y1="{y(0):.1f}" y2="{y(0):.1f}" stroke="#999"/>',
        (
            f'<line x1="{_LEFT}" x2="{right}" y1="{y(limit):.1f}" y2="{y(limit):.1f}" stroke="#c0392b" '
            'stroke-dasharray="4 3"/>'
        ),
        f'<text x="{_LEFT - 6}" y="{y(limit) + 4:.1f}" text-anchor="end" fill="#c0392b">limit</text>',
        f'<text x="{_LEFT}" y="{top - 6:.0f}">difference by day, 95 % of that day alone</text>',
    ]
    if finding.worse is not None and finding.low is not None and finding.high is not None:
        sign = -1.0 if finding.lower_is_worse else 1.0
        ends = sorted((y(sign * finding.low), y(sign * finding.high)))
        parts.append(
            f'<rect x="{_LEFT}" y="{ends[0]:.1f}" width="{right - _LEFT}" height="{max(ends[1] - ends[0], 0.5):.1f}" '
            'fill="#2980b9" fill-opacity="0.12"/>'
        )
    for x, row in zip(middles, rows, strict=True):
        if not math.isnan(row.difference):
            low, high = y(row.difference - row.half), y(row.difference + row.half)
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="#2980b9"/>')
            parts.append(f'<circle cx="{x:.1f}" cy="{y(row.difference):.1f}" r="2.5" fill="#2980b9"/>')
    return parts
