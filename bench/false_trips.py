"""How often a canary within its limits is tripped in a day: every scenario, with confidence bounds.

``--quick`` (100 runs a cell, fewer worlds) takes minutes on two cores, the full table about an hour.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from rich.progress import track

from bench import hard_cases, scenarios
from bench.cells import Cell, judge
from bench.scenarios import World
from bench.tables import markdown, upper_bound, write_between_markers

QUICK_RUNS, FULL_RUNS = 100, 1000
_USUAL = World(50.0, 5.0)
WORLDS = (
    *(World(rate, percent) for rate in (50.0, 5.0, 0.5) for percent in (1.0, 5.0, 25.0)),
    World(50.0, 50.0),
    World(50.0, 99.0),
)
_QUICK_WORLDS = (World(5.0, 5.0),)
_QUICK_SCENARIOS = {"clumps of 8", "clumps of 8 in the canary alone"}
_ALONE = "in the canary alone"
# what happens to both cohorts alike differs between worlds in how much traffic it meets: four tell it
_FEWER_WORLDS = (_USUAL, World(5.0, 5.0), World(50.0, 25.0), World(50.0, 99.0))
_IN_FEWER_WORLDS = {
    "drifting rates", "rates that wander by 15 %", "outages of 95 and 99 %", "a slow-down of 3x",
    "control at exactly 0", "1 in 20 scrapes missed",
}  # fmt: skip


def count_trips(index: int, *, runs: int, quick: bool) -> int:
    """Runs of one cell in which any of the four rules tripped; cells hold functions, so workers get a number."""
    cell = next(itertools.islice(cells(runs, quick=quick), index, None))
    return int(np.isfinite(judge(cell)).any(axis=1).sum())


def in_words(trips: int, runs: int) -> str:
    return f"{trips} (≤ {100 * upper_bound(trips, runs):.1f} %)"


def cells(runs: int, *, quick: bool) -> Iterator[Cell]:
    for scenario in scenarios.SCENARIOS:
        worlds = _FEWER_WORLDS if scenario.name in _IN_FEWER_WORLDS else WORLDS
        if quick:
            worlds = (_USUAL, *(_QUICK_WORLDS if scenario.name in _QUICK_SCENARIOS else ()))
        for world in worlds:
            for canary in (scenarios.HEALTHY, scenarios.AT_THE_LIMIT):
                yield Cell(world, scenario, canary, runs)


@dataclass(slots=True)
class Table:
    """Trips by scenario (rows) and world (columns), healthy and at the limit side by side."""

    runs: int
    trips: dict[tuple[str, World], dict[str, int]] = field(default_factory=dict)

    def add(self, cell: Cell, trips: int) -> None:
        self.trips.setdefault((cell.scenario.name, cell.world), {})[cell.canary.name] = trips

    def __str__(self) -> str:
        worlds = [world for world in WORLDS if any(key[1] == world for key in self.trips)]
        rows = [
            [scenario.name, *(self._square(scenario.name, world) for world in worlds)]
            for scenario in scenarios.SCENARIOS
        ]
        header = ["", *(f"{world.rate:g}/s, {world.percent:g} %" for world in worlds)]
        return markdown(header, rows)

    def _square(self, scenario: str, world: World) -> str:
        both = self.trips.get((scenario, world))
        if both is None:
            return ""
        return f"{both[scenarios.HEALTHY.name]}, {both[scenarios.AT_THE_LIMIT.name]}"

    def worst(self, percents: Iterable[float] | None, *, alone: bool = False) -> str:
        """The worst square of these percents, with its bound; ``alone``: with clumps in the canary only."""
        counts = (
            max(both.values())
            for (scenario, world), both in self.trips.items()
            if (percents is None or world.percent in percents) and scenario.endswith(_ALONE) is alone
        )
        return in_words(max(counts), self.runs)


def measure(runs: int, *, quick: bool, workers: int) -> str:
    todo = list(cells(runs, quick=quick))
    table = Table(runs)
    with ProcessPoolExecutor(workers) as pool:
        results = pool.map(partial(count_trips, runs=runs, quick=quick), range(len(todo)))
        for cell, trips in zip(todo, track(results, "false trips", total=len(todo)), strict=True):
            table.add(cell, trips)
        hard = list(pool.map(hard_cases.measure, hard_cases.names(), [table.runs] * len(hard_cases.names())))
    caption = (
        f"Runs of a day, of {table.runs}, in which any of the four rules tripped: healthy, at the limit. "
        f"Worst square at 1, 5 and 25 %: {table.worst((1.0, 5.0, 25.0))}, at 50 and 99 %: "
        f"{table.worst((50.0, 99.0))}, where clumps come in the canary alone {table.worst(None, alone=True)}; "
        "a square of 0 means at most "
        f"{100 * upper_bound(0, table.runs):.2f} % (95 %, one-sided)."
    )
    return "\n\n".join([caption, str(table), markdown(hard_cases.HEADER, hard)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_RUNS} runs a square and fewer worlds")
    parser.add_argument("--runs", type=int, help=f"runs a square; {FULL_RUNS}, or {QUICK_RUNS} with --quick")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between the page's markers")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    runs = arguments.runs or (QUICK_RUNS if arguments.quick else FULL_RUNS)
    text = measure(runs, quick=arguments.quick, workers=arguments.workers)
    print(text)
    if arguments.write:
        write_between_markers(arguments.write, "false trips", text)


if __name__ == "__main__":
    main()
