"""What could not be read is UNKNOWN, wherever it is said: sentences, status, page, metrics."""

from __future__ import annotations

import math

from killswitch.errors import BadTransaction
from killswitch.fleet.session import Session
from killswitch.fleet.store_outage import StoreOutage
from killswitch.model import PageSettings
from killswitch.pages.page import PageKind
from killswitch.status.document import status_document
from killswitch.status.web_page import status_page
from killswitch.stores import Put, keys
from tests.doubles.fleet import START, Fleet, Replica, no_fault
from tests.doubles.memory_store import Call, Fault, MemoryStore
from tests.doubles.scripted_source import ERRORS, Traffic, rollout

GOOD = Traffic(since=START)


def fleet_of_one() -> tuple[Fleet, Replica]:
    fleet = Fleet(GOOD, rollout(rules=(ERRORS,)))
    return fleet, fleet.replica("a")


def said(replica: Replica) -> dict[str, object]:
    document = status_document("a", replica.controller.latest, 0.0)
    (one,) = document["rollouts"]
    assert "unknown" not in one["state"] or ">unknown<" in status_page(document)
    return dict(one)


def is_nan(replica: Replica) -> bool:
    names = ("killswitch_rollout_armed", "killswitch_canary_percent")
    return all(math.isnan(replica.sample(name, rollout="copilot")) for name in names)


def test_a_replica_that_never_read_the_store_does_not_say_no_flag() -> None:
    fleet, replica = fleet_of_one()
    replica.fail_store(lambda _: Fault.FAIL_BEFORE)
    fleet.run(2)
    one = said(replica)
    assert "[flag UNKNOWN, never read]" in str(one["sentence"])
    assert "no flag" not in str(one["sentence"])
    assert (one["state"], one["canary_percent"]) == ("unknown", None)
    assert is_nan(replica)
    assert replica.sample("killswitch_flags_read_timestamp_seconds") == 0.0


def test_a_store_freeze_after_arming_does_not_report_no_flag() -> None:
    """A rollout that was armed just before the store froze is not reported to have no flag."""
    fleet, replica = fleet_of_one()
    fleet.run(2)
    assert said(replica)["state"] == "absent"
    fleet.arm()
    replica.fail_store(lambda _: Fault.FAIL_BEFORE)
    fleet.run(2)
    one = said(replica)
    assert str(one["sentence"]).startswith("[flag UNKNOWN, as last read at ")
    assert (one["state"], one["canary_percent"]) == ("unknown", None)
    assert one["state_as_of"] is not None
    assert is_nan(replica)
    replica.fail_store(no_fault)
    fleet.run(2)
    assert (said(replica)["state"], said(replica)["state_as_of"]) == ("armed", None)
    assert replica.sample("killswitch_rollout_armed", rollout="copilot") == 1.0


def test_a_flag_known_from_before_is_said_to_be_so() -> None:
    fleet, replica = fleet_of_one()
    fleet.arm()
    fleet.run(2)
    replica.fail_store(lambda _: Fault.FAIL_BEFORE)
    fleet.run(2)
    one = said(replica)
    assert one["state"] == "armed"
    assert ", as last read at " in str(one["sentence"]).partition("]")[0]
    assert is_nan(replica)


# --- what is no outage of the store ---------------------------------------------------------------


def test_a_transaction_refused_for_its_form_is_not_an_outage() -> None:
    """A transaction that the store refuses for its form is paged as that. It is not an outage."""
    fleet, replica = fleet_of_one()
    fleet.arm()
    fleet.run(3)

    def too_large(call: Call) -> None:
        if call.name == "commit" and any(write.key.startswith(keys.OUTAGES) for write in call.subject):  # type: ignore[attr-defined]  # writes
            raise BadTransaction("a commit of 2000000 bytes is over the limit")

    replica.fail_store(too_large)
    replica.source.down = True
    fleet.run(10)
    assert fleet.told(PageKind.CANNOT_ACT) == []
    (page,) = fleet.told(PageKind.INTERNAL_ERROR)
    assert "form" in page.headline
    assert "over the limit" in page.why
    assert replica.sample("killswitch_store_up") == 1.0


def test_two_replicas_of_one_name_are_paged_but_not_an_outage() -> None:
    """Two living replicas with one name are paged as that, and not as an outage."""
    fleet, replica = fleet_of_one()
    fleet.arm()
    fleet.run(3)
    replica.asleep = True
    fleet.clock.advance(20.0)
    other = Session(MemoryStore(fleet.server, "other"), "a", monotonic=fleet.clock.monotonic)
    other.guard()
    replica.asleep = False
    for _ in range(8):
        fleet.clock.advance(5.0)
        other.renew()
        replica.pulse()
        replica.cycle()
    assert fleet.told(PageKind.CANNOT_ACT) == []
    (page,) = fleet.told(PageKind.NAME_TAKEN)
    assert "KILLSWITCH_CONTROLLER_ID" in page.why


def test_no_heartbeat_under_its_name_without_a_session() -> None:
    """Its lease lives on where the key alone was taken: the comparison keeps the heartbeat back, not the lease."""
    fleet, replica = fleet_of_one()
    fleet.arm()
    fleet.run(3)
    beat = fleet.server.get(keys.controller("a"))
    session_key = keys.claim("sessions/a")
    fleet.server.commit("an operator", (), (Put(session_key, b'{"owner": "another"}'),))
    replica.source.down = True
    fleet.run(6)
    after = fleet.server.get(keys.controller("a"))
    assert after is None or (beat is not None and after.mod_revision == beat.mod_revision)
    assert fleet.pages(PageKind.BLIND) == []


def test_each_of_two_teams_with_a_breach_is_told_that_it_waits() -> None:
    """The second breach of one outage is no less urgent than the first."""
    told: list[tuple[str, str | None]] = []
    now = [100.0]
    outage = StoreOutage(
        controller_id="a", patience=15, send=lambda page: told.append((page.why, page.slack)),
        monotonic=lambda: now[0], wall=lambda: 1.7e9 + now[0],
    )  # fmt: skip
    outage.failed("down", writing=True)
    one, two = PageSettings(slack="#one"), PageSettings(slack="#two")
    outage.check(["a", "b"], ["a: errors"], concerned=[], in_danger=[one])
    outage.check(["a", "b"], ["a: errors", "b: latency"], concerned=[], in_danger=[one, two])
    outage.check(["a", "b"], ["a: errors", "b: latency"], concerned=[], in_danger=[one, two])
    assert [slack for why, slack in told if "b: latency" in why] == ["#two", "#one"]
