"""Faults inside a replica: its clock, a bug in a rule, a loop that hangs, a signal in mid-cycle, its disk, its end."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from killswitch.stores import keys
from killswitch.timestamps import from_iso
from tests.faults.figures import figure
from tests.faults.fleet import INTERVAL, Fleet, started, swap
from tests.faults.replica import Replica
from tests.faults.service import HEALTHY
from tests.servers.etcd import wait_until

# of the default settings; an interval that leaves room for them
DEFAULT_DEADLINES = {
    "INTERVAL": "12s", "CYCLE_DEADLINE": "10s", "STORE_TIMEOUT": "5s", "TRIP_TIMEOUT": "2s", "SESSION_TTL": "15s",
    "CLAIM_TTL": "10s", "MAX_EVIDENCE_AGE": "60s",
}  # fmt: skip
FAULTY = Path(__file__).parent / "programs" / "faulty_daemon.py"


def test_a_clock_that_jumps_an_hour_changes_no_verdict_or_job(tmp_path: Path) -> None:
    """Row 14: the wall clock of one replica; the other's stays."""
    with started(tmp_path, program=FAULTY, settings={"TEST_FAULT": "clock"}) as fleet:
        jumping, sound = fleet.replicas
        for seconds in (3600, -3600, 0):
            swap(jumping.folder / "clock", str(seconds))
            fleet.for_cycles(4)
            assert from_iso(jumping.status()["tick"]) <= from_iso(sound.status()["tick"]) + INTERVAL
            fleet.until_healthy()
        assert jumping.metric("killswitch_clock_jumps_total") == 3
        assert fleet.flips() == []  # and nobody was called blind whom the sound one saw: `safety.violations`
        swap(jumping.folder / "clock", "-3600")
        sound.kill()
        fleet.for_cycles(1)
        fleet.max_age = 3600.0  # its transaction says when it was made by the clock that jumped
        fleet.fail()
        fleet.until_tripped()
        wait_until(lambda: len(fleet.pages("tripped, ")) == 1, "the page")


def test_a_bug_in_one_rule_is_paged_and_disarms_no_other(tmp_path: Path) -> None:
    """Row 23."""
    with started(tmp_path, program=FAULTY, settings={"TEST_FAULT": "rule_bug"}) as fleet:
        for replica in fleet.replicas:
            (replica.folder / "rule_bug").touch()
        wait_until(lambda: len(fleet.pages("because of a bug")) == 1, "the page about the bug")
        fleet.fail()
        assert fleet.until_tripped()["trip"]["rules"] == ["error_rate"]
        (incident,) = fleet.incidents()
        by_rule = {finding["rule"]: finding for finding in incident["findings"]}
        assert (by_rule["refusal_rate"]["verdict"], by_rule["refusal_rate"]["reason"]) == ("UNKNOWN", "INTERNAL_ERROR")
        assert len(fleet.pages("because of a bug")) == 1


def test_a_hung_loop_fails_liveness_while_another_replica_trips(tmp_path: Path) -> None:
    """Row 24."""
    with started(tmp_path, program=FAULTY, settings={"TEST_FAULT": "hang"}) as fleet:
        hanging, _ = fleet.replicas
        assert hanging.status_code("/-/healthy") == 200
        (hanging.folder / "hang").touch()
        wait_until((hanging.folder / "hung").exists, "the loop hangs")
        wait_until(lambda: hanging.status_code("/-/healthy") == 503, "the probe fails")
        intervals = (time.time() - (hanging.folder / "hung").stat().st_mtime) / INTERVAL
        figure(f"row 24: the probe fails {intervals:.1f} intervals after the loop hung")
        assert intervals >= 2  # and not at the first late cycle
        fleet.fail()
        fleet.until_tripped()
        assert len(fleet.flips()) == 1


