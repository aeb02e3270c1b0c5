"""The metric store fails: down, slow, half there, restarted. An error is not data; one outage is one page."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from killswitch.stores import keys
from killswitch.timestamps import from_iso
from tests.faults.figures import figure
from tests.faults.fleet import INTERVAL, Fleet, started
from tests.faults.service import HEALTHY
from tests.servers.etcd import wait_until
from tests.servers.tcp_proxy import Fault

THOROUGH = "KILLSWITCH_TEST_THOROUGH" in os.environ


def test_a_prometheus_that_is_down_is_one_page_and_no_flip(tmp_path: Path) -> None:
    """Row 1. Down for two intervals, then ten, and in a soak sixty: 1, 5 and 30 minutes at 30 s."""
    with started(tmp_path) as fleet:
        for outage, cycles in enumerate((2, 10, 60) if THOROUGH else (2, 10), 1):
            fleet.prometheus.kill()
            fleet.fail()  # what happens while nobody looks must not be counted as seen
            wait_until(lambda outage=outage: _kinds(fleet)["BLIND"] == outage, "a page that the fleet is blind")  # type: ignore[misc]
            fleet.for_cycles(cycles)
            assert _kinds(fleet)["BLIND"] == outage
            assert fleet.flips() == []
            fleet.service.set(HEALTHY)
            fleet.prometheus.start()
            wait_until(lambda outage=outage: _kinds(fleet)["RECOVERED"] == outage, "the page that it sees")  # type: ignore[misc]
            fleet.until_healthy()
        for page in _pages(fleet, "BLIND"):
            intervals = (page["at"] - page["since"]) / INTERVAL
            figure(f"row 1: paged {intervals:.0f} intervals after the last good evaluation")
            assert intervals <= 3
        fleet.fail()
        fleet.until_tripped()
        assert len(fleet.flips()) == 1


def test_a_slow_or_hung_prometheus_costs_ticks_but_not_the_grid(tmp_path: Path) -> None:
    """Row 2."""
    with started(tmp_path, replicas=1) as fleet:
        replica = fleet.replicas[0]
        for fault in (Fault(delay=1.0), Fault(drip=0.2), Fault(hold=True)):
            replica.to_prometheus.to_client = fault
            fleet.for_cycles(3)
            assert from_iso(replica.status()["tick"]) % INTERVAL == 0
            replica.to_prometheus.heal()
            replica.to_prometheus.cut()
            fleet.until_healthy()
        cycles = replica.metric("killswitch_cycle_seconds_count")
        # the deadline is 2 s; the machine is shared
        assert replica.metric("killswitch_cycle_seconds_bucket", '{le="10.0"}') == cycles
        assert fleet.flips() == []


def test_a_cohort_without_one_metric_lets_the_other_rules_trip(tmp_path: Path) -> None:
    """Row 3."""
    with started(tmp_path) as fleet:
        fleet.service.hidden.add(("latency", "canary"))
        fleet.for_cycles(4)
        assert fleet.flips() == []
        fleet.fail()
        assert fleet.until_tripped()["trip"]["rules"] == ["error_rate"]
        (incident,) = fleet.incidents()
        by_rule = {finding["rule"]: finding for finding in incident["findings"]}
        assert by_rule["latency_p95"]["verdict"] == "UNKNOWN"
        assert by_rule["latency_p95"]["reason"]
        assert by_rule["refusal_rate"]["verdict"] == "HEALTHY"


def test_counter_resets_and_missed_scrapes_trip_nothing(tmp_path: Path) -> None:
    """Row 6."""
    with started(tmp_path) as fleet:
        for _ in range(3):
            fleet.service.restart()
            fleet.for_cycles(2)
        fleet.service.hang()  # scrapes time out
        fleet.for_cycles(2)
        fleet.service.release()
        fleet.until_healthy()
        assert fleet.flips() == []


def test_a_replica_blind_alone_does_nothing_a_blind_fleet_trips(
    tmp_path: Path,
) -> None:
    """Safety 5, and `when_blind`: three replicas whose heartbeats never stand still."""
    with started(tmp_path, replicas=3, when_blind="{trip_after: 30s}") as fleet:
        lonely, *others = fleet.replicas
        lonely.to_prometheus.black_hole()
        fleet.for_cycles(8)
        lonely.heal()
        lonely.cut_off()  # now from everything
        fleet.for_cycles(5, *others)
        assert fleet.flips() == []  # and whatever was paged, nobody else saw then either: `safety.violations`
        lonely.heal()
        fleet.until_healthy()
        before = _kinds(fleet)["BLIND"]
        fleet.prometheus.kill()
        flip = fleet.until_tripped()
        assert flip["trip"]["rules"] == []
        assert "blind for" in flip["trip"]["reason"]
        fleet.for_cycles(3)
        assert len(fleet.flips()) == len(fleet.incidents()) == 1
        assert _kinds(fleet)["BLIND"] == before + 1
        # the lonely one's own page of its outage, and its copy, may still be on their way
        told = [str(page.body) for page in fleet.pages("cannot act")]
        assert not any("blind for" in page or other.name in page for page in told for other in others)


def _kinds(fleet: Fleet) -> Counter[str]:
    fleet.check()
    return Counter(fleet.kinds())


def _pages(fleet: Fleet, kind: str) -> list[dict[str, float]]:
    """Pages of a kind: when each was decided, and since when its outage ran (Unix seconds)."""
    since = {
        outage["id"]: from_iso(outage["since"])
        for change in fleet.history.of(keys.OUTAGES)
        if change.value is not None
        for outage in change.document()["outages"]
    }
    first: dict[str, dict[str, float]] = {}
    for change in fleet.history.of(keys.OUTBOX):
        if change.value is not None and change.document()["page"]["kind"] == kind:
            page = change.document()["page"]
            at = page["at"] if isinstance(page["at"], float | int) else from_iso(page["at"])
            first.setdefault(change.key, {"at": at, "since": since[page["id"]]})
    return list(first.values())
