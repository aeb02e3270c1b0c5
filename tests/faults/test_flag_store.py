"""The flag store fails: stopped, without a quorum, its leader gone, in the middle of a breach."""

from __future__ import annotations

import time
from pathlib import Path

from tests.faults.figures import figure
from tests.faults.fleet import MAX_EVIDENCE_AGE, Fleet, started
from tests.faults.service import HEALTHY
from tests.servers.etcd import wait_until
from tests.servers.tcp_proxy import Fault

FIVE_SECONDS = 2  # ticks; five seconds hold one or two


def test_a_stopped_etcd_is_paged_without_it_and_recovers(tmp_path: Path) -> None:
    """Row 7."""
    with started(tmp_path) as fleet:
        (member,) = fleet.etcd.members
        member.pause()
        began = time.monotonic()
        wait_until(lambda: len(fleet.pages("cannot act")) >= 1, "the page that it cannot act")
        figure(f"row 7: paged {time.monotonic() - began:.1f} s after etcd stopped")
        assert time.monotonic() - began <= 45
        fleet.for_cycles(2)  # it keeps judging
        member.resume()
        member.wait_until_healthy()
        began, ticks = time.monotonic(), [replica.ticks() for replica in fleet.replicas]
        wait_until(lambda: all(r.metric("killswitch_store_up") == 1 for r in fleet.replicas), "reconnected")
        figure(f"row 7: reconnected {time.monotonic() - began:.1f} s after etcd went on")
        assert _most_ticks_since(fleet, ticks) <= FIVE_SECONDS
        wait_until(lambda: len(fleet.pages("recovered")) >= 1, "the page that it can again")
        fleet.until_healthy()
        assert fleet.flips() == []
        fleet.fail()
        fleet.until_tripped()


def test_a_breach_without_a_quorum_is_paged_and_flips_later(tmp_path: Path) -> None:
    """Row 8: for less than evidence lives, and for longer."""
    with started(tmp_path, members=3) as fleet:
        for generation, patience in ((1, 0.0), (2, MAX_EVIDENCE_AGE + 4.0)):
            followers = fleet.etcd.followers()
            told = len(fleet.pages("cannot act"))
            for member in followers:
                member.pause()
            fleet.fail()
            wait_until(lambda: len(fleet.pages("cannot act")) > told, "the page that it cannot act")  # noqa: B023
            began = time.monotonic()
            wait_until(lambda: time.monotonic() - began >= patience, "the evidence to grow old")  # noqa: B023
            for member in followers:
                member.resume()
            for member in followers:
                member.wait_until_healthy()
            began, ticks = time.monotonic(), [replica.ticks() for replica in fleet.replicas]
            fleet.until_tripped()
            figure(f"row 8: generation {generation} flipped {time.monotonic() - began:.1f} s after the quorum was back")
            assert _most_ticks_since(fleet, ticks) <= FIVE_SECONDS
            assert len(fleet.flips()) == len(fleet.incidents()) == generation
            _back_to_healthy(fleet)


def test_a_leader_lost_during_a_breach_makes_no_second_incident(tmp_path: Path) -> None:
    """Row 9 with real processes: the leader dies, members die one after another, answers are lost."""
    with started(tmp_path, members=3) as fleet:
        leader = fleet.etcd.leader()
        fleet.fail()
        leader.kill()
        fleet.until_tripped()
        leader.start()
        leader.wait_until_healthy()
        _back_to_healthy(fleet)
        for replica in fleet.replicas:
            for proxy in replica.to_etcd:
                proxy.to_client = Fault(delay=0.5)  # every answer late, in all its parts
        fleet.fail()
        fleet.until_tripped()
        for replica in fleet.replicas:
            replica.heal()
        fleet.for_cycles(3)
        assert len(fleet.flips()) == len(fleet.incidents()) == 2


def _most_ticks_since(fleet: Fleet, ticks: list[float]) -> float:
    """How many cycles the busiest replica has finished since: time as a shared machine can be asked for it."""
    return max(replica.ticks() - before for replica, before in zip(fleet.replicas, ticks, strict=True))


def _back_to_healthy(fleet: Fleet) -> None:
    fleet.service.set(HEALTHY)
    fleet.for_cycles(4)
    fleet.rearm()
    fleet.until_healthy()
    fleet.check()
