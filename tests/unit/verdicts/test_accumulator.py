"""The evidence on file: however it came to be there, in one block or many, read back or not, it is the same."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest

from killswitch.deadline import Deadline
from killswitch.model import Cohort, Counts, Decide, Reason, Unreadable
from killswitch.verdicts.catch_up import catch_up, first_step, last_step, steps
from tests.doubles.scripted_source import ALL_RULES, ERRORS, HEALTHY_RATES, LATENCY, STEP, THUMBS, Traffic, canary_from
from tests.unit.verdicts.read_replica import START, WOBBLY, Replica, armed_rollout, assert_same, flag_of, staged, ticks

pytestmark = pytest.mark.simulation


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


def test_what_was_taken_in_of_a_time_still_to_come_is_read_again() -> None:
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


def test_a_threshold_rollout_has_no_dossier() -> None:
    armed = armed_rollout(decide=Decide.THRESHOLD)
    replica = Replica(WOBBLY)
    replica.through(ticks(3), armed)
    assert replica.views(armed) == []
    assert replica.source.asked == []


@pytest.mark.parametrize(("rate", "last", "began"), [(0.05, 55, 45), (0.2, 60, 52)])
def test_sums_since_the_excursion_equal_what_was_counted(rate: float, last: int, began: int) -> None:
    """Also after an alarm on which no one acted: at 20 % one was raised, and everything began again."""
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
