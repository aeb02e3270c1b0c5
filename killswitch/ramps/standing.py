"""Where a rollout is in its plan, from what is known at one tick: its gate, its next step and its timeline. Pure.

What a controller does, what `killswitch plan` and `ready` print, the status and the pages all come from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from killswitch.flags.flag import Flag
from killswitch.plan import Plan
from killswitch.ramps.gate import Gate, gate
from killswitch.ramps.gate_inputs import GateInputs, Missing
from killswitch.ramps.next_step import NextStep, next_step
from killswitch.ramps.timeline import Timeline, timeline


@dataclass(frozen=True, slots=True)
class PlanStanding:
    """A rollout with a flag in its plan."""

    plan: Plan
    flag: Flag
    gate: Gate
    step: NextStep
    timeline: Timeline

    def document(self) -> dict[str, Any]:
        """As JSON, for the status and `killswitch plan`."""
        return {"advance": self.plan.advance.value, **self.timeline.document()}


@dataclass(frozen=True, slots=True)
class PlanLook:
    """What is known of one plan, so that its standing can be worked out when someone asks for it.

    ``tick``: the newest tick, of the metric store; None if no one has said what time it is there.
    """

    plan: Plan
    inputs: GateInputs
    tick: float | None

    @property
    def standing(self) -> PlanStanding:
        plan, inputs = self.plan, self.inputs
        watched = None if isinstance(inputs.progress, Missing) else inputs.progress
        found = gate(plan, inputs)
        step = next_step(plan, inputs.flag, watched, found, now=inputs.now, tick=self.tick)
        shown = timeline(plan, inputs.flag, watched, found, step, now=inputs.now)
        return PlanStanding(plan, inputs.flag, found, step, shown)

    def document(self) -> dict[str, Any]:
        return self.standing.document()
