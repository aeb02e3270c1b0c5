"""Counting the routers that have acted on a revision, from reports that anybody may have written."""

from __future__ import annotations

import json
from typing import Any

from killswitch.router.presence import Report, to_document
from killswitch.stores import Put, keys
from killswitch.trips.router_progress import routers_followed
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import MemoryServer, MemoryStore

TRIP = 40  # the revision asked for


def report(router: str = "r1", **changes: Any) -> Report:
    fields = {"id": router, "rollout": "copilot", "revision": TRIP, "generation": 3, "standing": "tripped"}
    return Report(**{**fields, "canary_percent": 0.0, "at": 1.0, **changes})


def store_of(*reports: Report | tuple[str, bytes]) -> MemoryStore:
    store = MemoryStore(MemoryServer(VirtualClock()))
    for one in reports:
        name, value = (one.id, to_document(one)) if isinstance(one, Report) else one
        store.commit((), (Put(keys.router("copilot", name), value),))
    return store


def test_routers_at_the_revision_or_later_have_followed() -> None:
    """Routers at the trip's revision or a later one have followed. Earlier ones have not."""
    store = store_of(report("a"), report("b", revision=TRIP + 1), report("late", revision=TRIP - 1))
    assert routers_followed(store, "copilot", TRIP) == {"followed": 2, "known": 3}


def test_without_a_report_or_a_revision_there_is_nothing_to_say() -> None:
    assert routers_followed(store_of(), "copilot", TRIP) is None
    assert routers_followed(store_of(report()), "copilot", None) is None
    assert routers_followed(store_of(report()), "another", TRIP) is None


def test_the_age_of_a_report_says_nothing() -> None:
    """The age of a report says nothing, because routers write only changes."""
    assert routers_followed(store_of(report(at=1.0)), "copilot", TRIP) == {"followed": 1, "known": 1}


def test_a_report_ends_with_its_routers_lease() -> None:
    clock = VirtualClock()
    store = MemoryStore(MemoryServer(clock))
    lease = store.grant(60.0)
    store.commit((), (Put(keys.router("copilot", "r1"), to_document(report()), lease),))
    assert routers_followed(store, "copilot", TRIP) == {"followed": 1, "known": 1}
    clock.advance(61.0)
    assert routers_followed(store, "copilot", TRIP) is None


def test_a_report_of_another_rollout_or_router_does_not_count() -> None:
    """A report of another rollout or another router under this key has not followed."""
    strange = to_document(report("r1", rollout="another"))
    copied = to_document(report("r1"))
    store = store_of(("r1", strange), ("r2", copied), report("r3"))
    assert routers_followed(store, "copilot", TRIP) == {"followed": 1, "known": 3}


def test_a_rollout_whose_name_begins_like_this_one_is_not_counted() -> None:
    store = store_of(report())
    store.commit((), (Put(keys.router("copilot-2", "r9"), to_document(report("r9", rollout="copilot-2"))),))
    assert routers_followed(store, "copilot", TRIP) == {"followed": 1, "known": 1}


def test_an_unreadable_report_is_known_and_has_not_followed() -> None:
    """A report of a later format, or of garbage, is known and has not followed."""
    later = json.loads(to_document(report("r1"))) | {"format": 2}
    store = store_of(("r1", json.dumps(later).encode()), ("r2", b"\xff{"), ("r3", b"x" * 100_000), report("r4"))
    assert routers_followed(store, "copilot", TRIP) == {"followed": 1, "known": 4}


def test_a_router_that_still_serves_the_canary_has_not_followed() -> None:
    """A router that still lets users into a tripped canary has not followed, at any revision."""
    store = store_of(report("good"), report("disobedient", standing="armed", canary_percent=5.0))
    assert routers_followed(store, "copilot", TRIP, tripped=True) == {"followed": 1, "known": 2}
    assert routers_followed(store, "copilot", TRIP) == {"followed": 2, "known": 2}
