"""What a rule file says about drills. Plain values; times are seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DrillSettings:
    """When a rollout is drilled by itself, and when a person may drill it live.

    ``every``: days between two scheduled drills, None for none. ``at``: seconds after midnight in ``time_zone``.
    ``quiet``: cron expressions in ``time_zone``; a live drill begins only in a minute that one of them names.
    """

    every: int | None = None
    at: float = 10_800.0
    time_zone: str = "UTC"
    quiet: tuple[str, ...] = ()
