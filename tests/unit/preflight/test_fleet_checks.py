"""Routers that follow, controllers that are alive, and clocks that agree, as the doctor reads them from the store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from killswitch.flags.flag import Flag
from killswitch.fleet.heartbeat import Heartbeat
from killswitch.fleet.heartbeat import to_document as beat_document
from killswitch.preflight.checks import Check, Status
from killswitch.preflight.fleet_checks import examine_replicas, examine_routers, examine_store_clock
from killswitch.preflight.fleet_seen import FleetSeen, fleet_seen
from killswitch.router.presence import Report, from_document, to_document
from killswitch.stores import Put, ToldTime, keys
from tests.doubles.clock import VirtualClock
from tests.doubles.flags import armed
from tests.doubles.memory_store import MemoryServer, MemoryStore

WALL = 1_700_000_000.0


def report(router: str = "r1", **changes: Any) -> Report:
    whole = Report(router, "copilot", 7, 1, "armed", 5.0, WALL, version="0.1.0")
    return replace(whole, **changes)


def beat(controller: str = "c1", **changes: Any) -> Heartbeat:
    return replace(Heartbeat(controller, "0.1.0", WALL, WALL, "abc", frozenset({"copilot"}), {}), **changes)


def routers(*reports: Report, flag: Flag | None = None) -> list[Check]:
    seen = FleetSeen({"copilot": 7}, {"copilot": reports} if reports else {})
    return list(examine_routers({"copilot": flag or armed(percent=5.0)}, seen, "0.1.0"))


def replicas(*beats: Heartbeat) -> list[str]:
    return [check.found for check in examine_replicas(FleetSeen(controllers=beats), WALL, "0.1.0")]


def test_routers_that_follow_are_in_order() -> None:
    (check,) = routers(report("a"), report("b", revision=9))
    assert (check.status, check.found) == (Status.OK, "2 routers at its flag's newest change")


def test_an_armed_flag_that_no_router_follows_is_a_warning() -> None:
    (check,) = routers()
    assert check.status is Status.WARNING
    assert "no router has reported" in check.found
    assert routers(flag=armed(percent=0.0)) == []


def test_a_router_that_is_behind_is_named() -> None:
    (check,) = routers(report("a"), *(report(f"late-{number}", revision=3) for number in range(5)))
    assert check.found == "5 of 6 routers have not followed the newest change: late-0, late-1, late-2 and 2 more"


def test_another_version_of_a_router_is_a_note() -> None:
    *_, note = routers(report("a", version="0.0.9"))
    assert (note.status, note.found) == (Status.NOTE, "routers run version 0.0.9; this is 0.1.0")


def test_a_report_says_its_version_and_an_older_one_is_read() -> None:
    """Services are updated at other times than controllers: a report without a version counts as before."""
    assert from_document(to_document(report())).version == "0.1.0"
    assert from_document(to_document(report()).replace(b', "version": "0.1.0"', b"")).version == ""


def test_controllers_that_differ_or_hang_are_named() -> None:
    assert replicas(beat(), beat("c2")) == []
    assert replicas(beat(), beat("c2", version="0.2.0"))[0] == "they differ in their version: 0.1.0 (c1), 0.2.0 (c2)"
    assert "they differ in their rule set" in replicas(beat(), beat("c2", rules_digest="def"))[0]
    assert "c2 has written no heartbeat for 5m" in replicas(beat(), beat("c2", at=WALL - 300))[0]
    assert "at least 20 s ahead" in replicas(beat(), beat("c2", at=WALL + 20))[0]
    assert "one is alive (c1)" in replicas(beat())[0]
    assert replicas() == []


@pytest.mark.parametrize(
    ("store", "metrics", "status", "said"),
    [
        (0.4, 0.2, Status.OK, "agrees"),
        (-30.0, 0.0, Status.WARNING, "30 s behind this machine's"),
        (600.0, 0.0, Status.WRONG, "10m ahead of this machine's"),
        (4.0, -4.0, Status.WARNING, "and the metric store's differ by 8 s"),
        (0.0, None, Status.OK, "agrees"),
    ],
)
def test_three_clocks_are_compared(store: float, metrics: float | None, status: Status, said: str) -> None:
    """This machine's, the flag store's and the metric store's."""
    (check,) = examine_store_clock(FleetSeen(store_ahead=store), metrics)
    assert check.status is status
    assert said in check.found


def test_a_store_without_a_clock_says_nothing_of_it() -> None:
    assert list(examine_store_clock(FleetSeen(), 0.0)) == []


class Told(MemoryStore):
    """A store whose answers show a clock that is 40 s ahead; it was asked half a second ago."""

    def told_time(self) -> ToldTime | None:
        return ToldTime(WALL - 0.5 + 40.0 + 1.0, 99.5)


def test_the_fleet_is_read_from_the_store() -> None:
    store = Told(MemoryServer(VirtualClock()))
    strange = to_document(report("other"))
    store.commit(
        (),
        [
            Put(keys.flag("copilot"), b"{}"),
            Put(keys.router("copilot", "r1"), to_document(report())),
            Put(keys.router("copilot", "r2"), b"garbage"),
            Put(keys.router("copilot", "copied"), strange),
            Put(keys.controller("c1"), beat_document(beat())),
        ],
    )
    seen = fleet_seen(store, WALL, 100.0)
    assert [one.id for one in seen.routers["copilot"]] == ["r1"]
    assert (seen.unread, [one.id for one in seen.controllers]) == (1, ["c1"])
    assert seen.revisions == {"copilot": store.list(keys.FLAGS).revision}
    assert seen.store_ahead == pytest.approx(40.0)
