"""The timeline of a plan: stages done, now and to come, with dates, and why it is not moving in one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

from killswitch.flags.flag import Flag, StageEntry
from killswitch.plan import Plan, PlanStage
from killswitch.ramps.calendar import opens
from killswitch.ramps.gate import Gate
from killswitch.ramps.next_step import Move, NextStep
from killswitch.ramps.progress import StageProgress
from killswitch.timestamps import to_iso
from killswitch.wording import span_in_words


class StageStanding(StrEnum):
    DONE = "done"
    SKIPPED = "skipped"
    NOW = "now"
    TO_COME = "to come"


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One stage of the plan. ``begins`` and ``ends`` in Unix seconds.

    What lies ahead is the earliest that it can be; None where no one can say.
    """

    stage: PlanStage
    standing: StageStanding
    begins: float | None = None
    ends: float | None = None

    def document(self) -> dict[str, Any]:
        return {
            "stage": self.stage.stage,
            "percent": self.stage.percent,
            "for_seconds": self.stage.seconds,
            "standing": self.standing.value,
            "begins": None if self.begins is None else to_iso(self.begins),
            "ends": None if self.ends is None else to_iso(self.ends),
        }


@dataclass(frozen=True, slots=True)
class Timeline:
    """``why``: why it is not moving, or what comes next, in one sentence."""

    rows: tuple[TimelineRow, ...]
    why: str

    def document(self) -> dict[str, Any]:
        return {"stages": [row.document() for row in self.rows], "why": self.why}


def timeline(
    plan: Plan, flag: Flag, progress: StageProgress | None, gate: Gate, step: NextStep, *, now: float
) -> Timeline:
    """Where the rollout is in its plan. ``now``: Unix seconds."""
    spans = _spans(flag.stages)
    if flag.completion is not None:
        return Timeline(tuple(_past(stage, spans.get(stage.stage)) for stage in plan.stages), step.sentence)
    place = next((place for place, stage in enumerate(plan.stages) if stage.stage == flag.stage), None)
    if place is None or not flag.armed:
        return Timeline(tuple(TimelineRow(stage, StageStanding.TO_COME) for stage in plan.stages), step.sentence)
    rows = [_past(stage, spans.get(stage.stage)) for stage in plan.stages[:place]]
    stage = plan.stages[place]
    ends = _earliest_end(plan, stage, progress if progress is not None and progress.is_of(flag) else None, gate, now)
    rows.append(TimelineRow(stage, StageStanding.NOW, flag.stages[-1].at, ends))
    rows += _ahead(plan, plan.stages[place + 1 :], ends)
    return Timeline(tuple(rows), step.sentence)


def just_entered(plan: Plan, flag: Flag, *, now: float) -> Timeline:
    """Where the rollout is in its plan right after a step, when nothing of the new stage has been watched yet."""
    none = Gate(flag.generation, flag.stage, flag.stages[-1].at, ())
    stage = next((stage for stage in plan.stages if stage.stage == flag.stage), None)
    why = "it is complete"
    if stage is not None:
        why = f"{flag.stage} has just begun and is watched for {span_in_words(stage.seconds)}"
    return timeline(plan, flag, None, none, NextStep(Move.HOLD, None, why), now=now)


def _spans(entries: tuple[StageEntry, ...]) -> Mapping[str, tuple[float, float]]:
    """By stage, when its newest visit began and ended; the stage that the flag is in has not ended."""
    return {entry.stage: (entry.at, after.at) for entry, after in pairwise(entries)}


def _past(stage: PlanStage, span: tuple[float, float] | None) -> TimelineRow:
    return TimelineRow(stage, StageStanding.SKIPPED) if span is None else TimelineRow(stage, StageStanding.DONE, *span)


def _earliest_end(plan: Plan, stage: PlanStage, progress: StageProgress | None, gate: Gate, now: float) -> float | None:
    watched = 0.0 if progress is None else progress.watched
    wait = max(gate.least_wait, stage.seconds - watched, 0.0)
    return opens(plan, now + wait)


def _ahead(plan: Plan, stages: tuple[PlanStage, ...], begins: float | None) -> Iterator[TimelineRow]:
    for stage in stages:
        ends = None if begins is None else opens(plan, begins + stage.seconds)
        yield TimelineRow(stage, StageStanding.TO_COME, begins, ends)
        begins = ends
