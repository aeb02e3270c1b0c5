"""After a change of percent, requests under way are of other users than they are counted with. Simulated, a request at
a time: no healthy canary is tripped, and one that fails everything is, within a few ticks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from killswitch.flags.flag import StageEntry
from killswitch.verdicts.evidence import (
    DetectorSpec,
    TickCounts,
    advance,
    head_starts_at,
    settled,
    start,
    unsettled_at,
    warm_up,
)
from killswitch.verdicts.evidence.detector import Evidence, Trace
from killswitch.verdicts.evidence.evariables import Array
from killswitch.verdicts.evidence.starts import Latencies
from killswitch.verdicts.evidence.tested_limits import WORSE_THAN_CONTROL, Bound, half_plane

pytestmark = pytest.mark.simulation

STEP, RUNS, RATE = 30.0, 24, 20.0
BUCKETS = np.array([0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, np.inf])
ERRORS = DetectorSpec("errors", (Bound("max", half_plane(0.0, 0.02)), Bound("worse", WORSE_THAN_CONTROL)), 0.0025)
Draw = Callable[[np.random.Generator, int], Array]

RAMP = (
    StageEntry("ramp_5", 5.0, 0.0),
    StageEntry("ramp_25", 25.0, 900.0),
    StageEntry("custom", 26.0, 1000.0),
    StageEntry("ramp_1", 1.0, 1815.0),
    StageEntry("custom", 50.0, 2700.0),
    StageEntry("ramp_5", 5.0, 3610.0),
)
UNTIL = 4500.0


def streams(rng: np.random.Generator, count: int) -> Array:
    return rng.lognormal(np.log(40.0), 0.7, count)


def answers(rng: np.random.Generator, count: int) -> Array:
    return rng.lognormal(0.0, 0.5, count)


def agents(rng: np.random.Generator, count: int) -> Array:
    return np.where(rng.random(count) < 0.002, 500.0, answers(rng, count))


def at_once(_: np.random.Generator, count: int) -> Array:
    return np.full(count, 0.05)


def timeouts(_: np.random.Generator, count: int) -> Array:
    return np.full(count, 60.0)


def percent_at(stages: Sequence[StageEntry], times: Array) -> Array:
    at = np.searchsorted([stage.at for stage in stages], times, side="right") - 1
    return np.where(at >= 0, np.array([stage.percent for stage in stages])[np.maximum(at, 0)], 0.0)


def simulated(
    stages: Sequence[StageEntry], ok: Draw, failed: Draw, canary_fails: Callable[[Array], Array], seed: int
) -> tuple[TickCounts, TickCounts, Latencies]:
    """Counts of the ramp (T, B) and of the hour before, and what control's histogram of that hour says."""
    rng = np.random.default_rng(seed)
    count = rng.poisson(RATE * (UNTIL + 3600.0))
    began = rng.uniform(-3600.0, UNTIL, count)
    canary = rng.random(count) * 100.0 < percent_at(stages, began)
    fails = rng.random(count) < np.where(canary, canary_fails(began), 0.01)
    took = np.where(fails, failed(rng, count), ok(rng, count))
    row = np.ceil((began + took + 3600.0) / STEP).astype(int) - 1
    rows = round((UNTIL + 3600.0) / STEP)
    kept = row < rows
    columns = [
        np.bincount(row[chosen & kept], minlength=rows).astype(float)
        for chosen in (canary & fails, canary, ~canary & fails, ~canary)
    ]
    past = round(3600.0 / STEP)
    whole = [np.repeat(column[:, None], 2, axis=1) for column in columns]
    before = took[(began + took <= 0.0) & ~canary]
    histogram = np.array([(before <= edge).sum() for edge in BUCKETS], dtype=np.float64)
    counts, earlier = (TickCounts(*(column[part] for column in whole)) for part in (slice(past, None), slice(past)))
    return counts, earlier, Latencies(BUCKETS, histogram)


