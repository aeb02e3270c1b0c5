"""A controller's cycles over an in-memory store: dry runs, notices, errors, memory and the heartbeat."""

from __future__ import annotations

import gc
import json
import os
import sys

import pytest

from killswitch.model import Cohort, Counts, Measurement, Mode, Reading, Reason, Rule, Unreadable, Want
from killswitch.pages.page import PageKind
from killswitch.stores import keys
from killswitch.verdicts import evaluator
from killswitch.verdicts.compare import Comparison, compare
from tests.doubles.fleet import INTERVAL, Fleet
from tests.doubles.scripted_source import ERRORS, THUMBS, rollout
from tests.unit.controller.fleets import GOOD, assert_one_trip, blind, by_hand, fleet_of

THOROUGH = "KILLSWITCH_TEST_THOROUGH" in os.environ  # `make soak`


def test_a_dry_run_says_would_trip_once_and_changes_nothing() -> None:
    """Evidence begins again after each alarm, so a regression that lasts is proven again and again and paged once."""
    fleet = fleet_of("a", "b", mode=Mode.DRY_RUN)
    armed, alarms = fleet.flag(), []
    for _ in range(60):
        fleet.run(1)
        alarms += [said for said in fleet.sentences()[:1] if "would trip (dry run): error_rate" in said]
    assert len(alarms) > 1
    assert len(fleet.pages(PageKind.WOULD_TRIP)) == 1
    assert fleet.flips() == []
    assert fleet.incidents() == []
    assert fleet.flag() == armed


def test_a_notice_is_sent_once_a_generation_and_again_in_the_next() -> None:
    never = Unreadable(Reason.NEVER_SEEN, "thumbs_total has not been seen in any cohort for 24 h")
    fleet = fleet_of("a", "b", script=GOOD)
    for one in fleet.replicas:
        one.source.spoil = lambda want, _tick: never if want.rule == THUMBS.name else None
    fleet.run(10)
    assert len(fleet.pages(PageKind.NEVER_SEEN)) == 1
    fleet.person.trip(by_hand())
    fleet.run(2)
    fleet.rearm()
    fleet.run(10)
    assert len(fleet.pages(PageKind.NEVER_SEEN)) == 2


def test_an_exception_in_one_rule_lets_the_others_trip(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An exception in one rule makes that rule UNKNOWN. The other rules still trip."""
    honest = compare

    def broken(rule: Rule, reading: Reading, plain: Reading | None = None) -> Comparison:
        if rule.name == THUMBS.name:
            raise ZeroDivisionError("a bug")
        return honest(rule, reading, plain)

    monkeypatch.setattr(evaluator, "compare", broken)
    fleet = fleet_of("a")
    fleet.run(40)
    assert_one_trip(fleet)
    finding = next(f for f in fleet.incidents()[0]["findings"] if f["rule"] == THUMBS.name)
    assert (finding["verdict"], finding["reason"]) == ("UNKNOWN", "INTERNAL_ERROR")
    assert len(fleet.pages(PageKind.INTERNAL_ERROR)) == 1


def test_a_source_that_raises_is_no_data_and_the_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = fleet_of("a", script=GOOD)
    fleet.run(5)

    def bug(*_: object) -> object:
        raise RuntimeError("adapter")

    monkeypatch.setattr(type(fleet.replicas[0].source), "read", bug)
    fleet.run(5)
    assert not fleet.tripped()
    assert "INTERNAL_ERROR" in fleet.sentences()[0]


@pytest.mark.slow
def test_virtual_cycles_leave_memory_flat() -> None:
    """1,000 cycles, ten thousand in `make soak`: fewer than half as many objects stay as cycles ran.

    Objects are counted as blocks of memory: the traces of tracemalloc grow by kilobytes where none has stayed.
    """

    def constant(want: Want, cohort: Cohort, tick: float) -> Measurement:
        return Counts(10.0 + (tick // 30) % 3, 1000.0)

    fleet = Fleet(constant, rollout(rules=(ERRORS,)))
    a = fleet.replica("a")
    fleet.arm()

    def cycles(count: int) -> None:
        for _ in range(count):
            fleet.clock.advance(INTERVAL)
            a.controller.renew()
            a.cycle()
            a.store.calls.clear()
            a.source.asked.clear()
            fleet.server.history.clear()

    count = 10_000 if THOROUGH else 1_000
    cycles(800)  # caches of hours and windows are full after them
    gc.collect()  # what nothing holds any more is not kept, whenever the collector would come by
    before = sys.getallocatedblocks()
    cycles(count)
    gc.collect()
    assert sys.getallocatedblocks() - before < count / 2
    assert a.sample("killswitch_cycles_total") >= count + 800


def test_the_heartbeat_names_what_was_judged_and_how_late() -> None:
    fleet = fleet_of("a", script=GOOD)
    fleet.run(3)
    blind(fleet)
    fleet.run(1)
    document = json.loads(fleet.server.value(keys.controller("a")) or b"")
    assert document["judged"] == ["copilot"]
    assert document["last_good"] == {"copilot": document["last_good"]["copilot"]}
    assert document["rules_digest"] == "digest-1"


def test_closing_gives_the_session_and_the_heartbeat_back() -> None:
    fleet = fleet_of("a", script=GOOD)
    fleet.run(3)
    fleet.replicas[0].controller.close()
    assert fleet.server.value(keys.controller("a")) is None
    assert fleet.server.value(keys.claim("sessions/a")) is None
