"""Plans in virtual time when time itself is wrong: slow stores, clocks that jump, and traffic that stops."""

from __future__ import annotations

import pytest

from killswitch.model import Cohort, Counts, Decide, Want
from killswitch.pages.page import PageKind
from killswitch.plan import Advance, Plan, PlanStage
from killswitch.stores import keys
from tests.doubles.fleet import INTERVAL, START, Fleet
from tests.doubles.memory_store import Call
from tests.doubles.scripted_source import ERRORS, REFUSALS, Traffic, rollout
from tests.unit.controller.fleets import GOOD, writes
from tests.unit.controller.test_controller_ramping import PLAN, planned, progress, records, stages, until_stage

pytestmark = pytest.mark.simulation
HOUR = 3600.0
OLDEST = 2 * INTERVAL


def is_step(call: Call) -> bool:
    return any(write.key.startswith(keys.ADVANCES) for write in writes(call))


@pytest.mark.parametrize("call", ["list", "grant", "commit"])
@pytest.mark.parametrize("slow_for", [20.0, 60.0])
def test_a_slow_store_commits_no_step_on_old_verdicts(call: str, slow_for: float) -> None:
    """However slow a call of the step is, the store has the step within two intervals of its tick, or never."""
    fleet = planned(replicas=1)
    controller = fleet.replicas[0].controller
    judged: list[float] = []

    def fault(one: Call) -> None:
        listed = one.name == "list" and str(one.subject).startswith(keys.ADVANCES)
        granted = one.name == "grant" and one.subject != fleet.timing.session_ttl
        if {"list": listed, "grant": granted, "commit": one.name == "commit" and is_step(one)}[call]:
            judged.append(controller._clock.tick or 0.0)
            for _ in range(round(slow_for / 5)):
                fleet.clock.advance(5.0)
                controller.renew()  # the session lives: it is the verdicts that grow old

    fleet.replicas[0].fail_store(fault)
    fleet.run(14)
    made = [one for one in fleet.server.history if one.key.startswith(keys.ADVANCES)]
    assert len(judged) >= 1
    assert bool(made) == (slow_for == 20.0)
    assert all(one.at is not None and one.at - tick <= OLDEST for one, tick in zip(made, judged, strict=False))
    assert stages(fleet)[:2] == (["one", "two"] if made else ["one"])


def test_a_store_without_short_leases_moves_nothing() -> None:
    """A store whose shortest lease outlives the verdicts could not refuse a late step, so no step is sent."""
    fleet = planned(replicas=1)
    store = fleet.replicas[0].store
    grant = store.grant
    store.grant = lambda ttl: grant(max(ttl, OLDEST))  # type: ignore[method-assign]
    fleet.run(20)
    assert stages(fleet) == ["one"]
    assert records(fleet) == []


def without_canary(onset: float) -> Traffic:
    """The canary's requests stop at ``onset``; control's go on."""
    sound, idle = Traffic(since=START), Traffic(mean={**GOOD.mean, Cohort.CANARY: 0.0}, since=START)

    class Stopping(Traffic):
        def _one(self, want: Want, cohort: Cohort, end: int) -> Counts | tuple[float, ...]:
            return (idle if end * INTERVAL > onset else sound)._one(want, cohort, end)

    return Stopping(since=START)


@pytest.mark.parametrize("ticks_before_the_end", [1, 2, 4, 6])
def test_no_step_follows_the_end_of_traffic(ticks_before_the_end: int) -> None:
    """The window has requests enough for minutes more; the newest interval has none, so the gate waits."""
    sound = planned(replicas=1)
    until_stage(sound, "two")
    flag = sound.flag()
    assert flag is not None
    stepped = flag.stages[-1].at
    fleet = planned(replicas=1, script=without_canary(stepped - ticks_before_the_end * INTERVAL))
    fleet.run(40)
    assert stages(fleet) == ["one"]
    assert progress(fleet).watched > 0


def test_a_canary_with_few_requests_still_goes_on() -> None:
    """One request of the canary in three intervals: silence is usual, and no sign that traffic has stopped."""
    script = Traffic(mean={cohort: mean if mean > 100 else 25.0 for cohort, mean in GOOD.mean.items()}, since=START)
    stage = PlanStage("one", 1.6, 300.0)
    fleet = planned(Plan(Advance.AUTOMATIC, (stage, PlanStage("two", 2.0, 300.0))), script=script, min_requests=20)
    assert until_stage(fleet, "two") < 60


@pytest.mark.parametrize("whose", ["wall", "metrics", "both"])
@pytest.mark.parametrize("jump", [-6 * HOUR, -45.0, 45.0, 6 * HOUR])
def test_clocks_that_jump_make_no_step_early(whose: str, jump: float) -> None:
    """Forward, no `for` is shorter for it; back, the plan waits until the clock has caught up, or goes on."""
    fleet = planned()
    fleet.run(4)
    if whose != "metrics":
        fleet.clock.jump_wall(jump)
    for one in fleet.replicas:
        one.source.offset += jump if whose != "wall" else 0.0
    fleet.run(30)
    assert_whole_stages(fleet)


def test_one_replicas_wrong_clock_makes_no_step_early() -> None:
    fleet = planned()
    fleet.replicas[0].controller._ramping._wall = lambda: fleet.clock.wall() + 48 * HOUR
    fleet.run(60)
    assert_whole_stages(fleet)


def assert_whole_stages(fleet: Fleet) -> None:
    """Between two steps lie at least as many ticks of recorded progress as `for` has intervals."""
    needed = round(PLAN.stages[0].seconds / INTERVAL)
    recorded = 0
    for change in fleet.server.history:
        if change.key == keys.plan_progress("copilot"):
            recorded += 1
        elif change.key.startswith(keys.ADVANCES):
            assert recorded >= needed
            recorded = 0
    made = records(fleet)
    assert [one["number"] for one in made] == list(range(1, len(made) + 1))
    assert not fleet.flips()


def test_the_hour_of_the_step_is_asked_at_each_step() -> None:
    """No step begins in a closed minute, and the next open one takes it: 12:00 to 14:59 UTC is closed."""
    fleet = planned(Plan(Advance.AUTOMATIC, PLAN.stages, ("* 12-14 * * *",)))
    fleet.run(60)
    assert stages(fleet) == ["one"]
    assert not fleet.pages(PageKind.ADVANCED)


def test_a_plan_whose_windows_never_open_moves_nothing() -> None:
    """Every day but the 29th of February is closed: `check` lets it pass, and no step begins for years."""
    never = ("* * * 1,3-12 *", "* * 1-28 2 *", "* * 30,31 * *")
    fleet = planned(Plan(Advance.AUTOMATIC, PLAN.stages, never), replicas=1)
    fleet.run(20)
    assert stages(fleet) == ["one"]


def test_a_rollout_of_the_bare_comparison_goes_up_too() -> None:
    """Its requests are known by windows alone, so the end of traffic shows once a window is empty."""
    fleet = Fleet(GOOD, rollout(rules=(ERRORS, REFUSALS), plan=PLAN, decide=Decide.THRESHOLD))
    fleet.replica("r0")
    fleet.arm(percent=4.0, stage="one")
    assert until_stage(fleet, "two") < 60
