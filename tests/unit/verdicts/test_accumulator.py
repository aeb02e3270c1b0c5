"""The evidence on file: however it came to be there, in one block or many, it is the same."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from killswitch.deadline import Deadline
from killswitch.flags.flag import Actor, Flag, arm, set_stage
from killswitch.model import Buckets, Cohort, Counts, Decide, Measurement, Reason, Rollout, Unreadable, Want
from killswitch.verdicts.accumulator import EvidenceAccumulator
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.catch_up import catch_up, first_step, last_step, steps
from killswitch.verdicts.evidence_view import EvidenceView
from tests.doubles.clock import VirtualClock
from tests.doubles.scripted_source import (
    ALL_RULES,
    ERRORS,
    HEALTHY_RATES,
    LATENCY,
    REFUSALS,
    STEP,
    THUMBS,
    ScriptedSource,
    Traffic,
    canary_from,
    rollout,
)

START = 1_776_600_000.0
WOBBLY = Traffic(rate=lambda _r, rule, cohort, tick: HEALTHY_RATES.get(rule, 1.0) * (1.4 if tick % 600 < 200 else 0.9))


def flag_of(name: str = "copilot", percent: float = 5.0, at: float = START) -> Flag:
    return arm(
        None, rollout=name, control="model-old", canary="model-new", percent=percent, stage="ramp", now=at, by="ann"
    )


def staged(flag: Flag, percent: float, at: float) -> Flag:
    return set_stage(
        flag, rollout=flag.rollout, percent=percent, stage="next", now=at, by="ann", actor=Actor.PERSON
    )  # fmt: skip


def armed_rollout(name: str = "copilot", flag: Flag | None = None, **changes: object) -> ArmedRollout:
    flag = flag or flag_of(name)
    rules: Rollout = rollout(name, **changes)  # type: ignore[arg-type]  # fields of Rollout
    return ArmedRollout(rules, flag, flag.armed_at)


class Replica:
    """A accumulator that reads as the controller does, in virtual time."""

    def __init__(self, script: Callable[[Want, Cohort, float], Measurement], now: float = START) -> None:
        self.clock = VirtualClock(wall=now + 6.0)
        self.source = ScriptedSource(self.clock, script)
        self.accumulator = EvidenceAccumulator(step=STEP)

    def at(self, tick: float, *all_armed: ArmedRollout) -> None:
        self.clock.advance(tick + 6.0 - self.clock.wall())
        self.accumulator.keep([armed.rollout.name for armed in all_armed])
        catch_up(self.source, self.accumulator, all_armed, tick, Deadline(10.0, self.clock.monotonic))

    def through(self, ticks: Sequence[float], *all_armed: ArmedRollout) -> None:
        for tick in ticks:
            self.at(tick, *all_armed)

    def views(self, *all_armed: ArmedRollout) -> list[EvidenceView]:
        found = [self.accumulator.view_for(armed, rule) for armed in all_armed for rule in armed.rollout.rules]
        return [view for view in found if view is not None]


def ticks(count: int, after: float = START) -> list[float]:
    return [after + STEP * n for n in range(1, count + 1)]


def assert_same(left: Sequence[EvidenceView], right: Sequence[EvidenceView]) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-6, abs=1e-12)
        assert one.needed == other.needed
        assert one.since == other.since
        assert (one.updated_at, one.until, one.warming_up) == (other.updated_at, other.until, other.warming_up)
        for name in ("events_canary", "trials_canary", "events_control", "trials_control"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-6, abs=1e-6)


def test_one_tick_at_a_time_equals_one_block() -> None:
    armed = armed_rollout()
    slow, quick = Replica(WOBBLY), Replica(WOBBLY)
    slow.through(ticks(200), armed)
    quick.at(START, armed)
    quick.at(START + 200 * STEP, armed)
    assert_same(slow.views(armed), quick.views(armed))


def test_a_breach_in_the_first_block_counts_from_its_first_tick() -> None:
    """No excursion was under way before it: looking for one ended in a ValueError, and no evidence at all."""

    def rate(_rollout: str, rule: str, cohort: Cohort, tick: float) -> float:
        failing = rule == ERRORS.name and cohort is Cohort.CANARY and START < tick <= START + 5 * STEP
        return 0.5 if failing else HEALTHY_RATES.get(rule, 1.0)

    armed = armed_rollout(rules=(ERRORS,))
    late, usual = (Replica(Traffic(rate=rate, since=START - 4000.0)) for _ in range(2))
    late.at(START, armed)
    late.at(START + 60 * STEP, armed)
    found = late.accumulator.passed_breach("copilot", ERRORS.name)
    assert found is not None
    usual.through([START, *(tick for tick in ticks(10) if tick <= found.until)], armed)
    (view,) = usual.views(armed)
    assert found._replace(warming_up=view.warming_up) == view


def test_reading_back_by_the_portion_gives_the_same_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    all_armed = [armed_rollout(f"r{number}") for number in range(7)]
    whole, portions, slow = (Replica(WOBBLY, START + back * STEP) for back in (39, 39, 33))
    whole.at(START + 40 * STEP, *all_armed)
    most = 2 * 4 * 120  # what two armed rollouts have of the hour before
    monkeypatch.setattr("killswitch.verdicts.catch_up.MOST_READINGS", most)
    portions.at(START + 40 * STEP, *all_armed)
    slow.source.seconds = 3.0  # a call: a cycle's deadline passes in the midst of it
    slow.at(START + 34 * STEP, *all_armed)
    assert 0 < len(slow.views(*all_armed)) < len(all_armed) * len(ALL_RULES)
    slow.through([START + number * STEP for number in range(35, 40)], *all_armed)
    slow.source.seconds = 0.0
    slow.at(START + 40 * STEP, *all_armed)
    assert max(wants * ticks for _, wants, ticks in whole.source.asked) > 2 * most
    # control's unlabelled past is asked beside
    assert max(wants * ticks for _, wants, ticks in portions.source.asked) <= 2 * most
    assert len(whole.views(*all_armed)) == len(all_armed) * len(ALL_RULES)
    assert_same(whole.views(*all_armed), portions.views(*all_armed))
    assert_same(whole.views(*all_armed), slow.views(*all_armed))


@pytest.mark.parametrize("gone", [(), (150, 151, 152), (120,)])
def test_a_restarted_replica_reaches_the_same_evidence(gone: Sequence[int]) -> None:
    """Bursts, an excursion, gaps in the data: all of it is read back."""
    script = Traffic(rate=canary_from(START + 100 * STEP, error_rate=0.045, refusal_rate=0.03), since=START)
    missing = {START + n * STEP for n in gone}
    lost = Unreadable(Reason.GAP, "a scrape is missing")
    armed = armed_rollout()
    old, new = Replica(script), Replica(script, START + 199 * STEP)
    for one in (old, new):
        one.source.spoil = lambda _want, tick: lost if tick in missing else None
    old.through(ticks(200), armed)
    new.at(START + 200 * STEP, armed)
    assert_same(old.views(armed), new.views(armed))
    assert any(view.value > 1e-3 for view in new.views(armed))


@pytest.mark.slow
def test_repeated_restarts_reach_the_same_evidence() -> None:
    """And so no head start is paid twice, in either direction."""
    armed = armed_rollout()
    steady = Replica(WOBBLY)
    steady.through(ticks(240), armed)
    restarted = Replica(WOBBLY)
    for tick in ticks(240):
        if (tick - START) % 600 == 0:
            restarted = Replica(WOBBLY, tick - STEP)
        restarted.at(tick, armed)
    assert_same(steady.views(armed), restarted.views(armed))


def test_after_a_day_old_starts_are_dropped_and_none_is_paid_again() -> None:
    """A replay of 24 h that does not reach back to arming begins at nothing: less evidence, never more."""
    flat = Traffic(rate=lambda _r, rule, _c, _t: HEALTHY_RATES.get(rule, 1.0))
    armed = armed_rollout(rules=(ERRORS,))
    late = START + 25 * 3600
    replica = Replica(flat, late)
    replica.at(late, armed)
    view = replica.views(armed)[0]
    assert view.updated_at == late
    assert view.value < 0.5  # w alone, half a start spread over the day


def test_permuting_rollouts_permutes_results() -> None:
    all_armed = [armed_rollout(name, rules=(ERRORS, LATENCY)) for name in ("a", "b", "c", "d")]
    order = [2, 0, 3, 1]
    straight, mixed = Replica(WOBBLY), Replica(WOBBLY)
    for tick in ticks(40):
        straight.at(tick, *all_armed)
        mixed.at(tick, *(all_armed[n] for n in order))
    assert_same(straight.views(*all_armed), mixed.views(*all_armed))


@pytest.mark.slow
def test_rollouts_that_come_and_go_do_not_disturb_the_others() -> None:
    stays, leaves = armed_rollout("stays"), armed_rollout("leaves")
    alone, busy = Replica(WOBBLY), Replica(WOBBLY)
    for number, tick in enumerate(ticks(60)):
        alone.at(tick, stays)
        late = armed_rollout("late", flag_of("late", at=tick - 90.0)) if number >= 30 else None
        here = [stays, *([leaves] if number < 20 or number >= 40 else []), *([late] if late else [])]
        busy.at(tick, *here)
    assert_same(alone.views(stays), busy.views(stays))


def test_a_source_that_fails_for_a_while_loses_nothing() -> None:
    armed = armed_rollout()
    whole, holed = Replica(WOBBLY), Replica(WOBBLY)
    for number, tick in enumerate(ticks(90)):
        whole.at(tick, armed)
        holed.source.down = 30 <= number < 60
        holed.at(tick, armed)
    assert_same(whole.views(armed), holed.views(armed))


def test_what_was_taken_in_of_a_time_still_to_come_is_read_anew() -> None:
    """The metric store's clock was an hour ahead: an hour of nothing on file, and no room for what comes."""
    armed = armed_rollout()
    calm, stepped = Replica(WOBBLY), Replica(WOBBLY)
    calm.through(ticks(60), armed)
    stepped.through(ticks(40), armed)
    catch_up(
        stepped.source, stepped.accumulator, [armed], START + 3600 + 40 * STEP, Deadline(10.0, stepped.clock.monotonic)
    )
    stepped.through(ticks(20, START + 40 * STEP), armed)
    assert stepped.views(armed) == calm.views(armed)


