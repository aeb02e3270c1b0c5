"""How many more rows would probably decide a number, if it stays as it is: None where it is at its bar."""

from __future__ import annotations

import math
from collections.abc import Callable

from killswitch.gate.intervals import QUANTILE, normal, share_high, share_low
from killswitch.gate.look_schedule import Look, schedule
from killswitch.roles.bars import Bars
from killswitch.wording import counted

MOST_ROWS = 1_000_000  # what needs more than this is as good as at its bar
PROBABLY = 0.84  # standard deviations: with this many rows four of five runs decide


def share_missing(share: float, rows: int, bar: float, bars: Bars, *, parts: int = 1) -> int | None:
    """For a share of ``rows`` rows; ``parts``: into how many the error of passing is divided."""

    def decided(size: int) -> bool:
        last = schedule(size, bars)[-1]
        spread = PROBABLY * math.sqrt(size * share * (1 - share))
        if share >= bar:
            return share_low(math.floor(size * share - spread), size, last.for_it / parts) >= bar
        return share_high(math.ceil(size * share + spread), size, last.against_it) < bar

    return _fewest(decided, rows) if share != bar else None


def margin_missing(
    value: float, ends: tuple[float, float], limit: float, bars: Bars, look: Look, rows: int, *, parts: int = 1
) -> int | None:
    """For a value that must be at most ``limit``, whose interval shrinks with the root of the rows."""
    is_good = value <= limit
    end, level = (ends[1], look.for_it / parts) if is_good else (ends[0], look.against_it)
    if not math.isfinite(end) or value == limit:
        return None
    width = abs(end - value) / -normal(level)

    def decided(size: int) -> bool:
        last = schedule(size, bars)[-1]
        level = last.for_it / parts if is_good else last.against_it
        return width * math.sqrt(rows / size) * (-normal(level) + PROBABLY) <= abs(limit - value)

    return _fewest(decided, rows)


def ratio_missing(value: float, ends: tuple[float, float], bar: float, bars: Bars, look: Look, rows: int) -> int | None:
    """The same of a ratio, on the logarithm."""
    logs = tuple(math.log(one) if one > 0 else -math.inf for one in (value, *ends, bar))
    return margin_missing(logs[0], (logs[1], logs[2]), logs[3], bars, look, rows) if logs[0] > -math.inf else None


def fewest_for_p95(bars: Bars) -> int:
    """With fewer rows the largest value may be below the p95, so that its interval has no upper end."""
    return math.ceil(math.log(bars.wrong) / math.log(QUANTILE))


def fewest_for_schema(bars: Bars) -> int | None:
    """With fewer rows the bar cannot be shown, even without a failure: 299 for 99 % and an error of 5 %."""
    return math.ceil(math.log(bars.wrong) / math.log(bars.schema) - 1e-9) if 0 < bars.schema < 1 else None


def too_few_to_pass(rows: int, bars: Bars) -> str | None:
    """What to say before money is spent on rows that cannot pass, whatever they say; None where they may."""
    fewest = max(fewest_for_schema(bars) or 0, fewest_for_p95(bars))
    if rows >= fewest:
        return None
    return (
        f"{counted(rows, 'row')} cannot pass, even without a failure: at least {fewest:,} are needed, and about three "
        "times as many where some answers differ; with fewer rows a candidate can only fail"
    )


def _fewest(decided: Callable[[int], bool], rows: int) -> int | None:
    low, high = rows, rows + 1
    while not decided(high):
        low, high = high, 2 * high
        if high > MOST_ROWS:
            return None
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return high - rows
