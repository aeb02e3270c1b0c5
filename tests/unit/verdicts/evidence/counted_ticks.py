"""Ticks of counts for the detector, rules that are judged by them, and evidence that is warm."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import numpy.typing as npt

from killswitch.verdicts.evidence import DetectorSpec, Evidence, TickCounts, Trace, advance, start, warm_up
from killswitch.verdicts.evidence.evariables import Array
from killswitch.verdicts.evidence.tested_limits import WORSE_THAN_CONTROL, Bound, half_plane

STEP = 30.0
NAMES = tuple(field.name for field in fields(TickCounts))

MAX = DetectorSpec("max", (Bound("max", half_plane(0.0, 0.02)), Bound("worse", WORSE_THAN_CONTROL)), 0.0025)
INCREASE = DetectorSpec("increase", (Bound("max_increase", half_plane(1.0, 0.05)),), 0.0025)
RATIO = DetectorSpec("ratio", (Bound("max_ratio", half_plane(2.0, 0.0)),), 0.0025)
ALL = (MAX, INCREASE, RATIO)
WIDTH = 4


def ticks(count: int, first: float = 0.0) -> Array:
    return first + STEP * np.arange(1, count + 1, dtype=np.float64)


def steady(
    count: int, *, canary: float, control: float, n_c: float = 75, n_b: float = 1425, width: int = WIDTH
) -> TickCounts:
    """Counts that are exactly their expectation."""
    one = np.ones((count, width))
    return TickCounts(one * n_c * canary, one * n_c, one * n_b * control, one * n_b)


def with_row(counts: TickCounts, row: int, **values: float) -> TickCounts:
    changed = {name: getattr(counts, name).copy() for name in NAMES}
    for name, value in values.items():
        changed[name][row] = value
    return TickCounts(**changed)


def warm(specs: tuple[DetectorSpec, ...] = ALL, control: float = 0.01) -> Evidence:
    rng = np.random.default_rng(3)
    trials = np.full((200, WIDTH), 1425.0)
    return warm_up(start(specs), rng.binomial(1425, control, trials.shape).astype(np.float64), trials)


def run(state: Evidence, counts: TickCounts, **more: npt.NDArray[np.generic]) -> tuple[Evidence, Trace]:
    return advance(state, counts, ticks(len(counts.canary_events)), step=STEP, **more)  # type: ignore[arg-type]


def same(a: Evidence, b: Evidence) -> bool:
    histories = [(getattr(a.past, f.name), getattr(b.past, f.name)) for f in fields(a.past)]
    pairs = [(getattr(x, f.name), getattr(y, f.name)) for x, y in histories for f in fields(x)]
    pairs += [(getattr(a, name), getattr(b, name)) for name in ("log_sums", "excursions", "since")]
    return all(np.array_equal(x, y, equal_nan=True) for x, y in pairs)