def test_a_failure_while_a_rollout_is_opened_is_asked_again() -> None:
    armed = armed_rollout()
    replica = Replica(WOBBLY)
    replica.source.fails = lambda call: call == "read_back"
    replica.at(START + STEP, armed)
    assert replica.accumulator.until("copilot") is None
    replica.source.fails = lambda _: False
    replica.at(START + 2 * STEP, armed)
    assert not any(view.warming_up for view in replica.views(armed))


def test_no_time_left_is_no_reason_to_open_without_history() -> None:
    armed = armed_rollout()
    replica = Replica(WOBBLY)
    replica.clock.advance(60.0)
    catch_up(replica.source, replica.accumulator, [armed], START + STEP, Deadline(0.0, replica.clock.monotonic))
    assert replica.accumulator.until("copilot") is None


def test_rules_edited_in_flight_start_without_old_evidence() -> None:
    bad = Traffic(rate=lambda _r, rule, cohort, _t: 0.05 if cohort is Cohort.CANARY else 0.01)
    loose = replace(ERRORS, limits=replace(ERRORS.limits, maximum=0.2))
    before, after = armed_rollout(rules=(loose,)), armed_rollout(rules=(ERRORS,))
    replica = Replica(bad)
    replica.through(ticks(60), before)
    replica.at(START + 61 * STEP, after)
    view = replica.views(after)[0]
    assert view.value < 1
    assert view.updated_at is None


