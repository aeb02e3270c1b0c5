"""A case: one armed rollout as it stands, with its rules, its flag and the moment it was armed."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Generic, TypeVar

from killswitch.flags.flag import Flag
from killswitch.model import Rollout
from killswitch.verdicts.baseline import Baseline

Told = TypeVar("Told")


@dataclass(frozen=True, slots=True)
class ArmedRollout:
    """``armed_at`` (Unix seconds) bounds every window from below: no older data may trip this generation.

    It is the flag's own, or, where a person's clock ran ahead of the metric store's, the tick at which the
    generation was first seen. With a ``baseline`` (no control cohort at 100 %) ``rollout`` has its limits as
    plain numbers.
    """

    rollout: Rollout
    flag: Flag
    armed_at: float
    baseline: Baseline | None = None


class PerArmedRollout(Generic[Told]):
    """What follows from a case alone, worked out once for each: thousands of cases stay the same from tick to tick.

    A case never changes: other rules, another flag, arming or baseline are another case, and only the very same
    object is known again. One case a rollout is kept.
    """

    def __init__(self, work_out: Callable[[ArmedRollout], Told]) -> None:
        self._work_out = work_out
        self._known: dict[str, tuple[ArmedRollout, Told]] = {}

    def __call__(self, case: ArmedRollout) -> Told:
        known = self._known.get(case.rollout.name)
        if known is None or known[0] is not case:
            known = self._known[case.rollout.name] = (case, self._work_out(case))
        return known[1]

    def keep(self, rollouts: AbstractSet[str]) -> None:
        """Forget all others."""
        for gone in self._known.keys() - rollouts:
            del self._known[gone]
