"""Flags as the switch makes them: armed, and tripped by a controller."""

from __future__ import annotations

from killswitch.flags import flag as flags
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import Actor

ROLLOUT = "support-copilot"


def armed(generation: int = 1, percent: float = 50.0, stage: str = "custom") -> Flag:
    return flags.arm(
        None,
        rollout=ROLLOUT,
        control="model-old",
        canary="model-new",
        percent=percent,
        stage=stage,
        now=1_776_000_000.0,
        by="test",
        generation=generation,
    )


def tripped(generation: int = 1) -> Flag:
    return flags.trip(
        armed(generation),
        rollout=ROLLOUT,
        reason="refusals",
        rules=("refusal_rate",),
        incident="i",
        now=1_776_000_060.0,
        by="test",
        actor=Actor.CONTROLLER,
    )