def judged(counts: TickCounts, earlier: TickCounts, known: Latencies, stages: Sequence[StageEntry]) -> Trace:
    ticks = STEP * np.arange(1, len(counts.canary_trials) + 1, dtype=np.float64)
    state: Evidence = warm_up(start([ERRORS]), earlier.control_events, earlier.control_trials)
    unsettled = unsettled_at(stages, [known] * len(stages), ticks, STEP)
    return advance(
        state, counts, ticks, step=STEP, head_starts=head_starts_at(stages, ticks, 1, after=-1.0),
        hedged=unsettled.material[:, None], judged=settled(counts, unsettled),
    )[1]  # fmt: skip


@pytest.mark.parametrize(
    ("ok", "failed"),
    [(streams, at_once), (answers, timeouts), (agents, at_once), (agents, timeouts), (streams, streams)],
    ids=["slow answers, fast failures", "timeouts", "a long tail", "a long tail and timeouts", "all slow"],
)
def test_no_healthy_canary_is_tripped_while_requests_come_home(ok: Draw, failed: Draw) -> None:
    tripped = 0
    for seed in range(RUNS):
        counts, earlier, known = simulated(RAMP, ok, failed, lambda at: np.full(len(at), 0.01), seed)
        tripped += bool(judged(counts, earlier, known, RAMP).breach.any())
    assert tripped == 0


@pytest.mark.parametrize(("ok", "failed"), [(streams, at_once), (agents, at_once), (answers, at_once)])
@pytest.mark.parametrize("stage", range(len(RAMP)))
def test_a_fully_failing_canary_trips_in_the_middle_of_a_drain(ok: Draw, failed: Draw, stage: int) -> None:
    """Also 7 minutes before the slowest of control's requests are done, and raised again meanwhile."""
    began = RAMP[stage].at
    lowered = stage and RAMP[stage].percent < RAMP[stage - 1].percent
    # what the many of before still have under way may explain all that the few fail: nobody can know sooner
    within = (20 if ok is streams else 8) if lowered else 5
    late = 0
    for seed in range(RUNS // 6):
        counts, earlier, known = simulated(RAMP, ok, failed, lambda at: np.where(at >= began, 1.0, 0.01), seed)
        trace = judged(counts, earlier, known, RAMP)
        row = int(np.ceil(began / STEP))
        late += not trace.breach[row : row + within].any()
        assert not trace.breach[: max(row - 1, 0)].any()
    assert late == 0


def test_what_is_under_way_is_an_integral_of_the_latencies() -> None:
    known = Latencies(np.array([10.0, np.inf]), np.array([1.0, 1.0]))  # evenly up to 10 s, taken 1.5 times as long
    assert known.under_way(np.array([0.0, 15.0, 1000.0])).tolist() == pytest.approx([0.0, 7.5, 7.5])
    half = Latencies(np.array([10.0, np.inf]), np.array([1.0, 2.0]))  # nobody knows of the others
    assert half.under_way(np.array([15.0, 600.0])).tolist() == pytest.approx([11.25, 11.25 + 0.5 * 585.0])


def test_each_change_has_its_own_time_and_none_begins_again() -> None:
    tail = Latencies(BUCKETS, np.array([0.0, 0.5, 0.9, 0.998, 0.998, 0.998, 0.998, 0.998, 0.998, 1.0, 1.0]))
    often = [StageEntry("custom", 5.0 + number, 450.0 * number) for number in range(12)]
    ticks = STEP * np.arange(1, 181, dtype=np.float64)
    # two in a thousand answers take minutes: no reason to doubt what the other 998 say
    assert not unsettled_at(often, [tail] * 12, ticks, STEP).material.any()
    slow = Latencies(BUCKETS, np.array([0.0, 0, 0, 0, 0, 0.1, 0.9, 1, 1, 1, 1]))
    material = unsettled_at(often, [slow] * 12, ticks, STEP).material
    assert material[:2].all()
    assert not material[20:].any()  # a raise by a tenth puts no more than that in doubt
