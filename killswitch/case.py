"""A case: one armed rollout as it stands, with its rules, its flag and the moment it was armed."""

from __future__ import annotations

from dataclasses import dataclass

from killswitch.baseline import Baseline
from killswitch.flag import Flag
from killswitch.model import Rollout


@dataclass(frozen=True, slots=True)
class Case:
    """``armed_at`` (Unix seconds) bounds every window from below: no older data may trip this generation.

    It is the flag's own, or, where a person's clock ran ahead of the metric store's, the tick at which the
    generation was first seen. With a ``baseline`` (no control cohort at 100 %) ``rollout`` has its limits as
    plain numbers.
    """

    rollout: Rollout
    flag: Flag
    armed_at: float
    baseline: Baseline | None = None
