"""Head starts and pauses follow from the flag's own history."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killswitch.evidence.detector import DAY
from killswitch.evidence.starts import head_starts, head_starts_at, paused_at, renewed_at
from killswitch.flag import AA, StageEntry

RAMP = (StageEntry("ramp_1", 1.0, 0.0), StageEntry("ramp_5", 5.0, 3600.0), StageEntry("ramp_25", 25.0, 7200.0))


def test_arming_and_each_raise_take_half_of_the_purse() -> None:
    assert [start.amount for start in head_starts(RAMP)] == [0.25, 0.125, 0.0625]


def test_lowering_takes_nothing() -> None:
    lowered = (*RAMP, StageEntry("ramp_5", 5.0, 9000.0))
    assert head_starts(lowered) == head_starts(RAMP)


def test_the_end_of_an_aa_stage_is_a_raise() -> None:
    stages = (StageEntry(AA, 5.0, 0.0), StageEntry("ramp_5", 5.0, 3600.0))
    assert len(head_starts(stages)) == 2


def test_a_shadow_stage_without_users_takes_nothing() -> None:
    stages = (StageEntry("shadow", 0.0, 0.0), StageEntry("ramp_1", 1.0, 3600.0))
    assert [start.at for start in head_starts(stages)] == [3600.0]


@given(gaps=st.lists(st.floats(60, 3 * DAY), min_size=1, max_size=40))
@settings(deadline=None)
def test_no_ramp_pays_more_than_half_a_start_a_day(gaps: list[float]) -> None:
    times = np.cumsum([0.0, *gaps])
    stages = [StageEntry("custom", 0.1 * (i + 1), float(at)) for i, at in enumerate(times)]
    paid = 0.0
    for start in head_starts(stages):
        paid += start.amount
        assert start.amount <= 0.25
        assert paid <= 0.5 * max(1.0, start.at / DAY) + 1e-12


def test_a_head_start_falls_on_the_first_tick_after_it() -> None:
    ticks = np.array([30.0, 3600.0, 3630.0])
    amounts = head_starts_at(RAMP, ticks, 2, after=0.0)
    assert amounts.tolist() == [[0.25, 0.25], [0.0, 0.0], [0.125, 0.125]]


def test_a_replay_that_does_not_reach_back_does_not_pay_again() -> None:
    assert head_starts_at(RAMP, np.array([3630.0]), 1, after=3605.0).sum() == 0.0


@given(st.integers(1, 300))
@settings(deadline=None, max_examples=20)
def test_ticks_one_at_a_time_pay_each_head_start_once(length: int) -> None:
    ticks = 30.0 * np.arange(1, length + 1, dtype=np.float64)
    whole = head_starts_at(RAMP, ticks, 1, after=0.0)
    before = np.concatenate([[0.0], ticks[:-1]])
    single = [head_starts_at(RAMP, ticks[i : i + 1], 1, after=before[i])[0] for i in range(length)]
    assert np.array_equal(whole, np.array(single))


def test_a_delayed_signal_pauses_for_three_delays_after_the_percent_was_lowered() -> None:
    stages = (StageEntry("custom", 50.0, 0.0), StageEntry("ramp_5", 5.0, 1000.0))
    paused = paused_at(stages, [0.0, 300.0], np.array([1000.0, 1001.0, 1900.0, 1901.0]))
    assert paused[:, 0].tolist() == [False] * 4
    assert paused[:, 1].tolist() == [False, True, True, False]


@pytest.mark.parametrize("stages", [RAMP, RAMP[:1]])
def test_a_ramp_that_only_rises_pauses_nothing(stages: tuple[StageEntry, ...]) -> None:
    assert not paused_at(stages, [300.0], np.arange(0.0, 9000.0, 30.0)).any()


def test_leaving_aa_or_shadow_and_coming_down_from_full_begin_anew() -> None:
    stages = (
        StageEntry("shadow", 0.0, 0.0),
        StageEntry(AA, 5.0, 100.0),
        StageEntry("ramp_5", 5.0, 200.0),
        StageEntry("ramp_25", 25.0, 300.0),
        StageEntry("custom", 100.0, 400.0),
        StageEntry("ramp_25", 25.0, 500.0),
        StageEntry(AA, 5.0, 600.0),
    )
    ticks = np.arange(50.0, 801.0, 50.0)
    first, mixed = renewed_at(stages, ticks, 50.0, after=0.0)
    assert ticks[first].tolist() == [150.0, 250.0, 550.0, 650.0]
    assert not mixed.any()  # these changes fall on the grid
    off_grid = tuple(StageEntry(each.stage, each.percent, each.at + 10.0) for each in stages)
    assert ticks[renewed_at(off_grid, ticks, 50.0, after=0.0)[1]].tolist() == [150.0, 250.0, 550.0, 650.0]
    assert not renewed_at(stages, ticks, 50.0, after=700.0)[0].any()  # a restart does not begin anew once more
