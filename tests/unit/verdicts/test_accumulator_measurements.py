"""Buckets that change, counters that stay away, per-user signals: which measurements move evidence."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from killswitch.model import Buckets, Cohort, Counts, Measurement, Reason, Unreadable, Want
from tests.doubles.scripted_source import ERRORS, LATENCY, REFUSALS, STEP, Traffic
from tests.unit.verdicts.read_replica import START, WOBBLY, Replica, armed_rollout, assert_same, ticks

pytestmark = pytest.mark.simulation


def test_changed_buckets_restart_the_tail_history_without_error() -> None:
    """A deployment changes the bucket layout: the rule goes on with the edges there are now."""

    def relaid(want: Want, cohort: Cohort, tick: float) -> Measurement:
        found = WOBBLY(want, cohort, tick)
        if not isinstance(found, Buckets) or tick <= START + 40 * STEP:
            return found
        return Buckets(found.bounds[::2], found.counts[::2])  # every other edge, the infinite one among them

    armed = armed_rollout(rules=(LATENCY,))
    replica = Replica(relaid)
    replica.through(ticks(120), armed)
    view = replica.views(armed)[0]
    assert view.updated_at == START + 120 * STEP
    assert math.isfinite(view.value)
    block = Replica(relaid, START + 119 * STEP)
    block.at(START + 120 * STEP, armed)
    assert block.views(armed)[0].updated_at == START + 120 * STEP


def canary_pods_with_fewer_buckets(want: Want, cohort: Cohort, tick: float) -> Measurement:
    """In two of each five steps some canary instance has every other edge only, and the sum of all has no more."""
    found = WOBBLY(want, cohort, tick)
    if cohort is Cohort.CONTROL or not isinstance(found, Buckets) or tick / STEP % 5 >= 2:
        return found
    return Buckets(found.bounds[::-2][::-1], found.counts[::-2][::-1])


def test_a_block_with_changing_bucket_layouts_equals_its_ticks() -> None:
    armed = armed_rollout(rules=(LATENCY,))
    slow, quick = Replica(canary_pods_with_fewer_buckets), Replica(canary_pods_with_fewer_buckets)
    slow.through(ticks(200), armed)
    quick.at(START, armed)
    quick.at(START + 200 * STEP, armed)
    assert_same(slow.views(armed), quick.views(armed))


def test_fewer_buckets_for_a_while_keep_the_history_of_control() -> None:
    armed = armed_rollout(rules=(LATENCY,))
    replica = Replica(canary_pods_with_fewer_buckets)
    replica.through(ticks(150), armed)
    (view,) = replica.views(armed)
    assert not view.warming_up
    assert view.updated_at == START + 150 * STEP


def test_a_limit_above_the_last_bucket_is_said_to_be_saturated() -> None:
    slow = Traffic(rate=lambda _r, _rule, _c, _t: 5.0)
    armed = armed_rollout(rules=(LATENCY,))
    replica = Replica(slow)
    replica.through(ticks(10), armed)
    problem = replica.views(armed)[0].problem
    assert problem is not None
    assert problem.reason is Reason.SATURATED


@pytest.mark.parametrize(("kept", "reason"), [((math.inf,), Reason.GARBAGE), ((0.25, 0.5, math.inf), Reason.SATURATED)])
def test_a_canary_whose_buckets_are_not_controls_is_no_warm_up(kept: tuple[float, ...], reason: Reason) -> None:
    """WARMING_UP is patience, and nobody is paged for it: the latency was unjudged for ever, and nobody told."""

    def other(want: Want, cohort: Cohort, tick: float) -> Measurement:
        found = WOBBLY(want, cohort, tick)
        if cohort is Cohort.CONTROL or not isinstance(found, Buckets):
            return found
        known = dict(zip(found.bounds, found.counts, strict=True))
        assert set(kept) <= set(known)
        return Buckets(kept, tuple(known[edge] for edge in kept))

    armed = armed_rollout(rules=(LATENCY,))
    for number in (20, 150):
        replica = Replica(other)
        replica.through(ticks(number), armed)
        problem = replica.views(armed)[0].problem
        assert problem is not None
        assert problem.reason is reason
    block = Replica(other, START + 149 * STEP)
    block.at(START + 150 * STEP, armed)
    assert block.views(armed)[0].problem == problem


def test_zeros_of_a_counter_that_stays_away_count_with_doubt() -> None:
    armed = armed_rollout(rules=(REFUSALS,))

    def unlabelled(want: Want, cohort: Cohort, tick: float) -> Measurement:
        found = WOBBLY(want, cohort, tick)
        return (
            Counts(0.0, found.trials, absent=True) if cohort is Cohort.CANARY and isinstance(found, Counts) else found
        )

    replica = Replica(unlabelled)
    replica.through(ticks(10), armed)
    assert replica.views(armed)[0].problem is None
    replica.through(ticks(290, START + 10 * STEP), armed)
    (view,) = replica.views(armed)
    assert view.problem is not None
    assert view.problem.reason is Reason.NEVER_SEEN
    assert view.updated_at == START + 300 * STEP
    rightly = armed_rollout(rules=(replace(REFUSALS, absent_is_zero=True),))
    other = Replica(unlabelled)
    other.through(ticks(300), rightly)
    assert other.views(rightly)[0].problem is None


@pytest.mark.parametrize("odd", [Counts(math.nan, 10.0), Counts(-5.0, 10.0), Counts(1.0, math.inf)])
def test_impossible_counts_move_nothing_and_are_numeric(odd: Counts) -> None:
    armed = armed_rollout(rules=(ERRORS,))

    def sometimes(want: Want, cohort: Cohort, tick: float) -> Measurement:
        return odd if tick > START + 20 * STEP and cohort is Cohort.CANARY else WOBBLY(want, cohort, tick)

    replica = Replica(sometimes)
    replica.through(ticks(20), armed)
    before = replica.views(armed)[0]
    replica.through(ticks(5, START + 20 * STEP), armed)
    after = replica.views(armed)[0]
    assert after.value == before.value
    assert after.updated_at == before.updated_at
    assert after.problem is not None
    assert after.problem.reason is Reason.NUMERIC


def test_a_per_user_signal_is_adopted_once_both_have_it() -> None:
    """Falling back to plain counters in the middle would mix two populations."""
    twin = replace(REFUSALS, per_user=ERRORS.signal)

    def script(want: Want, cohort: Cohort, tick: float) -> Measurement:
        if want.part.endswith("per_user"):
            here = START + 10 * STEP < tick <= START + 20 * STEP
            return Counts(1.0, 40.0) if here else Unreadable(Reason.NO_DATA, "no series")
        return Counts(5.0, 200.0)

    armed = armed_rollout(rules=(twin,))
    replica, restarted = Replica(script), Replica(script, START + 39 * STEP)
    replica.through(ticks(10), armed)
    assert not replica.accumulator._groups[0].entries[0].per_user.adopted
    replica.through(ticks(30, START + 10 * STEP), armed)
    view = replica.views(armed)[0]
    assert replica.accumulator._groups[0].entries[0].per_user.adopted
    assert view.updated_at == START + 20 * STEP
    assert view.problem is not None
    restarted.at(START + 40 * STEP, armed)
    assert_same([view], restarted.views(armed))


@pytest.mark.parametrize("block", [1, 60])
def test_long_bursts_slow_plain_counters_not_first_requests(block: int) -> None:
    """The twin comes with the canary in the middle of it all, whether it is read tick by tick or a block at a time."""

    def script(want: Want, cohort: Cohort, tick: float) -> Measurement:
        storm = tick % 1800 < 600
        if want.part.endswith("per_user"):
            return Counts(20.0 if storm else 5.0, 400.0) if tick > START + 120 * STEP else _NOTHING
        return Counts(120.0 if storm else 30.0, 2400.0)

    plain = armed_rollout("plain", rules=(ERRORS,))
    judged = armed_rollout("judged", rules=(replace(ERRORS, per_user=ERRORS.signal),))
    replica = Replica(script)
    for at in range(block, 241, block):
        replica.at(START + at * STEP, plain, judged)
    assert replica.accumulator.dispersion("plain", ERRORS.name) > 3 * replica.accumulator.dispersion(
        "judged", ERRORS.name
    )


_NOTHING = Unreadable(Reason.NO_DATA, "no series")
