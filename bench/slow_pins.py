"""How often slow signals pin a canary within its limit, how soon they see one beyond it, and the literal rule.

``python -m bench.slow_pins --write docs/statistics.md`` writes the tables; ``--quick`` draws a tenth of the runs. All
draws have fixed seeds. One evaluation a day; nothing is read, the judge's own functions are called.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from bench.tables import markdown, upper_bound, write_between_markers
from killswitch.slow.counts import Moments, StretchCounts, UserSpread
from killswitch.slow.evidence import Difference, difference, log_mixture, log_sum, recent_starts
from killswitch.slow.judging import FALSE_PINS

DAYS = 30
NEEDED = math.log(1.0 / (FALSE_PINS * 0.9))
SD = 30.0
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Value:
    """What a user's latent number becomes; the canary is exactly at ``limit``."""

    name: str
    limit: float
    lower_is_worse: bool
    of: Callable[[Array, float], Array]  # latent numbers, and by how much they are worse


def five_points(latent: Array, worse: float) -> Array:
    """A score of 0, 25, 50, 75 or 100, most of them 100 (sd 34); where it is worse, some 100 are 0."""
    score = np.digitize(norm.cdf(latent), [0.08, 0.13, 0.22, 0.45]) * 25.0
    some = latent > norm.ppf(1.0 - worse / 100.0)
    return np.where(some, 0.0, score)


def refund(latent: Array, worse: float) -> Array:
    """1 % of users, and more where it is worse."""
    return np.where(latent > norm.ppf(0.99 - worse), 1.0, 0.0)


def purchase(latent: Array, worse: float) -> Array:
    """2 % of users, and fewer where it is worse."""
    return np.where(latent > norm.ppf(0.98 + worse), 1.0, 0.0)


VALUES = (
    Value("score, limit 0 points", 0.0, lower_is_worse=True, of=five_points),
    Value("score, limit 3 points", 3.0, lower_is_worse=True, of=five_points),
    Value("refund of 1 %, limit 0 pp", 0.0, lower_is_worse=False, of=refund),
    Value("refund of 1 %, limit 1 pp", 0.01, lower_is_worse=False, of=refund),
    Value("purchase of 2 %, limit 0 pp", 0.0, lower_is_worse=True, of=purchase),
    Value("purchase of 2 %, limit 1 pp", 0.01, lower_is_worse=True, of=purchase),
)
# name, users per daily user (None: others every day), share of the variance that is the user's own
People = tuple[str, int | None, float]
PEOPLE: tuple[People, ...] = (
    ("others every day", None, 0.0),
    ("5 times as many, each 1 day in 5", 5, 0.7),
    ("the same every day", 1, 0.9),
)
SIZES = ((5, 19), (50, 19), (500, 3))  # users a day in the canary, and control's as a multiple


def cohort(value: Value, a_day: int, people: People, draw: np.random.Generator, *, worse: float) -> Array:
    """Values by day and user, NaN on a day without one."""
    _, many, own = people
    if many is None:
        found = np.full((DAYS, DAYS, a_day), np.nan)
        found[np.arange(DAYS), np.arange(DAYS)] = value.of(draw.normal(size=(DAYS, a_day)), worse)
        return found.reshape(DAYS, -1)
    users = a_day * many
    latent = math.sqrt(own) * draw.normal(size=users) + math.sqrt(1 - own) * draw.normal(size=(DAYS, users))
    return np.where(draw.random((DAYS, users)) < 1 / many, value.of(latent, worse), np.nan)


def means_so_far(values: Array) -> Iterator[Moments]:
    """After each day, the moments of users' means."""
    here = ~np.isnan(values)
    counts, sums = here.cumsum(axis=0), np.where(here, values, 0.0).cumsum(axis=0)
    for count, total in zip(counts, sums, strict=True):
        means = total[count > 0] / count[count > 0]
        yield Moments(len(means), float(means.mean()), float(means.var(ddof=1))) if len(means) > 1 else Moments()


def compared(one: Moments, other: Moments, *, lower_is_worse: bool) -> Difference | None:
    if min(one.users, other.users) < 2:
        return None
    spread = UserSpread(one.variance / one.users + other.variance / other.users, one.users, other.users)
    return difference([StretchCounts(0.5, one, other, one, other)], spread, lower_is_worse=lower_is_worse)


def first_pin(control: Array, canary: Array, value: Value) -> int | None:
    """The day of the first breach by evidence: of the whole time and of the newest weeks."""
    days = len(control)
    starts = (0, *range(7, days, 7))
    from_start = {
        start: list(zip(means_so_far(control[start:]), means_so_far(canary[start:]), strict=True)) for start in starts
    }
    for day in range(days):
        whole, *recent = [
            compared(*from_start[start][day - start], lower_is_worse=value.lower_is_worse)
            for start in (0, *recent_starts(0, day))
        ]
        if log_sum(log_mixture(whole, recent, value.limit)) >= NEEDED:
            return day + 1
    return None


