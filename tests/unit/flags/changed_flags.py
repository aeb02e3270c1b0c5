"""A flag that is armed, and one that is tripped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from killswitch.flags.completion import complete
from killswitch.flags.flag import Flag, arm, trip
from killswitch.flags.pinning import pin
from killswitch.flags.transitions import Actor

NOW = 1_776_608_531.0


def armed(percent: float = 5.0, stage: str = "ramp_5", **changes: Any) -> Flag:
    flag = arm(
        None, rollout="copilot", control="old", canary="new", percent=percent, stage=stage, now=NOW, by="ann", salt="s"
    )  # fmt: skip
    return replace(flag, **changes)


def tripped(flag: Flag | None = None, at: float = NOW + 60) -> Flag:
    return trip(
        flag or armed(), rollout="copilot", reason="refusals", rules=("refusal_rate",), incident="copilot.1", now=at,
        by="controller-a", actor=Actor.CONTROLLER,
    )  # fmt: skip


def completed(flag: Flag | None = None, at: float = NOW + 60, reason: str = "it is well") -> Flag:
    return complete(flag or armed(), rollout="copilot", reason=reason, now=at, by="ann", actor=Actor.PERSON)


def pinned(flag: Flag | None = None, at: float = NOW + 60) -> Flag:
    return pin(
        flag or armed(), rollout="copilot", reason="csat fell", rules=("csat",), incident="copilot.1", now=at,
        by="controller-a", actor=Actor.CONTROLLER,
    )  # fmt: skip
