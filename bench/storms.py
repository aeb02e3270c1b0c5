"""Retry storms of single users: plain counters under each `bursts`, and users counted by `per`.

How many healthy days are tripped, and how long a bad canary takes in calm weather. ``--seed`` draws other days.
"""

from __future__ import annotations

import argparse
import math
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.progress import track
from scipy.signal import convolve

from bench import scenarios
from bench.cells import first_breaches
from bench.hard_cases import ALPHA
from bench.scenarios import DAY_TICKS, ERROR, STEP, WARM_UP_TICKS, World
from bench.tables import markdown, upper_bound, write_between_markers
from killswitch.model import Bursts
from killswitch.verdicts.evidence import DetectorSpec, TickCounts
from killswitch.verdicts.evidence.evariables import Array

_SLOT = 10  # ticks in the five minutes of the clock in which a user's events count once
_BLOCK = 240
WORLDS = (World(50.0, 5.0), World(50.0, 25.0), World(5.0, 5.0))


@dataclass(frozen=True, slots=True)
class Judged:
    """What is judged: requests under a `bursts`, or users who send ``requests`` each a tick."""

    words: str
    bursts: Bursts = "short"
    requests: float | None = None


JUDGED = (
    Judged("plain, `short`", "short"),
    Judged("plain, `auto`", "auto"),
    Judged("plain, `long`", "long"),
    Judged("`per`, a request a user each 5 minutes", requests=0.1),
    Judged("`per`, 2 requests a user a minute", requests=1.0),
)


@dataclass(frozen=True, slots=True)
class Day:
    """One day of errors. ``control`` and ``canary``: shares of ordinary requests, from tick ``onset`` on in the canary.

    Storms: ``share`` of all requests, ``every`` seconds for ``ticks``.
    """

    words: str
    control: float = 0.005
    canary: float = 0.005
    onset: int = 0
    share: float = 0.003
    every: float = 5.0
    ticks: int = 20
    lasts: int = DAY_TICKS


STORMY = (
    Day("every 5 s for ten minutes"),
    Day("every 5 s for three minutes", ticks=6),
    Day("every 15 s for half an hour", every=15.0, ticks=60),
)
CALM = tuple(
    Day(f"{words}{when}", control=0.01, canary=share, onset=onset, share=0.0, lasts=onset + lasts)
    for words, share, lasts in (("every request fails", 1.0, 120), ("errors of 10 %", 0.1, 480))
    for when, onset in (("", 0), (", an hour in", 120))
)


def counts(day: Day, world: World, judged: Judged, runs: int, rng: np.random.Generator) -> TickCounts:
    """Errors of both cohorts, (ticks, bounds of all runs); ticks before arming first."""
    ticks = WARM_UP_TICKS + day.lasts
    columns: list[Array] = []
    for requests, share in zip(world.requests, (day.canary, day.control), strict=True):
        shares = np.where(np.arange(ticks) < WARM_UP_TICKS + day.onset, day.control, share)
        begins = _begins(day, requests, ticks, runs, rng)
        under_way = convolve(begins, np.ones((day.ticks, 1)))[:ticks].round()
        if judged.requests is None:
            n = rng.poisson(requests, (ticks, runs)).astype(np.float64)
            x = rng.binomial(n.astype(np.int64), shares[:, None]).astype(np.float64)
            failing = under_way * STEP / day.every
        else:
            x, n = _users(requests, shares, judged.requests, runs, rng)
            # a storm's user counts when it begins, and when five minutes of the clock begin
            again = (np.arange(ticks) % _SLOT == 0)[:, None]
            failing = np.where(again, under_way, begins)
        columns += [x + failing, n + failing]
    bounds = len(scenarios.BOUNDS[ERROR])
    return TickCounts(*(part.repeat(bounds, axis=1) for part in columns))


def _begins(day: Day, requests: float, ticks: int, runs: int, rng: np.random.Generator) -> Array:
    return rng.poisson(requests * day.share / (STEP / day.every * day.ticks), (ticks, runs)).astype(np.float64)


