"""A promoted model goes bad: real daemons over a real etcd and a real Prometheus roll the role back, once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from killswitch.flags.flag import Flag
from killswitch.model import PageSettings
from killswitch.registry.arming import armable
from killswitch.registry.registry import Registry
from killswitch.roles.pairs import role_pair
from killswitch.roles.role import Role, RoleChange
from killswitch.router.roles import Roles
from tests.faults.fleet import Fleet, rules_of, tripped_by_hand
from tests.servers.etcd import wait_until

ROLE, WATCH = "support", "watch"
CONTROL, CANARY = f"role:{ROLE}.previous", f"role:{ROLE}.prod"
PATIENCE = 60.0
FAULTY = Path(__file__).parent / "programs" / "faulty_daemon.py"


def watch_file(rollout: str) -> str:
    return rules_of(rollout).replace("model-old", CONTROL).replace("model-new", CANARY)


class WatchedFleet(Fleet):
    """Its one rollout watches a role that has just been promoted from ``model-old`` to ``model-new``."""

    def arm(self, rollout: str = WATCH) -> Flag:
        registry = self.registry
        registry.create(ROLE, "model-old", reason="it serves today")
        registry.set_candidate(ROLE, "model-new", reason="it is newer")
        registry.waive(ROLE, owner="ann", reason="a test", expires_at=time.time() + 3600.0)
        registry.promote(ROLE, reason="it passed", config=None, settings=PageSettings())
        slots = role_pair(CONTROL, CANARY)
        assert slots is not None
        found = armable(self.store, slots, rollout=rollout, users=True, config=None, now=time.time(), by="ann")
        return self.person.arm(
            rollout, control="model-old", canary="model-new", percent=50.0, stage="half", salt="",
            pair=found.pair, also=found.compares,
        )  # fmt: skip

    @property
    def registry(self) -> Registry:
        return Registry(self.store, wall=time.time, by="ann@laptop")

    @property
    def role(self) -> Role:
        found = self.registry.required(ROLE).role
        assert found is not None
        return found

    def until_rolled_back(self) -> None:
        wait_until(lambda: self.role.change is RoleChange.ROLLED_BACK, "the role is rolled back", PATIENCE)
        assert (self.role.prod, self.role.previous, self.role.number) == ("model-old", None, 4)

    def check_one_rollback(self) -> None:
        """One entry of the history names the trip, and one page says so, however many replicas looked."""
        self.for_cycles(2)
        history, _ = self.registry.history(ROLE)
        rolled_back = [entry for entry in history if entry.role.change is RoleChange.ROLLED_BACK]
        assert [entry.incident for entry in rolled_back] == [f"{WATCH}.1"]
        self.check()
        assert self.kinds().count("ROLE_ROLLED_BACK") == 1
        assert "CANNOT_ACT" not in self.kinds()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[WatchedFleet]:
    with WatchedFleet(tmp_path / "fleet", replicas=2, rollouts=[WATCH], rules=watch_file) as fleet:
        fleet.start()
        yield fleet


def test_a_bad_prod_is_rolled_back_and_services_follow(fleet: WatchedFleet) -> None:
    roles = Roles(fleet.etcd.url, registry=None)
    try:
        assert roles.wait_ready(PATIENCE)
        assert roles.model_for(ROLE) == "model-new"
        fleet.fail()
        fleet.until_tripped(WATCH)
        fleet.until_rolled_back()
        wait_until(lambda: roles.model_for(ROLE) == "model-old", "services ask the model before", PATIENCE)
    finally:
        roles.close()
    fleet.check_one_rollback()
    wait_until(lambda: bool(fleet.pages("rolled back")), "the page is in Slack", PATIENCE)


def test_a_trip_whose_controllers_were_killed_is_followed(fleet: WatchedFleet) -> None:
    """They die before the rollback, which a person's trip asks for; one that starts later makes it."""
    for replica in fleet.replicas:
        replica.kill()
    fleet.person.trip(tripped_by_hand(WATCH, time.time()))
    assert fleet.role.prod == "model-new"
    fleet.replicas[0].start()
    fleet.until_rolled_back()
    fleet.check_one_rollback()


def test_a_partition_only_delays_the_rollback(fleet: WatchedFleet) -> None:
    for replica in fleet.replicas:
        replica.cut_off()
    fleet.person.trip(tripped_by_hand(WATCH, time.time()))
    for replica in fleet.replicas:
        wait_until(lambda one=replica: one.logged("tripped watches of roles are not looked at"), "it has looked")  # type: ignore[misc]  # a default
    assert fleet.role.prod == "model-new"
    for replica in fleet.replicas:
        replica.heal()
    fleet.until_rolled_back()
    fleet.check_one_rollback()


@pytest.mark.parametrize("moment", ["before_change", "after_change"])
def test_controllers_killed_inside_the_rollback_make_it_once(tmp_path: Path, moment: str) -> None:
    """SIGKILL between the decision and its transaction, or between the transaction and its answer, of each replica."""
    with WatchedFleet(
        tmp_path / "fleet", replicas=2, rollouts=[WATCH], rules=watch_file, program=FAULTY,
        settings={"TEST_FAULT": moment},
    ) as fleet:  # fmt: skip
        fleet.start()
        for replica in fleet.replicas:
            (replica.folder / moment).touch()
        fleet.person.trip(tripped_by_hand(WATCH, time.time()))
        if moment == "before_change":
            wait_until(lambda: not any(one.running for one in fleet.replicas), "both have died", PATIENCE)
            assert fleet.role.prod == "model-new"
        else:
            wait_until(lambda: not all(one.running for one in fleet.replicas), "one has died", PATIENCE)
            assert fleet.role.prod == "model-old"
        for replica in fleet.replicas:
            (replica.folder / moment).unlink()
            if not replica.running:
                replica.start()
        fleet.until_rolled_back()
        fleet.check_one_rollback()
