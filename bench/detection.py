"""How long a regression of known size takes to be tripped, against what any valid test could reach."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.progress import track

from bench import scenarios
from bench.cells import Cell, judge
from bench.scenarios import ERROR, LATENCY, REFUSAL, STEP, THUMBS, Canary, Scenario, World
from bench.tables import markdown, write_between_markers
from killswitch.verdicts.evidence import HalfPlane, information
from killswitch.verdicts.evidence.evariables import Array

QUICK_RUNS, FULL_RUNS = 100, 1000
_HOUR = 120
_WANDER = "rates that wander by 15 %"
_ROUGH = {
    "clumps of 2", "clumps of 8", "clumps of 8 in the canary alone", "jitter in both cohorts", "day and night", _WANDER
}  # fmt: skip
# the busier control is, the more a wander stands out from chance, and the less it may slow the canary's trip
_BUSY = World(200.0, 5.0)
# the bar of each column: times the information bound, plus a tick
AT_START, LATER, GRACE = 1.7, 2.8, 30.0


@dataclass(frozen=True, slots=True)
class Regression:
    """A canary that is bad by a known amount, the rule that should see it, and the bound it breaks most narrowly."""

    name: str
    rule: int
    canary: Canary
    plane: HalfPlane | None = None
    canary_share: float = 0.0
    control_share: float = 0.0

    def bound(self, world: World) -> float:
        """ln(1/alpha) / KL in seconds, NaN where no rate is known; never less than one tick."""
        if self.plane is None:
            return math.nan
        canary_trials, control_trials = world.requests
        nats = information(
            self.plane,
            canary_trials=canary_trials,
            control_trials=control_trials,
            canary_share=self.canary_share,
            control_share=self.control_share,
        )
        needed = math.log(len(scenarios.RULES) / scenarios.FALSE_TRIPS)
        return max(1.0, needed / nats) * STEP


def _at(share: float) -> Callable[[Array, Array], Array]:
    return lambda p, _: np.full(p.shape, share)


def _rate(name: str, rule: int, plane: HalfPlane, control: float, canary: float) -> Regression:
    return Regression(name, rule, Canary(name, {rule: _at(canary)}), plane, canary, control)


REGRESSIONS = (
    _rate("every request fails", ERROR, HalfPlane(0.0, 0.02), 0.01, 1.0),
    _rate("errors 1 % -> 10 % (limit 2 %)", ERROR, HalfPlane(0.0, 0.02), 0.01, 0.10),
    _rate("errors 1 % -> 5 %", ERROR, HalfPlane(0.0, 0.02), 0.01, 0.05),
    _rate("refusals 1.1 % -> 8.7 % (limit 6.1 %)", REFUSAL, HalfPlane(1.0, 0.05), 0.011, 0.087),
    _rate("refusals 1.1 % -> 20 %", REFUSAL, HalfPlane(1.0, 0.05), 0.011, 0.20),
    _rate("thumbs-down 0.5 % -> 5 % (limit 1 %)", THUMBS, HalfPlane(2.0, 0.0), 0.005, 0.05),
    Regression("p95 x 2 (limit x 1.5)", LATENCY, Canary("p95 x 2", {}, lambda slow: np.full(slow.shape, 2.0))),
)


@dataclass(frozen=True, slots=True)
class Delay:
    """Seconds from onset to trip, and runs that some rule had tripped before it."""

    median: float
    nine_in_ten: float
    early: int

    def __str__(self) -> str:
        def text(seconds: float) -> str:
            return f"{seconds:.0f}" if math.isfinite(seconds) else "longer"

        return f"{text(self.median)} / {text(self.nine_in_ten)}"


@dataclass(frozen=True, slots=True)
class Task:
    """One figure of the tables; ``onset`` in ticks, ``warm_up`` ticks of control before arming."""

    regression: Regression
    world: World
    scenario: Scenario
    onset: int
    runs: int
    warm_up: int = scenarios.WARM_UP_TICKS

    def delay(self) -> Delay:
        bound = self.regression.bound(self.world)
        patience = int(6 * bound / STEP) if bound > 1500 else 300
        canary = replace(self.regression.canary, onset=self.onset)
        first = judge(Cell(self.world, self.scenario, canary, self.runs, self.onset + patience, self.warm_up))
        seconds = np.sort((first[:, self.regression.rule] - self.onset + 1) * STEP)
        early = int((first.min(axis=1) < self.onset).sum())
        return Delay(float(seconds[(self.runs - 1) // 2]), float(seconds[math.ceil(0.9 * self.runs) - 1]), early)


def nth_delay(index: int, *, runs: int) -> Delay:
    """The delay of one task; tasks hold functions, so workers get a number."""
    return [*_calm(runs), *_rough(runs)][index].delay()


def _verdict(measured: Delay, bound: float, times: float) -> str:
    if math.isnan(bound):
        return ""
    return "yes" if measured.median <= times * bound + GRACE else "no"


def _calm(runs: int) -> Iterator[Task]:
    for rate in (50.0, 5.0):
        for regression in REGRESSIONS:
            for onset in (0, _HOUR):
                yield Task(regression, World(rate, 5.0), scenarios.SCENARIOS[0], onset, runs)
            # cold: control's series began with the canary
            yield Task(regression, World(rate, 5.0), scenarios.SCENARIOS[0], 0, runs, 0)


def _rough(runs: int) -> Iterator[Task]:
    """The same regressions in rougher weather, from the stage's start."""
    for scenario in scenarios.SCENARIOS:
        if scenario.name in _ROUGH:
            for regression in REGRESSIONS:
                yield Task(regression, _BUSY if scenario.name == _WANDER else World(), scenario, 0, runs)


