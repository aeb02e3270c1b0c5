"""Which rollouts need a person, and why, from the JSON of the status: the order of the status page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from killswitch.model import Verdict
from killswitch.wording import counted


class Need(StrEnum):
    """The groups of the page, in their order."""

    PERSON = "Needs a person"
    WATCH = "To watch"
    NOTHING = "Fine"
    IDLE = "No canary traffic"


@dataclass(frozen=True, slots=True)
class Attention:
    """``rank``: the smaller, the sooner within its group; ``why`` in a few words, "" where there is nothing to say."""

    need: Need
    rank: int
    why: str = ""


def attention(one: Mapping[str, Any]) -> Attention:
    """What a rollout of `status_document` needs."""
    state = one["state"]
    if state in ("unreadable", "unknown"):
        return Attention(Need.PERSON, 0, "its flag cannot be read")
    if not one.get("monitored", True):
        return Attention(Need.PERSON, 1, "not monitored")
    if state in ("tripped", "pinned"):
        return _stopped(one, state)
    if state == "armed":
        return _armed(one)
    return Attention(Need.IDLE, 0 if state == "complete" else 1)


def _stopped(one: Mapping[str, Any], state: str) -> Attention:
    taken = (one.get("trip") or {}).get("acknowledged")
    if taken is not None:
        return Attention(Need.PERSON, 5, f"{state}; {taken['by']} looks after it")
    return Attention(Need.PERSON, 2 if state == "tripped" else 6, state)


def _armed(one: Mapping[str, Any]) -> Attention:
    verdicts = [finding["verdict"] for finding in one["findings"]]
    plan = one.get("plan")

    def rules(verdict: Verdict) -> str:
        return counted(verdicts.count(verdict), "rule")

    found = (
        (one["action"] == "blind", Attention(Need.PERSON, 3, "blind: no rule has a usable verdict")),
        (Verdict.BREACH in verdicts, Attention(Need.PERSON, 4, f"{rules(Verdict.BREACH)} in breach")),
        (Verdict.SUSPECT in verdicts, Attention(Need.WATCH, 0, f"{rules(Verdict.SUSPECT)} over the limit, not proven")),
        (
            plan is not None and "`killswitch " in str(plan["why"]),
            Attention(Need.WATCH, 1, "its plan waits for a person"),
        ),
        (Verdict.UNKNOWN in verdicts, Attention(Need.WATCH, 2, f"{rules(Verdict.UNKNOWN)} unknown")),
        (not verdicts, Attention(Need.WATCH, 3, "not judged yet")),
        (True, Attention(Need.NOTHING, 0, f"{rules(Verdict.HEALTHY)} healthy")),
    )
    return next(said for holds, said in found if holds)
