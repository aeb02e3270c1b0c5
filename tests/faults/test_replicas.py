"""Hot-hot replicas through the faults of the metric store and the flag store: rows 1, 2, 3, 6, 7, 8, 9."""

from __future__ import annotations

from pathlib import Path

from killswitch.stores import keys
from tests.faults.fleet import started
from tests.faults.replica import PATIENCE
from tests.servers.etcd import wait_until


def test_two_replicas_flip_a_breach_once_with_one_page(tmp_path: Path) -> None:
    """Two replicas that see the same breach make one flip, one incident and one page."""
    with started(tmp_path) as fleet:
        fleet.fail()
        flip = fleet.until_tripped()
        fleet.for_cycles(3)
        assert len(fleet.flips()) == len(fleet.incidents()) == 1
        assert flip["trip"]["rules"] == ["error_rate"]
        assert len(fleet.pages("tripped")) == 1


def test_a_second_replica_of_one_name_is_refused_at_start(tmp_path: Path) -> None:
    """It says so and ends with exit code 2, pages no one, and the first judges and trips as before."""
    with started(tmp_path, replicas=1) as fleet:
        (first,) = fleet.replicas
        second = fleet.add_replica("second", CONTROLLER_ID=first.name)
        second.start(wait=False)
        assert second.wait(PATIENCE) == 2
        assert second.logged("another living replica runs as controller replica-0")
        assert second.logged("KILLSWITCH_CONTROLLER_ID")
        assert fleet.pages("two replicas") == []
        assert first.logged("two replicas") == 0
        fleet.fail()
        assert fleet.until_tripped()["trip"]["by"] == first.name
        fleet.check()


def test_a_replica_whose_name_is_taken_pages_and_cannot_trip(tmp_path: Path) -> None:
    """Asleep for longer than its session, it wakes up beside another of its name; once that ends, it acts again."""
    with started(tmp_path, replicas=1) as fleet:
        (first,) = fleet.replicas
        first.pause()
        session = keys.claim(f"sessions/{first.name}")
        wait_until(lambda: fleet.store.get(session) is None, "the session of the one that sleeps has ended", PATIENCE)
        second = fleet.add_replica("second", CONTROLLER_ID=first.name).start()
        fleet.until_healthy(second)
        first.resume()
        wait_until(lambda: len(fleet.pages("two replicas run as controller replica-0")) > 0, "the page", PATIENCE)
        fleet.for_cycles(3, first, second)
        assert first.running
        assert first.logged("name-taken.replica-0") == 1
        assert second.logged("name-taken.replica-0") == 0
        assert len(fleet.pages("two replicas run as controller replica-0")) == 1
        assert first.logged("cannot-act") == second.logged("cannot-act") == 0
        second.kill()
        fleet.fail()
        flip = fleet.until_tripped()
        assert flip["trip"]["by"] == first.name
        fleet.check()
