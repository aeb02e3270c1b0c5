"""Plans in virtual time: several replicas, one record a tick, one step, and what arrives meanwhile wins."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from killswitch.cli.trip import request_by_hand
from killswitch.controller import ramping
from killswitch.flags.flag import Flag
from killswitch.model import Mode, PageSettings
from killswitch.pages.page import PageKind
from killswitch.plan import Advance, Plan, PlanStage
from killswitch.ramps.gate_inputs import Approval, Hold
from killswitch.ramps.progress import StageProgress, from_document
from killswitch.ramps.records import approvals_document, hold_document
from killswitch.stores import Delete, Put, keys
from killswitch.trips.switch import Switch
from tests.doubles.fleet import INTERVAL, START, Fleet
from tests.doubles.memory_store import Call, Fault, MemoryStore
from tests.doubles.scripted_source import ERRORS, HEALTHY_RATES, REFUSALS, Traffic, canary_from, rollout
from tests.unit.controller.fleets import GOOD, ONSET, blind, flips, writes

pytestmark = pytest.mark.simulation

# The scripted canary has 5 % of requests; shares near that are no wrong split.
FIRST, SECOND, THIRD = (PlanStage(name, share, 300.0) for name, share in (("one", 4.0), ("two", 6.0), ("three", 9.0)))
PLAN = Plan(Advance.AUTOMATIC, (FIRST, SECOND, THIRD))
PLANS_PAGES = (PageKind.READY, PageKind.ADVANCED, PageKind.PLAN_HELD, PageKind.COMPLETE)


def planned(plan: Plan = PLAN, *, replicas: int = 2, script: Traffic = GOOD, **changes: Any) -> Fleet:
    fleet = Fleet(script, rollout(rules=(ERRORS, REFUSALS), plan=plan, **changes))
    for number in range(replicas):
        fleet.replica(f"r{number}")
    fleet.arm(percent=plan.stages[0].percent, stage=plan.stages[0].stage)
    return fleet


def progress(fleet: Fleet, name: str = "copilot") -> StageProgress:
    value = fleet.server.value(keys.plan_progress(name))
    assert value is not None
    return from_document(value, rollout=name)


def stages(fleet: Fleet) -> list[str]:
    flag = fleet.flag()
    assert flag is not None
    return [entry.stage for entry in flag.stages]


def records(fleet: Fleet, generation: int = 1) -> list[Mapping[str, Any]]:
    prefix = keys.advances("copilot", generation)
    return [json.loads(one.value or b"") for one in fleet.server.history if one.key.startswith(prefix)]


def put(fleet: Fleet, key: str, value: bytes) -> None:
    MemoryStore(fleet.server, "person").commit((), (Put(key, value),))


def until_stage(fleet: Fleet, stage: str, most: int = 60) -> int:
    return fleet.run(most, until=lambda: stages(fleet)[-1] == stage)


def test_a_tick_is_recorded_once_whatever_replicas_there_are() -> None:
    fleet = planned(replicas=3)
    fleet.run(9)
    seen = progress(fleet)
    assert seen.watched <= seen.tick - seen.began_at
    assert seen.watched >= 6 * INTERVAL
    canary, control = seen.requests
    assert canary == pytest.approx(75 * seen.watched / INTERVAL, rel=0.2)
    assert control == pytest.approx(1425 * seen.watched / INTERVAL, rel=0.2)


def test_a_healthy_canary_goes_up_stage_by_stage() -> None:
    fleet = planned()
    fleet.run(60)
    flag = fleet.flag()
    assert flag is not None
    assert stages(fleet) == ["one", "two", "three"]
    spans = [after.at - before.at for before, after in zip(flag.stages, flag.stages[1:], strict=False)]
    assert all(span >= 300.0 for span in spans)
    made = records(fleet)
    assert [(one["from_stage"], one["to_stage"], one["number"]) for one in made] == [
        ("one", "two", 1),
        ("two", "three", 2),
    ]
    assert {check["outcome"] for one in made for check in one["checks"]} == {"PASS"}
    assert [page.kind for page in fleet.pages(*PLANS_PAGES)] == [
        PageKind.ADVANCED, PageKind.ADVANCED, PageKind.COMPLETE,
    ]  # fmt: skip
    assert not fleet.flips()


def test_proposed_pages_once_and_moves_nothing() -> None:
    fleet = planned(Plan(Advance.PROPOSED, PLAN.stages))
    fleet.run(40)
    assert stages(fleet) == ["one"]
    (page,) = fleet.pages(*PLANS_PAGES)
    assert (page.kind, page.mention, page.severity) == (PageKind.READY, None, "info")
    assert "killswitch advance copilot" in " ".join(page.next_steps)


def test_a_dry_run_trips_nothing_so_it_raises_nothing() -> None:
    fleet = planned(mode=Mode.DRY_RUN)
    fleet.run(40)
    assert stages(fleet) == ["one"]
    assert [page.kind for page in fleet.pages(*PLANS_PAGES)] == [PageKind.READY]


def test_a_canary_that_goes_bad_is_tripped_and_never_raised_again() -> None:
    script = Traffic(rate=canary_from(START + 240, error_rate=0.3), since=START)
    fleet = planned(script=script)
    fleet.run(60)
    assert fleet.tripped()
    assert stages(fleet) == ["one"]
    assert records(fleet) == []


def test_nothing_moves_while_no_replica_sees() -> None:
    fleet = planned()
    fleet.run(5)
    before = progress(fleet).watched
    blind(fleet)
    fleet.run(40)
    assert stages(fleet) == ["one"]
    assert progress(fleet).watched == before
    blind(fleet, down=False)
    assert until_stage(fleet, "two") < 60


def test_a_canary_without_traffic_never_goes_on() -> None:
    def idle(tick: float) -> Traffic:
        return Traffic(mean=dict.fromkeys(GOOD.mean, 0.0), since=tick)

    fleet = planned(script=idle(START))
    fleet.run(60)
    assert stages(fleet) == ["one"]
    assert progress(fleet).watched == 0.0


@pytest.mark.parametrize("what", ["hold", "spoiled hold", "approval"])
def test_a_person_can_stop_it(what: str) -> None:
    stage = PlanStage("one", 4.0, 300.0, {}, ("@leads",) if what == "approval" else ())
    fleet = planned(Plan(Advance.AUTOMATIC, (stage, SECOND)))
    if what != "approval":
        hold = hold_document(Hold("wait", "ann"), rollout="copilot", at=START) if what == "hold" else b"{}"
        put(fleet, keys.hold("copilot"), hold)
    fleet.run(40)
    assert stages(fleet) == ["one"]
    flag = fleet.flag()
    assert flag is not None
    if what == "approval":
        given = Approval("@leads", "ann", 1, "one", flag.stages[-1].at)
        put(fleet, keys.approvals("copilot", 1), approvals_document((given,), rollout="copilot"))
    else:
        MemoryStore(fleet.server, "person").commit((), (Delete(keys.hold("copilot")),))
    assert until_stage(fleet, "two") < 60


def before_the_step(fleet: Fleet, act: Callable[[], object]) -> None:
    """Do something at the moment at which a replica sends its step, before the store has it."""
    done: list[Call] = []

    def fault(call: Call) -> None:
        step = flips(call) and any(write.key.startswith(keys.ADVANCES) for write in writes(call))
        if step and not done:
            done.append(call)
            act()

    for one in fleet.replicas:
        one.fail_store(fault)


def by_hand(fleet: Fleet, what: str) -> None:
    person = Switch(MemoryStore(fleet.server, "person"), wall=fleet.clock.wall, by="ann", origin="test")
    if what == "stage":
        person.set_stage("copilot", percent=2.0, stage="lower")
    elif what == "trip":
        person.trip(request_by_hand("copilot", "by hand", PageSettings()))
    elif what == "hold":
        put(fleet, keys.hold("copilot"), hold_document(Hold("wait", "ann"), rollout="copilot", at=START))
    else:
        person.end("copilot")


@pytest.mark.parametrize("what", ["trip", "stage", "hold", "end"])
def test_what_arrives_at_the_moment_of_the_step_wins(what: str) -> None:
    fleet = planned()
    before_the_step(fleet, lambda: by_hand(fleet, what))
    fleet.run(20)
    assert records(fleet) == []
    flag = fleet.flag()
    assert (None if flag is None else flag.stage) == {"trip": "one", "stage": "lower", "hold": "one", "end": None}[what]
    assert flag is None or flag.armed is not (what == "trip")


def test_two_replicas_that_step_at_once_make_one_step() -> None:
    """The second sends its step while the first's is on its way."""
    fleet = planned()
    other = fleet.replicas[1]
    before_the_step(fleet, other.cycle)
    fleet.run(20)
    assert stages(fleet)[:2] == ["one", "two"]
    assert [one["number"] for one in records(fleet)][:1] == [1]
    assert len([page for page in fleet.pages(PageKind.ADVANCED) if "one to two" in page.headline]) == 1


