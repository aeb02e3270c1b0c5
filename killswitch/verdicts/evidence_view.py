"""What is known of one rule's evidence after its last tick."""

from __future__ import annotations

from typing import NamedTuple

from killswitch.model import Unreadable


class EvidenceView(NamedTuple):
    """What is known of one rule after its last tick.

    ``value``: 1 in ``value`` by luck; ``needed``: where it becomes a breach. ``events_*`` of ``trials_*``
    since ``since`` (Unix seconds). ``updated_at``: the last tick that moved it, None before the first;
    ``until``: the last tick that was taken in, whether it held anything or not.
    """

    value: float
    needed: float
    since: float | None
    events_canary: float
    trials_canary: float
    events_control: float
    trials_control: float
    updated_at: float | None
    until: float
    warming_up: bool
    problem: Unreadable | None
