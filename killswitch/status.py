"""What the newest cycle says, as one JSON document: for the API, the page and the command line."""

from __future__ import annotations

from typing import Any

from killswitch.incident import finding_to_json
from killswitch.reports import CycleReport, RolloutReport
from killswitch.timestamps import to_iso


def status_document(controller_id: str, report: CycleReport | None, age: float | None) -> dict[str, Any]:
    """All rollouts, each with its flag, its sentence and its rules' findings. ``age_seconds`` of the cycle."""
    if report is None:
        return {"controller": controller_id, "tick": None, "age_seconds": None, "rollouts": []}
    return {
        "controller": controller_id,
        "tick": to_iso(report.tick),
        "age_seconds": None if age is None else round(age, 1),
        "cycle_seconds": round(report.seconds, 3),
        "store_problem": report.store_problem,
        "source_problem": report.source_problem,
        "rollouts": [_rollout(report.reports[name]) for name in sorted(report.reports)],
    }


def explain_document(report: CycleReport, rollout: str) -> dict[str, Any]:
    """One rollout's last decision in full, with the queries behind each number."""
    one = report.reports[rollout]
    document = _rollout(one)
    rules = one.rules
    document["tick"] = to_iso(report.tick)
    if rules is not None:
        document["judged"] = {
            "decide": rules.decide.value,
            "mode": rules.mode.value,
            "window_seconds": rules.window,
            "min_requests": rules.min_requests,
            "rules_file": rules.file,
            "rules_digest": rules.digest,
        }
    return document


def _rollout(one: RolloutReport) -> dict[str, Any]:
    flag = one.flag
    return {
        "rollout": one.rollout,
        "state": flag.state.value if flag else "unreadable" if one.unreadable else "absent",
        "generation": flag.generation if flag else None,
        "stage": flag.stage if flag else None,
        "canary_percent": flag.canary_percent if flag else 0.0,
        "control": flag.control if flag else (one.rules.control if one.rules else None),
        "canary": flag.canary if flag else (one.rules.canary if one.rules else None),
        "action": one.action,
        "sentence": one.sentence,
        "last_good": to_iso(one.last_good) if one.last_good else None,
        "findings": [finding_to_json(finding) for finding in one.findings],
    }
