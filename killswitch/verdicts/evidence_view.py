"""One rule's evidence after its last tick, as the judge and the pages see it."""

from __future__ import annotations

from typing import NamedTuple

from killswitch.model import Unreadable


class EvidenceView(NamedTuple):
    """One rule's evidence after its last tick.

    ``value``: the chance of this by luck is at most 1 in ``value``. ``needed``: from this value on it is a breach.
    ``events_*`` and ``trials_*``: the counts since ``since`` (Unix seconds). ``updated_at``: the last tick that moved
    the evidence, None before the first. ``until``: the last tick taken in, with or without data.
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
