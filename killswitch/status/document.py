"""The status as one JSON document, for the API, the status page and the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from killswitch.flags.flag import Flag
from killswitch.flags.incident import Incident, finding_to_json
from killswitch.roles.seen import NO_ROLES, RolesSeen
from killswitch.timestamps import to_iso

if TYPE_CHECKING:  # `killswitch status` shows trips, and must not load the judge for that
    from killswitch.status.reports import CycleReport, RolloutReport

NO_TRIPS: Mapping[str, Incident] = {}


def status_document(
    controller_id: str,
    report: CycleReport | None,
    age: float | None,
    tripped_on: Mapping[str, Incident] = NO_TRIPS,
    roles: RolesSeen = NO_ROLES,
) -> dict[str, Any]:
    """All rollouts, each with its flag, its sentence and the findings of its rules. ``age``: of the cycle, in seconds.

    ``tripped_on``: the incidents of tripped rollouts, if they are known. ``roles``: as last read.
    """
    reports = report.reports if report is not None else {}
    rollouts = [_rollout(reports[name], tripped_on.get(name), roles) for name in sorted(reports)]
    return {**_head(controller_id, report, age), "roles": roles.document(), "rollouts": rollouts}


def status_json(
    controller_id: str,
    report: CycleReport | None,
    age: float | None,
    tripped_on: Mapping[str, Incident] = NO_TRIPS,
    roles: RolesSeen = NO_ROLES,
) -> bytes:
    """`status_document` as JSON, written rollout by rollout: the whole document of a thousand rollouts takes 30 MB."""
    reports = report.reports if report is not None else {}
    rollouts = b",".join(_json(_rollout(reports[name], tripped_on.get(name), roles)) for name in sorted(reports))
    head = _json({**_head(controller_id, report, age), "roles": roles.document(), "rollouts": []})
    return b"".join((head.removesuffix(b"]}"), rollouts, b"]}"))


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(errors="replace")


def _head(controller_id: str, report: CycleReport | None, age: float | None) -> dict[str, Any]:
    if report is None:
        return {"controller": controller_id, "tick": None, "age_seconds": None}
    return {
        "controller": controller_id,
        "tick": to_iso(report.tick),
        "age_seconds": None if age is None else round(age, 1),
        "cycle_seconds": round(report.seconds, 3),
        "store_problem": report.store_problem,
        "source_problem": report.source_problem,
    }


def explain_document(
    report: CycleReport,
    rollout: str,
    tripped_on: Mapping[str, Incident] = NO_TRIPS,
    roles: RolesSeen = NO_ROLES,
) -> dict[str, Any]:
    """One rollout's last decision in full, with the queries behind each number."""
    one = report.reports[rollout]
    document = _rollout(one, tripped_on.get(rollout), roles)
    rules = one.rules
    document["tick"] = to_iso(report.tick)
    if rules is not None:
        document["judged"] = {
            "decide": rules.decide.value,
            "mode": rules.mode.value,
            "window_seconds": one.window,
            "min_requests": rules.min_requests,
            "rules_file": rules.file,
            "rules_digest": rules.digest,
        }
    return document


def trip_document(flag: Flag | None, incident: Incident | None) -> dict[str, Any] | None:
    """What a tripped flag was tripped on, as of the trip; None for any other flag. Without incident, no findings."""
    if flag is None or flag.trip is None:
        return None
    trip = flag.trip
    return {
        "incident": trip.incident,
        # the time of the decision, as on the page and in the incident; the flag has the tick, some seconds earlier
        "at": to_iso(trip.at if incident is None else incident.decided_at),
        "by": trip.by,
        "automatic": None if incident is None else incident.automatic,
        "alert": None if incident is None or incident.alert is None else incident.alert.name,
        "reason": trip.reason,
        "rules": list(trip.rules),
        "acknowledged": None if incident is None else acknowledged_document(incident),
        "percent_before": trip.percent_before,
        "stage_before": trip.stage_before,
        "window_seconds": None if incident is None else incident.window,
        "findings": [] if incident is None else [finding_to_json(finding) for finding in incident.findings],
    }


def acknowledged_document(incident: Incident) -> dict[str, Any] | None:
    """Who looks after the incident, and since when; None for no one."""
    taken = incident.acknowledged
    return None if taken is None else {"by": taken.by, "origin": taken.origin, "at": to_iso(taken.at)}


def _rollout(one: RolloutReport, incident: Incident | None, roles: RolesSeen = NO_ROLES) -> dict[str, Any]:
    flag = one.flag
    return {
        "rollout": one.rollout,
        "state": one.state,
        "state_as_of": None if one.read.fresh or one.read.at is None else to_iso(one.read.at),
        "generation": flag.generation if flag else None,
        "stage": flag.stage if flag else None,
        "canary_percent": flag.canary_percent if flag else None if one.state == "unknown" else 0.0,
        "shadow_percent": flag.shadow_percent if flag else None if one.state == "unknown" else 0.0,
        "shadow_classes": dict(flag.shadow_classes) if flag else {},
        "control": flag.control if flag else (one.rules.control if one.rules else None),
        "canary": flag.canary if flag else (one.rules.canary if one.rules else None),
        "rests_on": None if flag is None else roles.rests_on.get((one.rollout, flag.generation)),
        "action": one.action,
        "monitored": not one.unwatched,
        "sentence": one.sentence,
        "last_good": to_iso(one.last_good) if one.last_good else None,
        "trip": trip_document(flag, incident),
        "window_seconds": one.window,
        "findings": [finding_to_json(finding) for finding in one.findings],
        "spend": [cap.document() for cap in one.caps],
        "plan": None if one.plan is None else one.plan.document(),
        "slow": [signal.document() for signal in one.slow],
    }
