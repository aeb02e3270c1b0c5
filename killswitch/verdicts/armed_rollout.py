"""One armed rollout: its rules, its flag, and the time it was armed."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Generic, TypeVar

from killswitch.flags.flag import Flag
from killswitch.model import Rollout
from killswitch.verdicts.baseline import Baseline
from killswitch.verdicts.shadow_stage import Unjudged

Told = TypeVar("Told")


@dataclass(frozen=True, slots=True)
class ArmedRollout:
    """A rollout as it is judged at one tick; it never changes.

    No window reaches back before ``armed_at`` (Unix seconds): older data must not trip this generation. It is the
    flag's own time. If the clock that dated the flag was ahead of the metric store's, it is the tick at which the
    generation was first seen. With a ``baseline`` (no control cohort at 100 %) the limits of ``rollout`` are plain
    numbers. In stage ``shadow`` ``rollout`` has the rules and cohorts that are judged there, and ``unjudged`` the other
    rules.
    """

    rollout: Rollout
    flag: Flag
    armed_at: float
    baseline: Baseline | None = None
    unjudged: tuple[Unjudged, ...] = ()


class PerArmedRollout(Generic[Told]):
    """A cache of what follows from an armed rollout alone: thousands of them stay the same from tick to tick.

    Other rules, another flag, another arming or baseline make another `ArmedRollout`. The cache compares by identity
    and keeps one result per rollout.
    """

    def __init__(self, work_out: Callable[[ArmedRollout], Told]) -> None:
        self._work_out = work_out
        self._known: dict[str, tuple[ArmedRollout, Told]] = {}

    def __call__(self, armed: ArmedRollout) -> Told:
        known = self._known.get(armed.rollout.name)
        if known is None or known[0] is not armed:
            known = self._known[armed.rollout.name] = (armed, self._work_out(armed))
        return known[1]

    def keep(self, rollouts: AbstractSet[str]) -> None:
        """Forget all rollouts but these."""
        for gone in self._known.keys() - rollouts:
            del self._known[gone]
