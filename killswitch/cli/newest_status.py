"""Combines what a controller said with the flags in the store, which are newer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from killswitch.errors import KillswitchError
from killswitch.flags.flag import Flag
from killswitch.flags.incident import Incident
from killswitch.flags.pinning import stopped_in_words
from killswitch.status.document import trip_document
from killswitch.stores import Store
from killswitch.trips.incidents import incident_of_trip, incidents_of
from killswitch.trips.stored_flags import StoredFlag


def unjudged(rollout: str) -> dict[str, Any]:
    """The document of a rollout that no controller has judged."""
    return {
        "rollout": rollout,
        "state": "absent",
        "state_as_of": None,
        "generation": None,
        "stage": None,
        "canary_percent": 0.0,
        "shadow_percent": 0.0,
        "shadow_classes": {},
        "control": None,
        "canary": None,
        "action": "none",
        "sentence": "not judged yet",
        "last_good": None,
        "trip": None,
        "findings": [],
        "spend": [],
        "plan": None,
        "slow": [],
    }


def as_stored(
    said: Mapping[str, Any], stored: StoredFlag, incident: Incident | None = None, *, reached: bool = True
) -> dict[str, Any]:
    """What a controller said of a rollout, with the stored flag. Verdicts on another generation or state are left out.

    ``incident``: the trip's, if the flag is tripped and the incident could be read. ``reached``: whether a controller
    could be asked; if not, the rollout may well have been judged.
    """
    name, flag = said["rollout"], stored.flag
    if flag is None:
        gone = said["state"] != "absent"
        unsaid = {"sentence": "it has no flag: routers send everything to control"}
        return {**said, **unjudged(name), **unsaid} if gone else dict(said)
    one = dict(said)
    if any(one.get(name) != now for name, now in (("generation", flag.generation), ("stage", flag.stage))):
        one |= {"plan": None}  # its dates are about another stage
    if one["generation"] != flag.generation:
        one |= {"slow": []}
    if one["state"] != flag.state or one["generation"] != flag.generation:
        unjudged_as = "not judged yet" if reached else "verdicts UNKNOWN: no controller was reached"
        one["sentence"] = unjudged_as if flag.armed else stopped_in_words(flag)
        one |= {"findings": [], "action": "none", "plan": None}
    return one | {
        "state": flag.state.value,
        "state_as_of": None,
        "generation": flag.generation,
        "stage": flag.stage,
        "canary_percent": flag.canary_percent,
        "shadow_percent": flag.shadow_percent,
        "shadow_classes": dict(flag.shadow_classes),
        "control": flag.control,
        "canary": flag.canary,
        "revision": stored.revision,
        "incident": flag.trip.incident if flag.trip is not None else None,
        "trip": trip_document(flag, incident),
    }


def tripped_on(store: Store, flag: Flag | None) -> Incident | None:
    """The incident of a tripped flag, None if it cannot be read: the flag can be shown without it."""
    if flag is None or flag.trip is None:
        return None
    try:
        return incident_of_trip(incidents_of(store, flag.rollout), flag)
    except KillswitchError:
        return None