@pytest.mark.parametrize("held", ["metric store", "flag store", "everything"])
def test_sigterm_in_mid_cycle_ends_a_replica_cleanly_in_10_s(tmp_path: Path, held: str) -> None:
    """Row 22, with the deadlines a daemon has by default: what is silent is silent for all of them."""
    with started(tmp_path, settings=DEFAULT_DEADLINES) as fleet:
        leaving, _ = fleet.replicas
        fleet.fail()
        silent = {"metric store": [leaving.to_prometheus], "flag store": leaving.to_etcd}
        heard = leaving.to_etcd[0] if held == "flag store" else leaving.to_prometheus
        accepted = heard.accepted
        for proxy in silent.get(held, leaving.proxies):
            proxy.black_hole()
            proxy.cut()  # what is asked from now on opens a connection, which can be seen
        wait_until(lambda: heard.accepted > accepted or not fleet.armed(), "it is waiting for an answer")
        began = time.monotonic()
        leaving.terminate()
        assert leaving.wait(30) == 0
        took = time.monotonic() - began
        figure(f"row 22: ended {took:.1f} s after SIGTERM, {held} silent")
        assert took <= 10
        if held == "metric store":
            assert fleet.store.get(keys.controller(leaving.name)) is None
            assert fleet.store.get(keys.claim(f"sessions/{leaving.name}")) is None
        leaving.heal()
        fleet.until_tripped()
        assert len(fleet.flips()) == len(fleet.incidents()) == 1
        assert leaving.logged("Traceback") == leaving.logged("a bug of") == 0


@pytest.mark.parametrize(("members", "at_most"), [(1, 16.0), (3, 32.0)], ids=["alone", "with etcd's leader"])
def test_the_page_of_a_replica_killed_after_the_flip_is_sent(tmp_path: Path, members: int, at_most: float) -> None:
    """Row 11 with whole daemons and the default claim: whoever is to page dies, alone or with etcd's leader.

    A new leader of etcd gives every lease its whole time again.
    """
    with started(tmp_path, members=members, settings={"CLAIM_TTL": "10s"}) as fleet:
        for replica in fleet.replicas:
            replica.to_slack.refuse()
        fleet.fail()
        fleet.until_tripped()
        sender = fleet.sender()
        sender.kill()
        leader = fleet.etcd.leader() if members > 1 else None
        if leader is not None:
            leader.kill()
        began = time.monotonic()
        for replica in fleet.replicas:
            replica.to_slack.heal()
        wait_until(lambda: len(fleet.pages("tripped, ")) >= 1, "the page")
        took = time.monotonic() - began
        figure(f"row 11: taken over {took:.1f} s after the kill{', with the leader of etcd' if leader else ''}")
        assert took <= at_most
        if leader is not None:
            leader.start()
        fleet.for_cycles(2)
        assert len(fleet.pages("tripped, ")) <= 2
        assert len(fleet.flips()) == 1


def test_stopped_and_continued_in_a_breach_a_replica_adds_nothing(tmp_path: Path) -> None:
    """Row 12 with whole daemons: SIGSTOP for longer than its leases, re-armed by a person meanwhile."""
    with started(tmp_path) as fleet:
        sleeper, _ = fleet.replicas
        fleet.fail()
        sleeper.pause()
        fleet.until_tripped()
        wait_until(lambda: fleet.store.get(keys.controller(sleeper.name)) is None, "its session has ended")
        fleet.service.set(HEALTHY)
        fleet.for_cycles(4)
        fleet.rearm()
        sleeper.resume()
        fleet.for_cycles(3)
        assert len(fleet.flips()) == 1
        assert fleet.armed()


def test_a_read_only_root_and_a_full_disk_stop_no_trip_or_page(tmp_path: Path) -> None:
    """Row 21: a mount namespace of its own, everything read only, its only writable place full."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("a mount namespace cannot be made here: needs root")
    with Fleet(tmp_path, replicas=1) as fleet:
        (replica,) = fleet.replicas
        _confine(replica)
        fleet.start()
        fleet.fail()
        fleet.until_tripped()
        wait_until(lambda: len(fleet.pages("tripped, ")) == 1, "the page")
        assert replica.logged("Read-only file system") == 1
        assert len(fleet.flips()) == 1


def _confine(replica: Replica) -> None:
    script = (
        "mount --make-rprivate / && mount -o remount,bind,ro / && mount -t tmpfs -o size=16k none /dev/shm && "
        "(head -c 99999 /dev/zero > /dev/shm/full || true) 2>/dev/null; "
        'touch ./probe 2>&1 | head -1; export TMPDIR=/dev/shm; exec "$@"'
    )
    replica._command[:] = ["unshare", "-m", "sh", "-c", script, "sh", *replica._command]
