"""Head starts and pauses follow from the flag's own history."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killswitch.flags.flag import AA, StageEntry
from killswitch.timestamps import DAY
from killswitch.verdicts.evidence.evariables import Array, TickCounts
from killswitch.verdicts.evidence.starts import (
    LONGEST_DRAIN,
    UNKNOWN_LATENCIES,
    Latencies,
    Unsettled,
    head_starts,
    head_starts_at,
    paused_at,
    renewed_at,
    renews,
    settled,
    unsettled_at,
)

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


def test_a_delayed_signal_pauses_after_the_percent_is_lowered() -> None:
    stages = (StageEntry("custom", 50.0, 0.0), StageEntry("ramp_5", 5.0, 1000.0))
    paused = paused_at(stages, [0.0, 300.0], np.array([1000.0, 1001.0, 1900.0, 1901.0]))
    assert paused[:, 0].tolist() == [False] * 4
    assert paused[:, 1].tolist() == [False, True, True, False]


@pytest.mark.parametrize("stages", [RAMP, RAMP[:1]])
def test_a_ramp_that_only_rises_pauses_nothing(stages: tuple[StageEntry, ...]) -> None:
    assert not paused_at(stages, [300.0], np.arange(0.0, 9000.0, 30.0)).any()


def test_leaving_aa_or_shadow_and_coming_down_from_full_restart() -> None:
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
    assert not renewed_at(stages, ticks, 50.0, after=700.0)[0].any()  # a restart does not begin again once more


def raised(*at: float) -> tuple[StageEntry, ...]:
    return tuple(StageEntry("custom", 1.0 + number, each) for number, each in enumerate(at))


@pytest.mark.parametrize(
    ("stages", "amounts"),
    [
        (raised(0.0, DAY), [0.25, 0.125]),  # the purse of a day is what was left
        (raised(0.0, 1.5 * DAY), [0.25, 0.25]),  # it holds 0.5 again, and never more
        (raised(0.0, 1.2 * DAY), [0.25, 0.5 * (0.5 * 1.2 - 0.25)]),
        (raised(5 * DAY, 5 * DAY + 60), [0.25, 0.125]),  # counted from arming
        ((StageEntry(AA, 5.0, 0.0), StageEntry(AA, 5.0, 60.0)), [0.25]),
        ((StageEntry(AA, 5.0, 0.0), StageEntry("ramp_1", 1.0, 60.0)), [0.25, 0.125]),
        ((StageEntry("x", 5.0, 0.0), StageEntry("y", 5.0, 60.0)), [0.25]),
        ((StageEntry("x", 5.0, 0.0), StageEntry("y", 0.0, 60.0), StageEntry("x", 5.0, 90.0)), [0.25, 0.125]),
    ],
)
def test_head_starts_are_exactly_these(stages: tuple[StageEntry, ...], amounts: list[float]) -> None:
    assert [start.amount for start in head_starts(stages)] == pytest.approx(amounts, rel=1e-12)


def test_head_starts_of_one_step_add_up_and_those_to_come_wait() -> None:
    stages = raised(0.0, 40.0, 50.0, 100.0)
    ticks = np.array([30.0, 60.0, 90.0])
    assert head_starts_at(stages, ticks, 1, after=0.0)[:, 0].tolist() == [0.25, 0.125 + 0.0625, 0.0]
    assert head_starts_at(stages, ticks, 1, after=40.0)[:, 0].tolist() == [0.0, 0.125 + 0.0625, 0.0]
    assert head_starts_at(stages, ticks, 1, after=41.0)[:, 0].tolist() == [0.0, 0.0625, 0.0]


@pytest.mark.parametrize(
    ("before", "after", "again"),
    [
        (("aa", 5.0), ("aa", 5.0), False),
        (("shadow", 0.0), ("shadow", 0.0), False),
        (("aa", 5.0), ("shadow", 0.0), True),
        (("shadow", 0.0), ("ramp_5", 5.0), True),
        (("ramp_5", 5.0), ("aa", 5.0), True),
        (("ramp_5", 5.0), ("ramp_25", 25.0), False),
        (("full", 99.0), ("ramp_25", 25.0), False),
        (("custom", 100.0), ("custom", 99.5), False),
        (("custom", 99.5), ("full", 99.0), True),
        (("custom", 100.0), ("custom", 100.0), False),
    ],
)
def test_what_begins_again(before: tuple[str, float], after: tuple[str, float], again: bool) -> None:
    assert renews(StageEntry(*before, 0.0), StageEntry(*after, 60.0)) is again


def test_a_renewal_falls_on_the_first_tick_after_it() -> None:
    stages = (StageEntry(AA, 5.0, 0.0), StageEntry("ramp_5", 5.0, 100.0))
    ticks = np.array([50.0, 100.0, 150.0])
    first, mixed = renewed_at(stages, ticks, 50.0, after=100.0)
    assert first.tolist() == [False, False, True]
    assert mixed.tolist() == [False, False, False]
    late, over = renewed_at(stages, ticks, 60.0, after=101.0)
    assert late.tolist() == [False, False, False]
    assert over.tolist() == [False, False, True]
    assert renewed_at(stages, ticks[:2], 50.0, after=0.0)[0].tolist() == [False, False]


# --- what is under way --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edges", "counts", "seconds", "area"),
    [
        ([10.0, np.inf], [0.0, 0.0], [7.5, 15.0, 600.0], [7.5, 15.0, 600.0]),  # nothing is known
        ([np.inf], [3.0], [0.0, 100.0, 600.0, 1e9], [0.0, 100.0, 600.0, 600.0]),
        ([10.0, np.inf], [1.0, 1.0], [-5.0, 3.75, 7.5], [0.0, 3.75 * 0.875, 7.5 * 0.75]),
        ([400.0, np.inf], [0.0, 2.0], [600.0, 1200.0, 1300.0], [600.0, 1200.0, 1200.0]),
        ([10.0, 20.0, np.inf], [5.0, 3.0, 10.0], [15.0, 30.0], [11.25, 11.25 + 7.5]),  # no fewer than before
        ([10.0, np.inf], [12.0, 10.0], [15.0, 600.0], [7.5, 7.5]),  # no more than all
    ],
)
def test_the_area_of_what_is_under_way(
    edges: list[float], counts: list[float], seconds: list[float], area: list[float]
) -> None:
    known = Latencies(np.array(edges), np.array(counts))
    assert known.under_way(np.array(seconds)).tolist() == pytest.approx(area, rel=1e-12)


class CountedLatencies(Latencies):
    """Counts how often it is asked."""

    asked = 0

    def under_way(self, seconds: Array) -> Array:
        self.asked += 1
        return super().under_way(seconds)


@pytest.mark.parametrize(
    ("edges", "counts", "ended"),
    [
        ([10.0, np.inf], [10.0, 10.0], 15.0),
        ([10.0, 400.0, np.inf], [10.0, 10.0, 10.0], 15.0),
        ([10.0, np.inf], [5.0, 10.0], LONGEST_DRAIN),
        ([np.inf], [0.0], LONGEST_DRAIN),
    ],
)
def test_changes_whose_requests_have_ended_cost_nothing(edges: list[float], counts: list[float], ended: float) -> None:
    """From the first tick whose step begins after the slowest request; then the shares are exactly zero."""
    known = CountedLatencies(np.array(edges), np.array(counts))
    stages = [StageEntry("ramp", 10.0, 0.0)]
    assert known.all_ended_after == ended
    on_the_way = unsettled_at(stages, [known], np.array([ended + 29.0, ended + 30.0]), 30.0)
    assert known.asked == 1
    assert on_the_way.canary_missing[0] > 0.0
    after = unsettled_at(stages, [known], np.array([ended + 30.0]), 30.0)
    assert known.asked == 1
    for of_both, of_one in zip(parts_of(on_the_way), parts_of(after), strict=True):
        assert of_both[1:] == of_one == [0.0]


TICKS = np.array([0.0, 30.0, 60.0])


def shares(*stages: StageEntry, latencies: Latencies = UNKNOWN_LATENCIES) -> list[list[float]]:
    return parts_of(unsettled_at(stages, [latencies] * len(stages), TICKS, 30.0))


def parts_of(found: Unsettled) -> list[list[float]]:
    return [
        part.tolist()
        for part in (found.canary_missing, found.canary_leftover, found.control_missing, found.control_leftover)
    ]


def test_arming_leaves_requests_of_the_canarys_users_with_control() -> None:
    """Five seconds' worth, of requests that take up to ten: of 30 s in the canary, of 30 s at 90 % in control."""
    missing, leftover = 50.0 / (300.0 - 50.0), 50.0 / (2700.0 + 50.0)
    assert shares(StageEntry("ramp", 10.0, 0.0)) == [
        pytest.approx([0.0, missing, 0.0]), [0.0] * 3, [0.0] * 3, pytest.approx([0.0, leftover, 0.0]),
    ]  # fmt: skip