def test_another_generations_evidence_is_nobodys() -> None:
    armed = armed_rollout(rules=(ERRORS,))
    replica = Replica(Traffic(rate=canary_from(START, error_rate=0.5)))
    replica.through(ticks(20), armed)
    assert replica.views(armed)[0].value > 1
    again = replace(armed, flag=replace(armed.flag, generation=2), armed_at=START + 20 * STEP)
    assert replica.accumulator.view_for(again, ERRORS) is None
    assert replica.accumulator.view_for(armed, replace(ERRORS, delay=1.0)) is None


def test_evidence_is_not_carried_into_an_unopened_generation() -> None:
    """Re-armed between two cycles, and the hour before cannot be read: ticks can, and must not land in the old file."""
    armed = armed_rollout(rules=(ERRORS,))
    replica = Replica(Traffic(rate=canary_from(START, error_rate=0.5)))
    replica.through(ticks(20), armed)
    at = START + 20 * STEP
    again = replace(armed, flag=replace(armed.flag, generation=2, armed_at=at), armed_at=at)
    replica.source.fails = lambda call: call == "read_back"
    replica.through(ticks(3, at), again)
    assert replica.accumulator.view_for(again, ERRORS) is None
    soon = replace(again, armed_at=at + 3 * STEP + 1.0)
    replica.source.fails = lambda _: False
    replica.at(at + 3 * STEP, soon)  # its first step is still to come
    assert replica.accumulator.view_for(soon, ERRORS) is None
    replica.source.fails = lambda call: call == "read_back"
    edited = armed_rollout(rules=(replace(ERRORS, limits=replace(ERRORS.limits, maximum=0.6)),))
    replica.through(ticks(3, at + 3 * STEP), edited)
    assert replica.accumulator.view_for(edited, edited.rollout.rules[0]) is None


