"""Plans whose canary is the candidate of a role: no automatic step gives it users without evidence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.pages.page import PageKind
from killswitch.plan import Advance, Plan, PlanStage
from killswitch.registry import gate_runs
from killswitch.registry.arming import armable
from killswitch.registry.registry import Registry
from killswitch.roles.pairs import PairKind, RolePair
from killswitch.rules.loading import Rules
from killswitch.stores import Put, keys
from killswitch.trips.armed_pairs import put_pair, stored_pair
from tests.doubles.fleet import START, Fleet
from tests.doubles.gate_records import NEW, OLD, gate_run
from tests.doubles.memory_store import MemoryStore
from tests.doubles.scripted_source import ERRORS, REFUSALS, rollout
from tests.unit.controller.fleets import GOOD
from tests.unit.controller.test_controller_ramping import records, stages
from tests.unit.registry.registries import ROLE

pytestmark = pytest.mark.simulation
UP = RolePair(ROLE, PairKind.UPGRADE)
PLAN = Plan(Advance.AUTOMATIC, (PlanStage("one", 4.0, 300.0), PlanStage("two", 6.0, 300.0)))


@pytest.fixture
def fleet() -> Fleet:
    """Armed at 4 % on a waiver that ends before the stage is over."""
    rules = rollout(rules=(ERRORS, REFUSALS), plan=PLAN)
    fleet = Fleet(GOOD, replace(rules, control=str(UP.control), canary=str(UP.canary)))
    for name in ("r0", "r1"):
        fleet.replica(name)
    registry = _registry(fleet)
    registry.create(ROLE, OLD, reason="it serves today")
    registry.set_candidate(ROLE, NEW, reason="it is newer")
    registry.waive(ROLE, owner="ann", reason="a test", expires_at=START + 200.0)
    store = MemoryStore(fleet.server, "ann")
    found = armable(store, UP, rollout="copilot", users=True, config=None, now=fleet.clock.wall(), by="ann")
    fleet.person.arm(
        "copilot", control=OLD, canary=NEW, percent=4.0, stage="one", salt="", pair=found.pair, also=found.compares
    )
    return fleet


def _registry(fleet: Fleet) -> Registry:
    return Registry(MemoryStore(fleet.server, "ann"), wall=fleet.clock.wall, by="ann")


def _pass(fleet: Fleet) -> None:
    now = fleet.clock.wall()
    gate_runs.keep(MemoryStore(fleet.server, "ann"), gate_run(gate_runs.run_id(now, "a1"), ended_at=now))


def test_a_step_waits_for_evidence_and_then_rests_on_it(fleet: Fleet) -> None:
    fleet.run(40)
    assert stages(fleet) == ["one"]
    _pass(fleet)
    fleet.run(20)
    assert stages(fleet) == ["one", "two"]
    (record,) = records(fleet)
    (check,) = [one for one in record["checks"] if one["check"] == "promotion gate"]
    assert check["outcome"] == "PASS"
    pair = stored_pair(MemoryStore(fleet.server, "test"), "copilot", 1)
    assert pair is not None
    assert (pair.waiver, str(pair.gate_run).endswith("-a1")) == (None, True)


def test_another_candidate_stops_the_plan(fleet: Fleet) -> None:
    _pass(fleet)
    _registry(fleet).set_candidate(ROLE, "newer-model", reason="newer still")
    fleet.run(40)
    assert stages(fleet) == ["one"]
    assert not fleet.pages(PageKind.ADVANCED, PageKind.INTERNAL_ERROR)


def test_a_damaged_role_stops_the_plan_and_no_trip(fleet: Fleet) -> None:
    _pass(fleet)
    MemoryStore(fleet.server, "x").commit((), (Put(keys.role(ROLE), b"damaged"),))
    fleet.run(40)
    assert stages(fleet) == ["one"]
    assert not fleet.flips()


@pytest.mark.parametrize("another", [True, False])
def test_a_reference_taken_out_of_the_file_is_no_way_around(fleet: Fleet, *, another: bool) -> None:
    """The generation was armed with slots: a step still asks whether the role pins these models."""
    _pass(fleet)
    store = MemoryStore(fleet.server, "ann")
    found = armable(store, UP, rollout="copilot", users=True, config=None, now=fleet.clock.wall(), by="ann")
    store.commit((), (put_pair(replace(found.pair, generation=1)),))
    if another:
        _registry(fleet).set_candidate(ROLE, "newer-model", reason="newer still")
    plain = replace(fleet.rollouts["copilot"], control=OLD, canary=NEW)
    for replica in fleet.replicas:
        replica.rules = Rules({"copilot": plain}, "digest-2")
    fleet.run(40)
    assert stages(fleet) == (["one"] if another else ["one", "two"])
    assert not fleet.pages(PageKind.INTERNAL_ERROR)
