"""One square of a table of false trips or of detection: what is simulated, and when each rule first breaches."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench import scenarios
from bench.scenarios import Canary, Scenario, World
from killswitch.flags.flag import StageEntry
from killswitch.model import Bursts
from killswitch.verdicts import evidence
from killswitch.verdicts.evidence import DetectorSpec, TickCounts, head_starts
from killswitch.verdicts.evidence.evariables import Array

Blocks = Iterable[tuple[npt.NDArray[np.intp], TickCounts]]
# what arming at tick 0 pays into every sum
(ARMING,) = head_starts([StageEntry("ramp", 5.0, 0.0)])


@dataclass(frozen=True, slots=True)
class Cell:
    """One square of the table; everything in it is drawn from a seed made of its own names."""

    world: World
    scenario: Scenario
    canary: Canary
    runs: int
    ticks: int = scenarios.DAY_TICKS
    warm_up: int = scenarios.WARM_UP_TICKS
    bursts: Bursts = "auto"

    @property
    def seed(self) -> int:
        text = f"{self.world} {self.scenario.name} {self.canary.name} {self.canary.onset} {self.runs} {self.warm_up}"
        return zlib.crc32(text.encode())


def first_breaches(
    specs: Sequence[DetectorSpec], blocks: Blocks, pause: Callable[[Array], npt.NDArray[np.bool_]] | None = None
) -> Array:
    """The tick of each rule's first breach, (rules,); infinite where there is none. Ticks below 0 warm up."""
    state = evidence.start(specs)
    first = np.full(len(state.specs), math.inf)
    for ticks, counts in blocks:
        if ticks[0] < 0:
            state = evidence.warm_up(state, counts.control_events, counts.control_trials)
            continue
        starts = np.zeros((len(ticks), len(state.specs)))
        if ticks[0] == 0:
            starts[0] = ARMING.amount
        times = ticks.astype(np.float64) * scenarios.STEP
        paused = None if pause is None else pause(times)
        state, trace = evidence.advance(state, counts, times, step=scenarios.STEP, head_starts=starts, paused=paused)
        breached = np.where(trace.breach.any(axis=0), ticks[trace.breach.argmax(axis=0)], math.inf)
        first = np.minimum(first, breached)
    return first


def judge(cell: Cell) -> Array:
    """The tick of each rule's first breach, (runs, rules)."""
    blocks = scenarios.simulate(
        cell.world,
        cell.scenario,
        cell.canary,
        runs=cell.runs,
        ticks=cell.ticks,
        rng=np.random.default_rng(cell.seed),
        warm_up=cell.warm_up,
    )
    specs = scenarios.specs(cell.runs, bursts=cell.bursts)
    return first_breaches(specs, blocks).reshape(cell.runs, -1)