def measure(*, quick: bool, workers: int) -> str:
    runs = QUICK_RUNS if quick else FULL_RUNS
    calm, rough = list(_calm(runs)), list(_rough(runs))
    everything = range(len(calm) + len(rough))
    with ProcessPoolExecutor(workers) as pool:
        results = pool.map(partial(nth_delay, runs=runs), everything)
        delays = list(track(results, "detection", total=len(everything)))
    caption = (
        f"{runs} runs each, 5 % canary, 30 s ticks; seconds, median / 90 %. Bars (median): {AT_START} times the "
        f"information bound + {GRACE:.0f} s from a stage's start, {LATER} times + {GRACE:.0f} s an hour later."
    )
    return "\n\n".join(
        [
            caption,
            _calm_table(calm, delays[: len(calm)]),
            "From a stage's start, in rougher weather (50 requests/s; 200 where rates wander):",
            _rough_table(rough, delays[len(calm) :]),
        ]
    )


def _calm_table(tasks: list[Task], delays: list[Delay]) -> str:
    rows = []
    for i in range(0, len(tasks), 3):
        regression, world = tasks[i].regression, tasks[i].world
        start, later, cold = delays[i : i + 3]
        bound = regression.bound(world)
        rows.append(
            [
                f"{world.rate:g}/s: {regression.name}",
                "" if math.isnan(bound) else f"{bound:.0f}",
                str(start),
                _verdict(start, bound, AT_START),
                str(later),
                _verdict(later, bound, LATER),
                str(later.early),
                str(cold),
            ]
        )
    header = ("", "bound", "at the start", "in the bar", "an hour in", "in the bar", "tripped before", "cold start")
    return markdown(header, rows)


def _rough_table(tasks: list[Task], delays: list[Delay]) -> str:
    names = list(dict.fromkeys(task.scenario.name for task in tasks))
    found = {(task.regression.name, task.scenario.name): str(each) for task, each in zip(tasks, delays, strict=True)}
    rows = [[regression.name, *(found[regression.name, name] for name in names)] for regression in REGRESSIONS]
    return markdown(("", *names), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_RUNS} runs each")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between the page's markers")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    text = measure(quick=arguments.quick, workers=arguments.workers)
    print(text)
    if arguments.write:
        write_between_markers(arguments.write, "detection", text)


if __name__ == "__main__":
    main()
