"""Which flags let users into the canary."""

from __future__ import annotations

from dataclasses import replace

from killswitch.flags import flag
from killswitch.flags.bucketing import obeyed_percent, serves_canary
from killswitch.flags.transitions import State

ARMED = flag.arm(
    None, rollout="r", control="old", canary="new", percent=5.0, stage="ramp_5", now=1e9, by="me"
)  # fmt: skip


def test_an_armed_flag_past_its_shadow_stage_lets_its_percent_in() -> None:
    assert serves_canary(ARMED)
    assert obeyed_percent(ARMED) == 5.0


def test_a_shadowed_or_tripped_flag_lets_nobody_in() -> None:
    """A shadowed or tripped flag lets nobody into the canary, whatever its percent says."""
    for closed in (replace(ARMED, stage="shadow"), replace(ARMED, state=State.TRIPPED)):
        assert not serves_canary(closed)
        assert obeyed_percent(closed) == 0.0