def _users(requests: float, shares: Array, each: float, runs: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Users who failed, and who were active, of those who had not failed in the five minutes of the clock.

    A user sends a Poisson number of requests a tick, ``each`` on average, and there are users for all ``requests``.
    """
    everyone = max(1, round(requests / each))
    active, failed = np.zeros((len(shares), runs)), np.zeros((len(shares), runs))
    left = np.full(runs, everyone)
    for tick, share in enumerate(shares):
        if tick % _SLOT == 0:
            left = np.full(runs, everyone)
        here = rng.binomial(left, -math.expm1(-each))
        bad = rng.binomial(here, math.expm1(-each * share) / math.expm1(-each))
        left = left - bad
        active[tick], failed[tick] = here, bad
    return failed, active


def first_trips(day: Day, world: World, judged: Judged, runs: int, seed: int) -> Array:
    """The tick of each run's first breach, infinite without one."""
    rng = np.random.default_rng([seed, zlib.crc32(f"{day} {world} {judged}".encode())])
    drawn = counts(day, world, judged, runs, rng)
    specs = [DetectorSpec(run, scenarios.BOUNDS[ERROR], ALPHA, judged.bursts) for run in range(runs)]
    return first_breaches(specs, _blocks(drawn))


def _blocks(drawn: TickCounts) -> Iterator[tuple[np.ndarray[tuple[int], np.dtype[np.intp]], TickCounts]]:
    ticks = np.arange(-WARM_UP_TICKS, len(drawn.canary_events) - WARM_UP_TICKS, dtype=np.intp)
    edges = [0, *range(WARM_UP_TICKS, len(ticks), _BLOCK), len(ticks)]
    for first, last in pairwise(edges):
        part = slice(first, last)
        yield ticks[part], TickCounts(*(getattr(drawn, name)[part] for name in drawn.__dataclass_fields__))


def _square(day: Day, world: World, judged: Judged, runs: int, seed: int) -> str:
    first = first_trips(day, world, judged, runs, seed)
    if day in STORMY:
        return f"{np.isfinite(first).sum()}"
    late = np.where(first < day.onset, np.nan, (first - day.onset + 1) * STEP)
    seconds = [np.quantile(late[~np.isnan(late)], share, method="higher") for share in (0.5, 0.9)]
    return " / ".join("longer" if math.isinf(each) else f"{each:.0f}" for each in seconds)


def measure(runs: int, seed: int, workers: int) -> str:
    rows = [(day, world) for days in (STORMY, CALM) for day in days for world in WORLDS]
    with ProcessPoolExecutor(workers) as pool:
        drawn = [[pool.submit(_square, *row, judged, runs, seed) for judged in JUDGED] for row in rows]
        lines = [
            [day.words, f"{world.rate:g}/s, {world.percent:g} %", *(one.result() for one in squares)]
            for (day, world), squares in track(list(zip(rows, drawn, strict=True)))
        ]
    split = len(STORMY) * len(WORLDS)
    header = [each.words for each in JUDGED]
    found = (
        f"Healthy days of {runs} that the rule `error_rate: {{max: 2%}}` tripped, seed {seed}; 0 means at most "
        f"{100 * upper_bound(0, runs):.1f} % (95 %, one-sided)."
    )
    stormy = markdown(["one user's storm", "traffic, canary", *header], lines[:split])
    calm = markdown(["from 1 %", "traffic, canary", *header], lines[split:])
    return f"{found}\n\n{stormy}\n\nCalm weather: seconds until a bad canary was tripped, median / 90 %.\n\n{calm}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between the page's markers")
    arguments = parser.parse_args()
    text = measure(arguments.runs, arguments.seed, arguments.workers)
    print(text)
    if arguments.write:
        write_between_markers(arguments.write, "storms", text)


if __name__ == "__main__":
    main()
