"""Trips of a complete rollout: a controller's that was under way, and a person's, send everyone back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from killswitch.flags.document import to_document
from killswitch.flags.transitions import Actor
from killswitch.model import PageSettings
from killswitch.stores import Put, keys
from killswitch.trips.request import TripOutcome, TripRequest
from killswitch.trips.switch import Switch
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import MemoryServer, MemoryStore
from tests.doubles.pages import AT, armed, completed, incident_draft


@pytest.mark.parametrize("actor", [Actor.CONTROLLER, Actor.PERSON])
@pytest.mark.parametrize("together", [False, True])
def test_a_trip_of_a_complete_rollout_sends_everyone_back(actor: Actor, together: bool) -> None:
    """The controller judged the armed flag; the person was a moment quicker to complete it."""
    server = MemoryServer(VirtualClock())
    store = MemoryStore(server, "a")
    switch = Switch(store, wall=lambda: AT, by="a", origin="test")
    done = completed(replace(armed(), canary_percent=99.0, stage="full"))
    store.commit((), (Put(keys.flag(done.rollout), to_document(done)),))
    request = TripRequest(
        incident_draft(), generation=done.generation, actor=actor, at=AT, page=PageSettings(), armed_at=done.armed_at,
        stored=switch.stored(done.rollout) if together else None,
    )  # fmt: skip
    result = switch.trip_together([request])[0] if together else switch.trip(request)
    assert getattr(result, "outcome", None) is TripOutcome.TRIPPED
    flag = switch.required(done.rollout).flag
    assert flag is not None
    assert (flag.state, flag.control, flag.canary_percent) == ("tripped", "model-old", 0.0)
    incident = json.loads(server.value(keys.incident(done.rollout, 1)) or b"")
    assert (incident["control"], incident["canary"], incident["percent_before"]) == ("model-old", "model-new", 100.0)


@pytest.mark.parametrize("complete", [False, True])
def test_a_trip_left_in_a_document_hides_no_new_one(complete: bool) -> None:
    """Someone has armed the flag by hand in the store, and left what was said of the trip before."""
    server = MemoryServer(VirtualClock())
    store = MemoryStore(server, "a")
    switch = Switch(store, wall=lambda: AT, by="a", origin="test")
    flag = replace(armed(), canary_percent=99.0, stage="full")
    flag = completed(flag) if complete else flag
    left: dict[str, object] = {"at": "2026-01-01T00:00:00Z", "by": "x", "reason": "r", "rules": []}
    left |= {"incident": "support-copilot.1"}
    left |= {"stage_before": "ramp_1", "percent_before": 1.0}
    document = json.loads(to_document(flag)) | {"trip": left}
    store.commit((), (Put(keys.flag(flag.rollout), json.dumps(document).encode()),))
    request = TripRequest(
        incident_draft(), generation=flag.generation, actor=Actor.CONTROLLER, at=AT, page=PageSettings(),
        armed_at=flag.armed_at,
    )  # fmt: skip
    assert switch.trip(request).outcome is TripOutcome.TRIPPED
    assert switch.required(flag.rollout).flag.state == "tripped"  # type: ignore[union-attr]