@pytest.mark.parametrize("how", [Fault.LOSE_ANSWER, Fault.FAIL_BEFORE])
def test_a_step_whose_answer_is_lost_is_one_step(how: Fault) -> None:
    fleet = planned(replicas=1)
    lost: list[Call] = []

    def fault(call: Call) -> Fault | None:
        if flips(call) and not lost:
            lost.append(call)
            return how
        return None

    fleet.replicas[0].fail_store(fault)
    fleet.run(20)
    assert lost
    assert stages(fleet)[:2] == ["one", "two"]
    assert [one["number"] for one in records(fleet)][:1] == [1]
    assert len([page for page in fleet.pages(PageKind.ADVANCED) if "one to two" in page.headline]) == 1


def test_a_stage_of_no_plan_pages_once_and_holds() -> None:
    fleet = planned()
    fleet.run(3)
    fleet.person.set_stage("copilot", percent=5.0, stage="custom")
    fleet.run(30)
    assert stages(fleet)[-1] == "custom"
    (page,) = fleet.pages(*PLANS_PAGES)
    assert (page.kind, page.severity) == (PageKind.PLAN_HELD, "warning")


def test_a_spoiled_progress_document_begins_the_stage_again() -> None:
    fleet = planned()
    fleet.run(5)
    put(fleet, keys.plan_progress("copilot"), b"{}")
    fleet.run(2)
    assert 0 < progress(fleet).watched <= 2 * INTERVAL
    assert stages(fleet) == ["one"]


