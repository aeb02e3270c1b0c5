"""A ramp is read off the requests of a history: lasting changes of the share, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from killswitch.preflight.backtest.ramp_detection import Stage, ramp_of
from killswitch.verdicts.evidence.evariables import Array

STEP = 30.0
START = 1_776_600_000.0


def requests(*stages: tuple[int, float], rate: float = 50.0, seed: int = 1) -> tuple[Array, Array, Array]:
    """So many steps at each percent: ticks, the canary's requests, control's."""
    percents = np.concatenate([np.full(steps, percent) for steps, percent in stages])
    rng = np.random.default_rng(seed)
    ticks = START + STEP * np.arange(1, percents.size + 1, dtype=np.float64)
    canary = rng.poisson(rate * STEP * percents / 100).astype(np.float64)
    return ticks, canary, rng.poisson(rate * STEP * (1 - percents / 100)).astype(np.float64)


def ramp(*sides: Array) -> list[Stage]:
    return list(ramp_of(*sides, begins=START, step=STEP))


@pytest.mark.parametrize("seed", range(5))
def test_every_stage_is_found_where_it_began(seed: int) -> None:
    found = ramp(*requests((40, 1), (40, 5), (40, 25), (40, 50), (40, 5), seed=seed))
    assert [stage.percent for stage in found] == pytest.approx([1, 5, 25, 50, 5], rel=0.15)
    for number, stage in enumerate(found[1:], start=1):
        # never later than it was, for what comes after a change is judged otherwise
        assert -3 * STEP <= stage.at - (START + 40 * STEP * number) <= 0


@pytest.mark.parametrize("rate", [0.2, 5.0, 500.0])
def test_a_share_that_stays_is_one_stage(rate: float) -> None:
    for seed in range(20):
        (only,) = ramp(*requests((400, 10), rate=rate, seed=seed))
        assert only.at == START
        assert only.percent == pytest.approx(10, rel=0.35)


def test_a_canary_that_is_gone_or_not_seen_is_no_stage() -> None:
    ticks, canary, control = requests((100, 10))
    assert len(ramp(ticks, np.where(ticks > START + 1500, 0.0, canary), control)) == 1
    assert len(ramp(ticks, np.where((ticks > START + 900) & (ticks < START + 1800), np.nan, canary), control)) == 1


def test_a_counter_that_dips_once_is_no_stage() -> None:
    ticks, canary, control = requests((100, 10))
    canary[[40, 41, 70]] += 20_000.0
    (only,) = ramp(ticks, canary, control)
    assert only.percent == pytest.approx(10, rel=0.1)


def test_load_that_changes_for_both_is_no_stage() -> None:
    ticks, canary, control = requests((50, 10))
    busy = np.where(ticks > START + 750, 5.0, 1.0)
    assert len(ramp(ticks, canary * busy, control * busy)) == 1


def test_nothing_known_is_no_stage_at_all() -> None:
    nothing = np.full(5, np.nan)
    assert ramp(START + STEP * np.arange(5, dtype=np.float64), nothing, nothing) == []
    assert ramp(np.array([]), np.array([]), np.array([])) == []


def test_a_single_step_is_a_stage() -> None:
    assert ramp(np.array([START + STEP]), np.array([5.0]), np.array([15.0])) == [Stage(START, 25.0)]
