"""The words of a plan: its stages, what each must be able to see, and who takes the next step. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal


class Advance(StrEnum):
    """Who takes the next step of a plan: a person unasked, a person whom a page asks, or a controller."""

    BY_HAND = "by_hand"
    PROPOSED = "proposed"
    AUTOMATIC = "automatic"


@dataclass(frozen=True, slots=True)
class WorseBy:
    """How much worse than control: ``size`` times its value (``ratio``), or its rate plus ``size`` (``points``)."""

    kind: Literal["ratio", "points"]
    size: float

    def __str__(self) -> str:
        """``2x`` or ``3pp``, as it is written."""
        return f"{self.size:g}x" if self.kind == "ratio" else f"{self.size * 100.0:g}pp"


@dataclass(frozen=True, slots=True)
class PlanStage:
    """One stage of a plan, and what must hold before the rollout leaves it.

    ``percent`` 0 to 100 of users; ``seconds`` for which it must be judged. ``detects``: by rule, the regression that
    this stage must be able to see. ``approve``: who has to agree, by name.
    """

    stage: str
    percent: float
    seconds: float
    detects: Mapping[str, WorseBy] = field(default_factory=dict)
    approve: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """How a rollout goes up. ``not_during``: cron expressions in ``time_zone``; no step up begins in these minutes.

    ``rate`` and ``control_capacity`` in requests a second: of both cohorts together, and what control's model can
    take. ``control_retires``: Unix seconds from which control's model is gone. None where the file does not say.
    """

    advance: Advance
    stages: tuple[PlanStage, ...]
    not_during: tuple[str, ...] = ()
    time_zone: str = "UTC"
    rate: float | None = None
    control_capacity: float | None = None
    control_retires: float | None = None

    def stage_named(self, name: str) -> PlanStage | None:
        """The stage of this name, None if the plan has none."""
        return next((stage for stage in self.stages if stage.stage == name), None)

    @property
    def after_a_trip(self) -> PlanStage | None:
        """Where a re-arm begins: `ramp_1`, or without it the first stage that gives users the canary."""
        exposing = (stage for stage in self.stages if stage.stage not in ("shadow", "aa"))
        return self.stage_named("ramp_1") or next(exposing, None)
