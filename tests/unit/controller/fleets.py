"""Fleets of controllers over one in-memory store, and canaries that are good, or bad from a known moment on."""

from __future__ import annotations

from killswitch.cli.trip import request_by_hand
from killswitch.model import PageSettings
from killswitch.pages.page import PageKind
from killswitch.stores import Delete, Put, keys
from killswitch.trips.request import TripRequest
from tests.doubles.fleet import START, Fleet
from tests.doubles.memory_store import Call
from tests.doubles.scripted_source import Traffic, canary_from, rollout

ONSET = START + 600
BAD = Traffic(rate=canary_from(ONSET, error_rate=0.3), since=START)
BAD_SOON = Traffic(rate=canary_from(START + 90, error_rate=0.9), since=START)
ONSET_LATE = START + 1500
BAD_LATE = Traffic(rate=canary_from(ONSET_LATE, error_rate=0.3), since=START - 4000)
GOOD = Traffic(since=START)


def fleet_of(*names: str, script: Traffic = BAD, **changes: object) -> Fleet:
    fleet = Fleet(script, rollout(**changes))  # type: ignore[arg-type]  # fields of Rollout
    for name in names:
        fleet.replica(name)
    fleet.arm()
    return fleet


def assert_one_trip(fleet: Fleet, name: str = "copilot") -> None:
    assert len(fleet.flips(name)) == 1
    assert len(fleet.incidents(name)) == 1
    assert len([page for page in fleet.pages(PageKind.TRIPPED) if page.rollout == name]) == 1


def writes(call: Call) -> list[Put | Delete]:
    subject = call.subject if isinstance(call.subject, tuple) else ()
    return [write for write in subject if isinstance(write, Put | Delete)]


def flips(call: Call) -> bool:
    return any(write.key.startswith(keys.FLAGS) for write in writes(call))


def by_hand() -> TripRequest:
    return request_by_hand("copilot", "by hand", PageSettings())


def blind(fleet: Fleet, *, down: bool = True) -> None:
    for one in fleet.replicas:
        one.source.down = down