def test_a_rearm_begins_again_at_nothing() -> None:
    fleet = planned(script=Traffic(rate=canary_from(ONSET, error_rate=0.3), since=START))
    fleet.run(60, until=fleet.tripped)
    assert fleet.tripped()
    before = len(records(fleet))
    assert before >= 1
    fleet.run(20)
    fleet.rearm(percent=4.0)
    fleet.run(3)
    assert progress(fleet).generation == 2
    assert progress(fleet).watched <= 3 * INTERVAL


def test_rates_are_counted_as_they_are() -> None:
    fleet = planned()
    fleet.run(9)
    watch = progress(fleet).rules["error_rate"]
    assert watch.control.events / watch.control.trials == pytest.approx(HEALTHY_RATES["error_rate"], rel=0.3)
    assert watch.phi >= 1.0


# --- a store that is slow ------------------------------------------------------------------------


def many_plans(number: int = 30) -> Fleet:
    """Rollouts that all wait for an approval, so that each cycle asks the store about each of them."""
    stages = (replace(FIRST, approve=("@leads",)), SECOND)
    rules = (ERRORS, REFUSALS)
    names = [f"copilot-{place:02d}" for place in range(number)]
    fleet = Fleet(GOOD, *(rollout(name, rules=rules, plan=Plan(Advance.AUTOMATIC, stages)) for name in names))
    fleet.replica("r0")
    for name in names:
        fleet.arm(name, percent=4.0, stage="one")
    fleet.run(16)
    return fleet


@pytest.mark.parametrize(
    ("seconds", "fault"), [(5.0, Fault.FAIL_BEFORE), (1.0, None)], ids=["does not answer", "answers slowly"]
)
def test_a_slow_store_of_plans_delays_no_tick(seconds: float, fault: Fault | None) -> None:
    """A cycle that waits for thirty plans judges no one: 300 s of them is a canary that fails for ten ticks."""
    fleet = many_plans()
    asked = slow_reads(fleet, (keys.HOLDS, keys.APPROVALS), seconds, fault)
    assert longest_wait(fleet) <= 2 * INTERVAL
    if fault is None:  # all rollouts in one read of each kind
        assert len(asked) < 3 * 40