def test_lowering_leaves_requests_with_the_canary() -> None:
    before, after = StageEntry("ramp", 10.0, -600.0), StageEntry("ramp", 4.0, 30.0)
    assert shares(before, after) == [
        [0.0] * 3,
        pytest.approx([0.0, 0.0, 30.0 / (120.0 + 30.0)]),
        pytest.approx([0.0, 0.0, 30.0 / (2880.0 - 30.0)]),
        [0.0] * 3,
    ]


def test_another_model_has_none_of_the_requests_under_way() -> None:
    before, after = StageEntry(AA, 10.0, -600.0), StageEntry("ramp", 10.0, 30.0)
    assert shares(before, after) == [
        pytest.approx([0.0, 0.0, 50.0 / 300.0]), pytest.approx([0.0, 0.0, 50.0 / 300.0]), [0.0] * 3, [0.0] * 3,
    ]  # fmt: skip


def test_a_change_within_a_step_counts_for_its_part_of_it() -> None:
    before, after = StageEntry("ramp", 10.0, -600.0), StageEntry("ramp", 20.0, 20.0)
    served = 20 * 10.0 + 10 * 20.0
    late = 10.0 * 5.0
    assert shares(before, after)[0] == pytest.approx([0.0, late / (served - late), 0.0])


def test_if_nearly_all_are_under_way_a_twentieth_counts() -> None:
    slow = Latencies(np.array([np.inf]), np.array([1.0]))
    assert shares(StageEntry("ramp", 10.0, 0.0), latencies=slow)[0] == pytest.approx([0.0, 20.0, 20.0])


