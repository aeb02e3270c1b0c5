"""A tripped watch rolls its role back once, by whatever it was tripped and whatever dies, and no other trip does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from killswitch.controller.role_rollbacks import RoleRollbacks
from killswitch.flags.completion import complete
from killswitch.flags.document import to_document
from killswitch.flags.transitions import Actor
from killswitch.registry.arming import armable
from killswitch.roles.config import RoleConfig, RoleEndpoint
from killswitch.roles.pairs import role_pair
from killswitch.roles.role import Role
from killswitch.roles.transitions import RoleSlots
from killswitch.stores import keys
from killswitch.trips.switch import Switch
from tests.doubles.gate_records import NEW, OLD, gate_run
from tests.doubles.memory_store import Call, Crash, Fault, MemoryStore
from tests.unit.controller.watched_roles import watch_rules
from tests.unit.registry.registries import PAGE, ROLE, Registries
from tests.unit.trips.switches import automatic


class Watched:
    """A role that was promoted, its watch armed at 99 %, and as many replicas as a test wants."""

    def __init__(self, kind: str = "watch") -> None:
        self.all = Registries()
        self.rules = watch_rules()
        if kind == "watch":
            self.all.promoted(gate_run())
        else:
            self.all.ready(gate_run())
        self.arm(kind)

    def arm(self, rollout: str, *, replaces: bool = False) -> None:
        store = MemoryStore(self.all.server, "ann")
        rules = self.rules[rollout]
        slots = role_pair(rules.control, rules.canary)
        assert slots is not None
        found = armable(store, slots, rollout=rollout, users=True, config=None, now=self.all.now, by="ann")
        self.switch().arm(
            rollout, control=found.pair.control, canary=found.pair.canary, percent=99.0, stage="full", salt="",
            pair=found.pair, also=found.compares, replaces=replaces,
        )  # fmt: skip

    def switch(self, by: str = "ann") -> Switch:
        return Switch(MemoryStore(self.all.server, by), wall=lambda: self.all.now, by=by, origin="test")

    def trip(self, rollout: str = "watch") -> None:
        self.all.now += 10.0
        self.switch("r0").trip(automatic(at=self.all.now, generation=None, rollout=rollout, by="r0"))

    def replica(self, by: str = "r0", fault: Callable[[Call], Fault | None] = lambda _: None) -> RoleRollbacks:
        store = MemoryStore(self.all.server, by)
        store.fault = fault
        return RoleRollbacks(store, rollouts=lambda: self.rules, wall=lambda: self.all.now, by=by)

    def pages(self, kind: str) -> list[str]:
        return [page.why for page in self.all.pages() if page.kind == kind]

    @property
    def role(self) -> Role:
        return self.all.role()


def test_a_tripped_watch_rolls_the_role_back_and_pages() -> None:
    world = Watched()
    replica = world.replica()
    replica.look()
    assert world.role.prod == NEW
    world.trip()
    replica.look()
    assert (world.role.prod, world.role.previous) == (OLD, None)
    (why,) = world.pages("ROLE_ROLLED_BACK")
    assert "watch has tripped: refusals" in why
    assert "watch.1" in why


def test_several_replicas_make_one_rollback_and_one_page() -> None:
    world = Watched()
    replicas = [world.replica(f"r{number}") for number in range(4)]
    world.trip()
    for _ in range(3):
        for replica in replicas:
            replica.look()
    assert world.role.number == 4
    assert len(world.pages("ROLE_ROLLED_BACK")) == 1
    assert world.pages("CANNOT_ACT") == []
    world.all.check_history()


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("at", range(12))
def test_a_crash_or_a_lost_answer_at_any_call_only_delays_it(fault: Fault, at: int) -> None:
    """The replica that tripped dies, or its store fails, at its call number ``at``; another one follows."""
    world = Watched()
    world.trip()
    first = world.replica("r0", lambda call: fault if call.number == at else None)
    with contextlib.suppress(Crash):
        first.look()
    world.all.server.apply_late()
    world.replica("r1").look()
    assert world.role.prod == OLD
    assert world.role.number == 4
    assert len(world.pages("ROLE_ROLLED_BACK")) == 1


def test_a_partition_only_delays_it() -> None:
    world = Watched()
    world.trip()
    cut = True
    replica = world.replica("r0", lambda _: Fault.FAIL_BEFORE if cut else None)
    replica.look()
    assert world.role.prod == NEW
    cut = False
    replica.look()
    assert world.role.prod == OLD


def test_a_pinned_watch_counts_as_tripped() -> None:
    world = Watched()
    world.switch("r0").pin(replace(automatic(at=world.all.now, generation=None, rollout="watch"), pin=True))
    world.replica().look()
    assert world.role.prod == OLD


def test_another_candidate_does_not_keep_it_back() -> None:
    world = Watched()
    world.all.registry("bob").set_candidate(ROLE, "newer-model", reason="next")
    world.trip()
    world.replica().look()
    assert (world.role.prod, world.role.candidate) == (OLD, "newer-model")


@pytest.mark.parametrize("kind", ["watch", "upgrade"])
def test_an_import_of_a_candidate_does_not_keep_it_back(kind: str) -> None:
    """A file from git names the next candidate while the watch goes on: prod is still what the watch was armed for."""
    world = Watched(kind)
    if kind == "upgrade":
        world.all.registry().promote(ROLE, reason="by hand", config=None, settings=PAGE)
        done = complete(
            world.switch().required("upgrade").flag, rollout="upgrade", reason="", now=world.all.now, by="ann",
            actor=Actor.PERSON,
        )  # fmt: skip
        world.all.put(keys.flag("upgrade"), to_document(done))
    registry = world.all.registry("bob")
    shown = registry.import_draft(ROLE, RoleSlots(NEW, "newer-model", OLD), config=None)
    registry.import_role(shown, reason="next", config=None, settings=PAGE)
    world.trip(kind)
    world.replica().look()
    assert (world.role.prod, world.role.candidate) == (OLD, "newer-model")


def test_an_old_trip_takes_no_later_promotion_back() -> None:
    """The watch was not armed again after the second promotion, so its old trip says nothing about it."""
    world = Watched()
    world.trip()
    replica = world.replica()
    replica.look()
    registry = world.all.registry()
    world.all.now += 60.0
    registry.set_candidate(ROLE, NEW, reason="it is repaired")
    registry.waive(ROLE, owner="ann", reason="it is fixed", expires_at=world.all.now + 3600.0)
    registry.promote(ROLE, reason="again", config=None, settings=PAGE)
    for each in (replica, world.replica("fresh")):
        each.look()
    assert (world.role.prod, world.role.previous) == (NEW, OLD)


def test_a_rolled_back_role_is_not_rolled_back_again() -> None:
    world = Watched()
    world.trip()
    world.all.back(world.all.registry("bob"))
    world.replica().look()
    assert world.role.number == 4
    assert len(world.pages("ROLE_ROLLED_BACK")) == 1
    assert world.pages("CANNOT_ACT") == []


def test_an_upgrade_that_trips_before_it_is_complete_leaves_prod() -> None:
    world = Watched("upgrade")
    world.trip("upgrade")
    world.replica().look()
    assert (world.role.prod, world.role.candidate) == (OLD, NEW)


@pytest.mark.parametrize("completed", [True, False])
def test_a_complete_upgrade_that_trips_takes_its_promotion_back(*, completed: bool) -> None:
    """Its trip sends users of routers back, and the role follows. An upgrade that was not complete promoted nothing."""
    world = Watched("upgrade")
    world.all.registry().promote(ROLE, reason="by hand", config=None, settings=PAGE)
    if completed:
        flag = world.switch().required("upgrade").flag
        done = complete(flag, rollout="upgrade", reason="", now=world.all.now, by="ann", actor=Actor.PERSON)
        world.all.put(keys.flag("upgrade"), to_document(done))
    world.trip("upgrade")
    world.replica().look()
    assert world.role.prod == (OLD if completed else NEW)


def test_what_cannot_be_rolled_back_is_paged_once() -> None:
    world = Watched()
    world.trip()
    world.all.put(keys.role(ROLE), b"damaged")
    for replica in (world.replica("r0"), world.replica("r1")):
        replica.look()
        replica.look()
    (why,) = world.pages("CANNOT_ACT")
    assert "damaged" in why


def test_a_role_damaged_after_its_rollback_pages_no_trip() -> None:
    """Its history says that the trip has been followed already."""
    world = Watched()
    world.trip()
    world.replica().look()
    assert world.role.prod == OLD
    world.all.put(keys.role(ROLE), b"damaged")
    for replica in (world.replica("r0"), world.replica("r1")):
        replica.look()
    assert world.pages("CANNOT_ACT") == []


def test_nothing_is_read_without_a_watch() -> None:
    world = Watched()
    calls: list[Call] = []

    def count(call: Call) -> None:
        calls.append(call)

    world.rules = {}
    world.replica("r0", count).look()
    assert calls == []
    world.rules = watch_rules()
    world.replica("r0", count).look()
    assert len(calls) == 2  # one list of roles and one of flags


def test_a_shadow_of_the_previous_model_takes_nothing_back() -> None:
    world = Watched()
    world.arm("unseen")
    world.trip("unseen")
    world.replica().look()
    assert world.role.prod == NEW


def test_a_promotion_at_the_same_moment_is_not_taken_back() -> None:
    """A person promotes a third model while the trip of the second one is looked at."""
    world = Watched()
    world.trip()
    done: list[str] = []

    def meanwhile(call: Call) -> None:
        if call.name == "get" and call.subject == keys.gate_evidence("watch", 1) and not done:
            done.append("promoted")
            registry = world.all.registry("bob")
            registry.set_candidate(ROLE, "third-model", reason="it is better")
            registry.waive(ROLE, owner="bob", reason="a test", expires_at=world.all.now + 3600.0)
            registry.promote(ROLE, reason="now", config=None, settings=PAGE)

    world.replica("r0", meanwhile).look()
    assert done
    assert (world.role.prod, world.role.previous) == ("third-model", NEW)
    assert world.pages("ROLE_ROLLED_BACK") == []


def test_a_retired_previous_model_is_paged_and_not_pinned(tmp_path: Path) -> None:
    """Going back to a model that answers 404 helps no one: a person has to choose."""
    world = Watched()
    world.trip()
    dates = tmp_path / "retirements.yaml"
    dates.write_text(f"retirements:\n  - {{model: {OLD}, retires: 2020-01-01}}\n")
    config = RoleConfig(ROLE, RoleEndpoint("openai"), retirements=dates)
    replica = RoleRollbacks(
        MemoryStore(world.all.server, "r0"), rollouts=lambda: world.rules, roles=lambda: {ROLE: config},
        wall=lambda: world.all.now, by="r0",
    )  # fmt: skip
    replica.look()
    replica.look()
    assert world.role.prod == NEW
    (why,) = world.pages("CANNOT_ACT")
    assert OLD in why