def test_feedback_of_a_larger_canary_does_not_hurt_a_smaller_one() -> None:
    """For three delays after the percent was lowered only rules without delay move."""
    flag = flag_of(percent=50.0)
    lowered = staged(flag, 5.0, START + 600.0)
    replica = Replica(WOBBLY)
    replica.through(ticks(20), armed_rollout(flag=flag))
    replica.through(ticks(31, START + 600.0), armed_rollout(flag=lowered))
    by_rule = dict(zip((rule.name for rule in ALL_RULES), replica.views(armed_rollout(flag=lowered)), strict=True))
    assert by_rule[ERRORS.name].updated_at == START + 600.0 + 31 * STEP
    assert by_rule[THUMBS.name].updated_at == START + 600.0 + 31 * STEP
    assert THUMBS.delay * 3 == 900.0
    early = Replica(WOBBLY)
    early.through(ticks(20), armed_rollout(flag=flag))
    early.through(ticks(30, START + 600.0), armed_rollout(flag=lowered))
    assert early.accumulator.view("copilot", THUMBS.name).updated_at == START + 600.0  # type: ignore[union-attr]  # opened


# --- the traffic's split ------------------------------------------------------------------------


def split(percent: float) -> dict[Cohort, float]:
    return {Cohort.CANARY: 15.0 * percent, Cohort.CONTROL: 15.0 * (100 - percent)}


class Ramp:
    """Traffic that follows its flag: so many percent from each moment on."""

    def __init__(self, *parts: tuple[float, float]) -> None:
        self.parts = [(at, Traffic(mean=split(percent))) for at, percent in parts]

    def __call__(self, want: Want, cohort: Cohort, tick: float) -> Measurement:
        current = [traffic for at, traffic in self.parts if tick - STEP >= at]
        return (current or [self.parts[0][1]])[-1](want, cohort, tick)


def test_traffic_that_ignores_the_flag_is_noticed() -> None:
    armed = armed_rollout(flag=flag_of(percent=25.0))
    replica = Replica(Traffic(mean=split(1.0)))
    replica.through(ticks(10), armed)
    assert replica.accumulator.split_is_wrong("copilot")


