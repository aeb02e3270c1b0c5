"""Faults at the worst moment: as a breach begins, as it trips, as its page is being sent, as a person re-arms."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.doubles.lying_prometheus import Lie
from tests.faults.etcd_history import EtcdHistory
from tests.faults.figures import figure
from tests.faults.fleet import SMALL_DISK, Fleet, quietly, started
from tests.faults.service import HEALTHY
from tests.servers.etcd import wait_until


def test_a_breach_while_etcd_has_no_leader_flips_once_it_has_one(tmp_path: Path) -> None:
    """Row 8: not a quorum that is lost during a breach, but one that is not there when it begins."""
    with started(tmp_path, replicas=3, members=3) as fleet:
        leader = fleet.etcd.leader()
        stopped, alone = fleet.etcd.followers()
        leader.kill()
        stopped.pause()
        wait_until(lambda: not quietly(lambda: bool(fleet.witness())), f"{alone.name} without a leader")
        fleet.fail()
        wait_until(lambda: any("error_rate" in str(m.body) for m in fleet.pages("cannot act")), "the page of a breach")
        stopped.resume()
        fleet.until_tripped()
        leader.start()
        fleet.for_cycles(3)
        assert len(fleet.flips()) == len(fleet.incidents()) == 1
        wait_until(lambda: len(fleet.pages("tripped, ")) == 1, "the page of the flip")


def test_an_etcd_without_space_is_paged_and_flips_once_freed(
    tmp_path: Path,
) -> None:
    """Reads and leases go on, every write is refused: the NOSPACE alarm."""
    with started(tmp_path, replicas=3, members=3, etcd_arguments=SMALL_DISK) as fleet:
        fleet.etcd.fill()
        fleet.fail()
        wait_until(lambda: any("error_rate" in str(m.body) for m in fleet.pages("cannot act")), "the page of a breach")
        fleet.for_cycles(3)
        told = len(fleet.pages("cannot act"))
        assert fleet.armed()
        assert told <= 2 * len(fleet.replicas)  # of the outage, and of the breach in it
        fleet.history.read()
        fleet.etcd.free(fleet.history.revision)
        began, before = time.monotonic(), fleet.replicas[0].ticks()
        fleet.until_tripped()
        figure(f"etcd full: flipped {time.monotonic() - began:.1f} s after there was room")
        assert fleet.replicas[0].ticks() - before <= 2
        fleet.for_cycles(2)
        assert len(fleet.flips()) == len(fleet.incidents()) == 1
        wait_until(lambda: len(fleet.pages("tripped, ")) == 1, "the page of the flip")


def test_a_stopped_senders_page_is_sent_and_copies_are_marked(
    tmp_path: Path,
) -> None:
    """Rows 11 and 12: the attempt is committed, not a byte has gone out, and the sender sleeps past its claim."""
    with started(tmp_path, replicas=3) as fleet:
        for replica in fleet.replicas:
            replica.to_slack.black_hole()
        fleet.fail()
        fleet.until_tripped()
        holder = fleet.sender()
        holder.pause()
        for replica in fleet.replicas:
            if replica is not holder:
                replica.to_slack.heal()
        wait_until(lambda: len(fleet.pages("tripped, ")) == 1, "the page, from another replica")
        holder.to_slack.heal()  # what it had sent, the network delivers now
        holder.resume()
        fleet.for_cycles(4)
        copies = fleet.pages("tripped, ")
        figure(f"a sender stopped in its send: {len(copies)} copies")
        assert len(copies) <= 3
        assert sum("possible repeat" not in str(copy.body) for copy in copies) <= 1 + (len(copies) > 1)
        assert len(fleet.flips()) == len(fleet.incidents()) == 1


def test_a_re_arm_during_a_page_takeover_loses_no_page(
    tmp_path: Path,
) -> None:
    """Row 13 in the middle of row 11."""
    with started(tmp_path, replicas=3) as fleet:
        for replica in fleet.replicas:
            replica.to_slack.refuse()
        fleet.fail()
        fleet.until_tripped()
        fleet.sender().kill()
        fleet.service.set(HEALTHY)
        fleet.rearm()
        for replica in fleet.replicas:
            replica.to_slack.heal()
        wait_until(lambda: quietly(lambda: _said(fleet, "tripped, ") and _said(fleet, "re-armed")), "both pages")
        fleet.for_cycles(4)
        assert fleet.armed()
        assert len(fleet.flips()) == 1
        fleet.fail()
        fleet.until_tripped()
        fleet.check()
        assert [flip["generation"] for flip in fleet.flips()] == [1, 2]


def test_an_etcd_restored_from_before_a_trip_trips_again(tmp_path: Path) -> None:
    """Row 20, from the controllers' side: the canary is as bad as it was, and the backup says that it is armed."""
    with started(tmp_path, replicas=3, members=3) as fleet:
        fleet.etcd.back_up(tmp_path / "backup.db")
        fleet.fail()
        fleet.until_tripped()
        wait_until(lambda: len(fleet.pages("tripped, ")) == 1, "the page")
        fleet.for_cycles(2)
        fleet.etcd.restore(tmp_path / "backup.db")
        fleet.history = EtcdHistory(fleet.witness)  # another history, from the backup on
        fleet.until_tripped()
        fleet.for_cycles(3)
        assert len(fleet.flips()) == len(fleet.incidents()) == 1
        wait_until(lambda: len(fleet.pages("tripped, ")) == 2, "the page of the second trip")


@pytest.mark.parametrize("lies", [tuple(Lie)[:4], tuple(Lie)[4:7], tuple(Lie)[7:]], ids=["first", "second", "third"])
def test_a_metric_store_that_lies_trips_nothing(tmp_path: Path, lies: tuple[Lie, ...]) -> None:
    """Row 4 with whole daemons: a canary that breaches as the answers are spoiled is tripped when they are whole."""
    with started(tmp_path, lying=True) as fleet:
        for generation, lie in enumerate(lies, 1):
            fleet.liar.lie = lie
            fleet.for_cycles(2)
            fleet.fail()
            if lie is not Lie.REMARKS:
                fleet.for_cycles(4)
                assert len(fleet.flips()) == generation - 1, lie
                fleet.liar.lie = None
            fleet.until_tripped()
            assert len(fleet.flips()) == len(fleet.incidents()) == generation
            fleet.liar.lie = None
            fleet.service.set(HEALTHY)
            fleet.for_cycles(4)
            fleet.rearm()
            fleet.until_healthy()
            assert not any(replica.logged("Traceback") for replica in fleet.replicas), lie


def _said(fleet: Fleet, words: str) -> bool:
    return bool(fleet.pages(words))
