"""While the flag store is away: who is paged, how often, and what flips afterwards."""

from __future__ import annotations

import pytest

from killswitch.model import Mode
from killswitch.pages.page import PageKind
from tests.doubles.fleet import START, Fleet, no_fault
from tests.doubles.memory_store import Fault
from tests.doubles.scripted_source import rollout
from tests.unit.controller.fleets import BAD, GOOD, ONSET, assert_one_trip, fleet_of


def test_cannot_act_is_paged_once_an_outage_and_its_end_once() -> None:
    fleet = fleet_of("a", script=GOOD)
    a = fleet.replicas[0]
    fleet.run(5)
    a.fail_store(lambda _: Fault.FAIL_BEFORE)
    fleet.run(10)
    assert [page.kind for page in a.told] == [PageKind.CANNOT_ACT]
    a.fail_store(no_fault)
    fleet.run(5)
    assert [page.kind for page in a.told] == [PageKind.CANNOT_ACT, PageKind.RECOVERED]
    assert a.told[1].follows == a.told[0].id
    a.fail_store(lambda _: Fault.FAIL_BEFORE)
    fleet.run(3)
    assert [page.kind for page in a.told][2:] == [PageKind.CANNOT_ACT]
    assert a.told[2].id != a.told[0].id


def test_cannot_act_is_paged_within_45_seconds() -> None:
    fleet = fleet_of("a", script=GOOD)
    a = fleet.replicas[0]
    fleet.run(5)
    a.fail_store(lambda _: Fault.FAIL_BEFORE)
    began = fleet.clock.wall()
    fleet.run(2, until=lambda: bool(a.told))
    assert a.told[0].at - began <= 45


def test_a_short_outage_of_the_store_pages_nobody() -> None:
    fleet = fleet_of("a", script=GOOD)
    a = fleet.replicas[0]
    fleet.run(5)
    until = fleet.clock.wall() + 10
    a.fail_store(lambda _: Fault.FAIL_BEFORE if fleet.clock.wall() < until else None)
    fleet.run(5)
    assert a.told == []


def test_a_breach_in_an_outage_pages_now_and_flips_afterwards() -> None:
    """A breach during an outage of the store is paged at once. The flag is flipped when the store is back."""
    fleet = fleet_of("a")
    a = fleet.replicas[0]
    a.fail_store(lambda _: Fault.FAIL_BEFORE if START + 630 < fleet.clock.wall() < START + 1500 else None)
    fleet.run(45)
    waiting = [page for page in a.told if "A breach is waiting" in page.why]
    assert len(waiting) == 1
    assert "error_rate" in waiting[0].why
    assert not fleet.tripped()
    fleet.run(7)
    assert_one_trip(fleet)
    assert a.told[-1].kind is PageKind.RECOVERED


def test_a_store_read_and_not_written_is_an_outage_paged_once() -> None:
    """etcd over its space quota answers reads and keep-alives, and refuses every write."""
    fleet = fleet_of("a", script=GOOD)
    a = fleet.replicas[0]
    fleet.run(5)
    a.fail_store(lambda call: Fault.FAIL_BEFORE if call.name == "commit" else None)
    fleet.run(20)
    assert [page.kind for page in a.told] == [PageKind.CANNOT_ACT]
    a.fail_store(no_fault)
    fleet.run(3)
    assert [page.kind for page in a.told] == [PageKind.CANNOT_ACT, PageKind.RECOVERED]


def test_a_breach_that_cannot_be_written_is_paged_once() -> None:
    fleet = fleet_of("a")
    a = fleet.replicas[0]
    a.fail_store(lambda call: Fault.FAIL_BEFORE if call.name == "commit" and fleet.clock.wall() > ONSET else None)
    fleet.run(50)
    assert [page.kind for page in a.told].count(PageKind.RECOVERED) == 0
    assert len(a.told) <= 2  # without a breach waiting, and with one
    a.fail_store(no_fault)
    fleet.run(3)
    assert_one_trip(fleet)


@pytest.mark.slow
def test_a_cycle_in_an_outage_does_not_ask_the_store_once_a_notice() -> None:
    """Each of those calls waits for a timeout."""
    rollouts = [rollout(f"r{n}", mode=Mode.DRY_RUN) for n in range(20)]
    fleet = Fleet(BAD, *rollouts)
    a = fleet.replica("a")
    for one in rollouts:
        fleet.arm(one.name)
    fleet.run(19)
    a.fail_store(lambda _: Fault.FAIL_BEFORE)
    before = len(a.store.calls)
    said: list[str] = []  # of the breach and of the ticks after it, at which evidence begins at nothing
    cycles = 6
    for _ in range(cycles):
        fleet.run(1)
        said += fleet.sentences("r0")
    assert len(a.store.calls) - before <= cycles * 20  # renewals and one read a cycle, not 20 notices each
    assert any("would trip" in sentence for sentence in said)