def test_thirty_slow_steps_delay_no_tick() -> None:
    """Each step asks the store; those that find no time in one cycle come first in the next."""
    fleet = many_plans()
    asked = slow_reads(fleet, (keys.ADVANCES,), 1.0, None)
    for name in fleet.rollouts:
        flag = fleet.flag(name)
        assert flag is not None
        given = Approval("@leads", "ann", 1, "one", flag.stages[-1].at)
        put(fleet, keys.approvals(name, 1), approvals_document([given], rollout=name))
    assert longest_wait(fleet) <= 2 * INTERVAL
    assert len(set(asked)) == 30
    assert all(len(one.stages) > 1 for name in fleet.rollouts if (one := fleet.flag(name)))


def slow_reads(fleet: Fleet, prefixes: tuple[str, ...], seconds: float, fault: Fault | None) -> list[str]:
    """Reads of these prefixes take this long from now on; what was asked."""
    asked: list[str] = []

    def slow(call: Call) -> Fault | None:
        if call.name not in ("get", "list") or not str(call.subject).startswith(prefixes):
            return None
        asked.append(str(call.subject))
        fleet.clock.advance(seconds)
        return fault

    fleet.replicas[0].fail_store(slow)
    return asked


def longest_wait(fleet: Fleet) -> float:
    ticks = [judged_tick(fleet)]
    for _ in range(40):
        fleet.run(1)
        if judged_tick(fleet) != ticks[-1]:
            ticks.append(judged_tick(fleet))
    return max(after - before for before, after in pairwise(ticks))


def judged_tick(fleet: Fleet) -> float:
    report = fleet.replicas[0].controller.latest
    assert report is not None
    return report.tick


def test_a_lost_record_of_many_plans_asks_the_store_once() -> None:
    """Of two replicas one loses each tick; if it tried each rollout alone, it would be late for the next tick."""
    fleet = many_plans()
    (replica,) = fleet.replicas
    lost: list[Call] = []

    def other_is_faster(call: Call) -> Fault | None:
        if call.name == "commit" and _records(call):
            lost.append(call)
            assert isinstance(call.subject, tuple)
            MemoryStore(fleet.server, "r1").commit((), call.subject)
        return None

    replica.fail_store(other_is_faster)
    fleet.run(4)
    assert 1 <= len(lost) <= 8


def test_of_a_lost_record_the_rest_is_recorded() -> None:
    fleet = many_plans(3)
    (replica,) = fleet.replicas

    def other_is_faster(call: Call) -> Fault | None:
        if call.name == "commit" and _records(call):
            assert isinstance(call.subject, tuple)
            first = call.subject[:1] if len(call.subject) == 3 else ()
            MemoryStore(fleet.server, "r1").commit((), first)
        return None

    replica.fail_store(other_is_faster)
    fleet.run(4)
    seen = [progress(fleet, f"copilot-{place:02d}") for place in range(3)]
    assert seen[0].tick == seen[1].tick == seen[2].tick


def _records(call: Call) -> bool:
    assert isinstance(call.subject, tuple)
    return any(isinstance(one, Put) and one.key.startswith(keys.PLAN_PROGRESS) for one in call.subject)


@pytest.mark.parametrize("where", ["observed", "judged", "next_step"])
def test_one_rollouts_bug_costs_no_other_its_plan(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first in the alphabet cannot be recorded, looked at, or stepped; the other goes up, and this one does not."""
    rules = (ERRORS, REFUSALS)
    fleet = Fleet(GOOD, *(rollout(name, rules=rules, plan=PLAN) for name in ("bad", "copilot")))
    fleet.replica("r0")
    for name in ("bad", "copilot"):
        fleet.arm(name, percent=FIRST.percent, stage=FIRST.stage)
    real = getattr(ramping, where)

    def raises(*given: Any, **named: Any) -> Any:
        told = [one for one in given if isinstance(one, Flag)]
        told_of_bad = any(flag.rollout == "bad" for flag in told) if told else len(turns) % 2 == 0
        turns.append(where)
        if told_of_bad:
            raise ZeroDivisionError
        return real(*given, **named)

    turns: list[str] = []
    monkeypatch.setattr(ramping, where, raises)
    assert until_stage(fleet, SECOND.stage) < 60
    bad = fleet.flag("bad")
    assert bad is not None
    assert bad.stage == FIRST.stage
