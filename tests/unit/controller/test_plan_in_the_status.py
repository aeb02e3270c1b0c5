"""A cycle's report has each plan's timeline and the slow signals, on every replica, young stage or not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from killswitch.model import Verdict
from killswitch.pages import plan_events
from killswitch.pages.page import PageKind
from killswitch.plan import Advance, Plan, PlanStage
from killswitch.ramps.gate_inputs import Hold
from killswitch.ramps.records import hold_document
from killswitch.slow.standing import SignalStanding, SlowStanding, to_document
from killswitch.slow_settings import SlowSettings
from killswitch.status.document import status_document, status_json
from killswitch.stores import Put, keys
from tests.doubles.fleet import START, Fleet
from tests.doubles.memory_store import Call, MemoryStore
from tests.doubles.pages import PLANNED, SETTINGS
from tests.doubles.scripted_source import ERRORS, REFUSALS, rollout
from tests.doubles.warehouses import signal_of
from tests.unit.controller.fleets import GOOD, by_hand, writes

pytestmark = pytest.mark.simulation

FIRST, SECOND = (PlanStage(name, share, 300.0) for name, share in (("one", 4.0), ("two", 6.0)))
SLOW = SlowSettings("duckdb:///x", "select", "user_id", "day", (signal_of(),))


def shown(fleet: Fleet, replica: int = 0) -> dict[str, Any]:
    latest = fleet.replicas[replica].controller.latest
    assert latest is not None
    found: dict[str, Any] = status_document("a", latest, 1.0)["rollouts"][0]
    return found


def planned(advance: Advance = Advance.AUTOMATIC, **changes: Any) -> Fleet:
    fleet = Fleet(GOOD, rollout(rules=(ERRORS, REFUSALS), plan=Plan(advance, (FIRST, SECOND)), **changes))
    for number in range(2):
        fleet.replica(f"r{number}")
    fleet.arm(percent=FIRST.percent, stage=FIRST.stage)
    return fleet


def test_both_replicas_show_the_same_timeline() -> None:
    """Only one of them has recorded the tick."""
    fleet = planned()
    fleet.run(7)
    one, other = shown(fleet)["plan"], shown(fleet, 1)["plan"]
    assert [stage["standing"] for stage in one["stages"]] == ["now", "to come"]
    assert one["why"] == other["why"]
    assert one["why"].startswith("watched: judged for ")


def test_a_replica_whose_record_is_overtaken_shows_it_too() -> None:
    """Both have judged the same tick, and the other one was quicker to write it down."""
    fleet = planned()
    fleet.run(4)
    fleet.replicas[0].asleep = True
    overtaken = []

    def overtake(call: Call) -> None:
        record = [write for write in writes(call) if write.key == keys.plan_progress("copilot")]
        if record:
            overtaken.append(MemoryStore(fleet.server, "other").commit((), record))

    fleet.replicas[1].fail_store(overtake)
    fleet.run(1)
    assert overtaken
    assert shown(fleet, 1)["plan"]["why"].startswith("watched: judged for ")
    assert "judged for 0s" not in shown(fleet, 1)["plan"]["why"]


def test_a_hold_is_shown_while_the_stage_is_young() -> None:
    fleet = planned()
    fleet.run(3)
    hold = hold_document(Hold("wait for legal", "ann"), rollout="copilot", at=START)
    MemoryStore(fleet.server, "person").commit((), (Put(keys.hold("copilot"), hold),))
    fleet.run(1)
    assert "ann holds it: wait for legal" in shown(fleet)["plan"]["why"]


def test_a_trip_ends_what_is_shown() -> None:
    fleet = planned()
    fleet.run(3)
    fleet.person.trip(by_hand())
    fleet.run(1)
    plan = shown(fleet)["plan"]
    assert {stage["standing"] for stage in plan["stages"]} == {"to come"}
    assert "which ends the plan" in plan["why"]


def test_pages_of_a_plan_have_its_timeline() -> None:
    fleet = planned()
    fleet.run(40)
    first, last = fleet.pages(PageKind.ADVANCED, PageKind.COMPLETE)
    assert [(row.stage, row.standing) for row in first.stages] == [("one", "done"), ("two", "now")]
    assert [row.standing for row in last.stages] == ["done", "now"]
    assert first.payload["plan"]["why"] == "two has just begun and is watched for 5m"


def test_a_step_by_a_person_is_told_in_the_thread_of_ready() -> None:
    fleet = planned(Advance.PROPOSED)
    fleet.run(20)
    (ready,) = fleet.pages(PageKind.READY)
    flag = fleet.flag()
    assert flag is not None
    step = plan_events.advanced(
        flag, "why", before=flag, by="ann", timeline=PLANNED, at=START, settings=SETTINGS
    )  # fmt: skip
    assert step.follows == ready.id


def test_slow_signals_are_shown_with_what_the_store_has() -> None:
    fleet = planned(slow=SLOW)
    fleet.run(2)
    (one,) = shown(fleet)["slow"]
    assert (one["verdict"], one["sentence"]) == ("UNKNOWN", "no evaluation of this generation yet; there is one a day")
    healthy = SignalStanding(signal_of().name, Verdict.HEALTHY, None, "fine", worse=0.2, limit=3.0)
    found = SlowStanding("copilot", 1, START, START, (healthy,))
    MemoryStore(fleet.server, "job").commit((), (Put(keys.slow_standing("copilot"), to_document(found)),))
    fleet.run(1)
    (one,) = shown(fleet)["slow"]
    assert (one["verdict"], one["worse"]) == ("HEALTHY", 0.2)


def test_half_a_character_in_the_store_hides_no_status() -> None:
    """JSON can hold a lone surrogate, and UTF-8 cannot: `status`, `ready` and `advance` read this document."""
    fleet = planned()
    fleet.run(3)
    hold = json.loads(hold_document(Hold("wait", "ann"), rollout="copilot", at=START)) | {"reason": "\ud800"}
    seen = json.loads(fleet.server.value(keys.plan_progress("copilot")) or b"")
    seen["rules"]["\ud800"] = next(iter(seen["rules"].values()))
    store = MemoryStore(fleet.server, "person")
    store.commit((), (Put(keys.hold("copilot"), json.dumps(hold).encode()),))
    store.commit((), (Put(keys.plan_progress("copilot"), json.dumps(seen).encode()),))
    fleet.run(1)
    latest = fleet.replicas[0].controller.latest
    (one,) = json.loads(status_json("a", latest, 1.0))["rollouts"]
    assert "ann holds it: ?" in one["plan"]["why"]


def test_without_a_plan_nothing_is_read_for_it() -> None:
    fleet = Fleet(GOOD, rollout())
    fleet.replica("a")
    fleet.arm()
    reads: list[str] = []
    fleet.replicas[0].fail_store(lambda call: reads.append(str(call.subject)))
    fleet.run(3)
    assert not [read for read in reads if "plan-progress" in read or "slow-standings" in read or "/holds/" in read]
    assert (shown(fleet)["plan"], shown(fleet)["slow"]) == (None, [])