def false_pins(runs: int) -> tuple[list[list[str]], int, int]:
    """The rows, and of all runs how many were pinned."""
    rows, pinned_of_all, all_runs = [], 0, 0
    for value in VALUES:
        for people in PEOPLE:
            cells = []
            for a_day, ratio in SIZES:
                here = runs if a_day < 500 else max(runs // 5, 1)
                draw = np.random.default_rng(11)
                pinned = 0
                for _ in range(here):
                    control = cohort(value, a_day * ratio, people, draw, worse=0.0)
                    canary = cohort(value, a_day, people, draw, worse=value.limit)
                    pinned += first_pin(control, canary, value) is not None
                cells.append(f"{pinned} of {here:,}")
                pinned_of_all, all_runs = pinned_of_all + pinned, all_runs + here
            print(value.name, people[0], cells, flush=True)
            rows.append([value.name, people[0], *cells])
    return rows, pinned_of_all, all_runs


def mean_of(sums: Sequence[Array], a_day: tuple[float, float], start: int, day: int) -> Difference | None:
    """The comparison of the days from ``start`` on, from the sums of users' scores by day."""
    days = day + 1 - start
    control, canary = (
        Moments(round(users * days), float(one[day + 1] - one[start]) / days, SD**2)
        for one, users in zip(sums, a_day, strict=True)
    )
    return compared(control, canary, lower_is_worse=True)


def seen_after(drop: float, limit: float, canary: float, control: float, runs: int, begins: int = 0) -> str:
    """Median days until a drop that begins on a day is proven, with others every day; at most 120."""
    days = 120
    draw = np.random.default_rng(13)
    found = []
    for _ in range(runs):
        sums = [
            np.concatenate([[0.0], np.cumsum(draw.normal(0.0, SD / math.sqrt(users), days) - fall)])
            for users, fall in ((control, 0.0), (canary, drop * (np.arange(days) >= begins)))
        ]
        first = math.inf
        for day in range(days):
            whole, *recent = [mean_of(sums, (control, canary), start, day) for start in (0, *recent_starts(0, day))]
            if log_sum(log_mixture(whole, recent, limit)) >= NEEDED:
                first = day + 1
                break
        found.append(first)
    median = float(np.median(found)) - begins
    return f"{median:.0f}" if math.isfinite(median) else f"over {days}"


def detection(runs: int) -> list[list[str]]:
    rows = []
    for limit in (0.0, 3.0):
        for percent in (5, 25, 50):
            for users in (100, 1000, 10_000):
                canary = users * percent / 100
                cells = [
                    "never" if drop <= limit else seen_after(drop, limit, canary, users - canary, runs)
                    for drop in (3.0, 5.0, 10.0)
                ]
                rows.append([f"{limit:g}", f"{percent} %", f"{users:,}", *cells])
    return rows


def late(runs: int) -> list[list[str]]:
    """Days after it began until a drop is seen that begins when the canary has been healthy for a while."""
    return [
        [f"{users:,}", *(seen_after(10.0, 3.0, users / 4, 3 * users / 4, runs, begins) for begins in (0, 14, 28))]
        for users in (100, 1000, 10_000)
    ]


def literal(runs: int) -> list[list[str]]:
    """How often the literal rule pins a healthy canary: both days, or the mean of both, 3 points under control."""
    rows = []
    for a_day in (20, 50, 100, 300, 1000):
        draw = np.random.default_rng(17)
        days = draw.normal(0.0, SD * math.sqrt(1 / a_day + 1 / (19 * a_day)), (runs, 14))
        both = (days[:, 1:] <= -3.0) & (days[:, :-1] <= -3.0)
        mean = (days[:, 1:] + days[:, :-1]) / 2 <= -3.0
        cells = [f"{100 * one[:, :6].any(axis=1).mean():.1f} %" for one in (both, mean)]
        cells.append(f"{100 * both.any(axis=1).mean():.1f} %")
        rows.append([f"{a_day:,}", *cells])
    return rows


def text(runs: int) -> str:
    rows, pinned, all_runs = false_pins(runs)
    sizes = [f"{a_day} a day in the canary, {ratio} times in control" for a_day, ratio in SIZES]
    bound = 100 * upper_bound(pinned, all_runs)
    of_pins = (
        "Pins by evidence within 30 days, of canaries exactly at their limit (with limit 0: as good as control). "
        f"Together {pinned} of {all_runs:,}; with 95 % confidence at most {bound:.2f} %."
    )
    half = runs // 2 or 1
    of_days = (
        f"Days until half of {half:,} runs are pinned by evidence; scores of a standard deviation of 30, other users "
        "every day. Users a day are those who answer, in both cohorts together."
    )
    of_late = (
        "Days from the beginning of a drop of 10 points until half of the runs are pinned; limit 3, canary 25 %. It "
        "begins on the first day, or after two or four healthy weeks."
    )
    of_literal = (
        f"Healthy canaries pinned by the literal rule, {40 * runs:,} runs; limit 3 points for 48 h, standard deviation "
        "30, control 19 times as many."
    )
    pinned_when = ["both days, in 7 days", "mean of 48 h, in 7 days", "both days, in 14 days"]
    parts = [
        *(of_pins, "", markdown(["value", "users", *sizes], rows), ""),
        *(
            of_days,
            "",
            markdown(["limit", "canary", "users a day", "3 points", "5 points", "10 points"], detection(half)),
        ),
        *("", of_late, "", markdown(["users a day", "day 1", "day 15", "day 29"], late(half))),
        *("", of_literal, "", markdown(["answers a day in the canary", *pinned_when], literal(40 * runs))),
    ]
    return "\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="the page whose tables are replaced")
    parser.add_argument("--quick", action="store_true", help="a tenth of the runs")
    chosen = parser.parse_args(arguments)
    tables = text(50 if chosen.quick else 500)
    print(tables)
    if chosen.write is not None:
        write_between_markers(chosen.write, "slow signals", tables)


if __name__ == "__main__":
    main()