def test_traffic_that_follows_the_flag_is_trusted_in_every_stage() -> None:
    flag = flag_of(percent=1.0)
    replica = Replica(Ramp((START, 1.0), (START + 1800.0, 25.0)))
    replica.through(ticks(60), armed_rollout(flag=flag))
    assert not replica.accumulator.split_is_wrong("copilot")
    replica.through(ticks(60, START + 1800.0), armed_rollout(flag=staged(flag, 25.0, START + 1800.0)))
    assert not replica.accumulator.split_is_wrong("copilot")


def test_a_restart_tolerates_the_traffic_of_earlier_stages() -> None:
    flag = staged(flag_of(percent=1.0), 25.0, START + 1800.0)
    replica = Replica(Ramp((START, 1.0), (START + 1800.0, 25.0)), START + 120 * STEP)
    replica.at(START + 121 * STEP, armed_rollout(flag=flag))
    assert not replica.accumulator.split_is_wrong("copilot")


# --- measurements -------------------------------------------------------------------------------


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
        if want.part.endswith("twin"):
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
        if want.part.endswith("twin"):
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


def test_a_threshold_rollout_has_no_dossier() -> None:
    armed = armed_rollout(decide=Decide.THRESHOLD)
    replica = Replica(WOBBLY)
    replica.through(ticks(3), armed)
    assert replica.views(armed) == []
    assert replica.source.asked == []


@pytest.mark.parametrize(("rate", "last", "began"), [(0.05, 55, 45), (0.2, 60, 52)])
def test_sums_since_the_excursion_equal_what_was_counted(rate: float, last: int, began: int) -> None:
    """Also after an alarm that nobody acted on: at 20 % one was raised, and everything began anew."""
    script = Traffic(rate=canary_from(START + 50 * STEP, error_rate=rate))
    armed = armed_rollout(rules=(ERRORS,))
    replica = Replica(script)
    replica.through(ticks(last), armed)
    view = replica.views(armed)[0]
    assert view.since is not None
    assert view.since >= START + began * STEP
    want = replica.accumulator.wants(armed)[0]
    counted = [
        reading.canary
        for tick in steps(view.since, START + last * STEP, STEP)
        if isinstance((reading := replica.source._reading(want, tick)).canary, Counts)
    ]
    assert view.events_canary == pytest.approx(sum(c.events for c in counted if isinstance(c, Counts)))
    assert view.trials_canary == pytest.approx(sum(c.trials for c in counted if isinstance(c, Counts)))


@pytest.mark.slow
def test_what_is_kept_does_not_grow_with_time() -> None:
    armed = armed_rollout()
    replica = Replica(WOBBLY)

    def size() -> int:
        group = replica.accumulator._groups[0]
        pasts = [e.control_past._counts.nbytes for e in group.entries if e.control_past is not None]
        return sum(pasts) + group.tally.nbytes + group.evidence.log_sums.nbytes

    replica.through(ticks(130), armed)
    before = size()
    replica.through(ticks(200, START + 130 * STEP), armed)
    assert size() == before
    assert len(replica.accumulator._groups) == 1


def test_steps_are_the_grid_between_two_moments() -> None:
    assert steps(60.0, 150.0, 30.0) == [90.0, 120.0, 150.0]
    assert steps(60.0, 60.0, 30.0) == []
    assert (first_step(61.0, 30.0), first_step(60.0, 30.0)) == (90.0, 60.0)
    assert (last_step(89.9, 30.0), last_step(90.0, 30.0)) == (60.0, 90.0)


def test_twice_the_rollouts_are_twice_the_work_and_not_four_times() -> None:
    def calls(rollouts: int) -> int:
        all_armed = [armed_rollout(f"r{number}") for number in range(rollouts)]
        replica = Replica(WOBBLY)
        replica.accumulator.open(all_armed, START, {}, from_arming=True)
        replica.at(START + STEP, *all_armed)
        counted = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal counted
            counted += event == "call"

        before = sys.getprofile()
        sys.setprofile(count)
        try:
            replica.at(START + 2 * STEP, *all_armed)
        finally:
            sys.setprofile(before)
        return counted

    assert calls(80) < 3 * calls(40)