@pytest.mark.parametrize(
    ("missing", "leftover", "material"),
    [(0.2, 0.0, False), (0.2001, 0.0, True), (0.0, 0.0005, False), (0.0, 0.0006, True), (0.0, 0.0, False)],
)
def test_what_could_be_taken_for_a_rate_is_material(missing: float, leftover: float, material: bool) -> None:
    """Of the canary's leftovers each counts as up to 3.9 events."""
    nothing = np.zeros(1)
    canary = Unsettled(np.array([missing]), np.array([leftover]), nothing, nothing)
    assert canary.material.tolist() == [material]


@pytest.mark.parametrize(
    ("missing", "leftover", "material"),
    [(0.002, 0.0, False), (0.0021, 0.0, True), (0.0, 0.2, False), (0.0, 0.21, True)],
)
def test_what_could_hide_a_rate_is_material(missing: float, leftover: float, material: bool) -> None:
    nothing = np.zeros(1)
    assert Unsettled(nothing, nothing, np.array([missing]), np.array([leftover])).material.tolist() == [material]


def test_settled_counts_speak_for_the_canary_at_every_turn() -> None:
    counts = TickCounts(*(np.array([[each]]) for each in (20.0, 100.0, 5.0, 1000.0)))
    unsettled = Unsettled(*(np.array([each]) for each in (0.5, 0.01, 0.002, 0.1)))
    like_a_rate = 9.0 / np.log(10.0)
    found = settled(counts, unsettled)
    assert found.canary_events.item() == pytest.approx(20.0 - like_a_rate * 0.01 * 100.0)
    assert found.canary_trials.item() == pytest.approx(150.0)
    assert found.control_events.item() == pytest.approx(5.0 + 0.002 * 1000.0)
    assert found.control_trials.item() == pytest.approx(1000.0 * (1.0 + 0.002 - 0.1))
    few = settled(counts, Unsettled(*(np.array([each]) for each in (0.0, 1.0, 0.1, 1.0))))
    assert few.canary_events.item() == 0.0  # never below none
    assert few.control_trials.item() == few.control_events.item() == pytest.approx(105.0)


def test_changes_of_one_step_add_up() -> None:
    """Also behind one that changed nothing."""
    ramp = [StageEntry("ramp", 10.0, -600.0), StageEntry("same", 10.0, -300.0)]
    up = [*ramp, StageEntry("ramp", 20.0, 5.0), StageEntry("ramp", 30.0, 10.0)]
    served, late = 5 * 10.0 + 5 * 20.0 + 20 * 30.0, 50.0 + 50.0
    assert shares(*up)[0] == pytest.approx([0.0, late / (served - late), 0.0])
    assert shares(*up)[3] == pytest.approx([0.0, late / (3000.0 - served + late), 0.0])


def test_before_arming_everyone_is_in_control() -> None:
    found = shares(StageEntry("ramp", 10.0, 20.0))[3]
    assert found == pytest.approx([0.0, 50.0 / (20 * 100.0 + 10 * 90.0 + 50.0), 0.0])


def test_a_share_of_very_few_is_a_share() -> None:
    assert shares(StageEntry("ramp", 0.01, 0.0))[0] == pytest.approx([0.0, 0.2, 0.0])
    assert shares(StageEntry("shadow", 0.0, 0.0))[:2] == [[0.0] * 3, [0.0] * 3]


def test_each_lowering_pauses_but_not_the_same_percent_again() -> None:
    stages = [
        StageEntry("custom", percent, at) for percent, at in ((50.0, 0.0), (20.0, 100.0), (20.0, 300.0), (5.0, 500.0))
    ]
    paused = paused_at(stages, [20.0], np.array([130.0, 170.0, 330.0, 530.0, 570.0]))
    assert paused[:, 0].tolist() == [True, False, False, True, False]
