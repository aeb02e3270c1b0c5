"""The gate: everything that must hold before a rollout leaves its stage, each as one check.

The gate passes if every check passes. An input that is missing, and a check that fails unexpectedly, are NOT_YET.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from killswitch.flags.flag import AA, SHADOW
from killswitch.plan import Plan, PlanStage
from killswitch.ramps import condition_checks, watch_checks
from killswitch.ramps.gate_check import CheckOutcome, GateCheck, failed, not_yet
from killswitch.ramps.gate_inputs import GateInputs
from killswitch.wording import span_in_words

SEES = "sees"
Group = Callable[[], GateCheck | Iterable[GateCheck]]


@dataclass(frozen=True, slots=True)
class Gate:
    """The checks of one stage of one generation, which began at ``began_at``."""

    generation: int
    stage: str
    began_at: float
    checks: tuple[GateCheck, ...]

    @property
    def ready(self) -> bool:
        """Whether every check passes. No check at all is no proof."""
        return bool(self.checks) and all(check.outcome is CheckOutcome.PASS for check in self.checks)

    @property
    def reason(self) -> str:
        """Why it is not ready, in one sentence: what fails, else what takes longest. Empty if it is ready."""
        for outcome in (CheckOutcome.FAIL, CheckOutcome.NOT_YET):
            some = [check for check in self.checks if check.outcome is outcome]
            if some:
                worst = max(some, key=lambda check: float("inf") if check.wait is None else check.wait)
                wait = "" if worst.wait is None else f", in about {span_in_words(worst.wait)} at today's traffic"
                return f"{worst.name}: {worst.sentence}{wait}"
        return "" if self.checks else "nothing was checked"

    @property
    def sight(self) -> str:
        """How small a regression the stage would have shown, in one sentence; empty in stages without users."""
        return next((check.sentence for check in self.checks if check.name == SEES), "")

    @property
    def wait(self) -> float | None:
        """Seconds until all that is missing is there; None if it is ready, or if no one can say."""
        waits = [check.wait for check in self.checks if check.outcome is not CheckOutcome.PASS]
        known = [wait for wait in waits if wait is not None]
        return max(known) if known and len(known) == len(waits) else None

    @property
    def least_wait(self) -> float:
        """Seconds until what can be foreseen is there; the rest may take longer."""
        waits = (check.wait for check in self.checks if check.outcome is not CheckOutcome.PASS)
        return max((wait for wait in waits if wait is not None), default=0.0)

    def document(self) -> list[dict[str, Any]]:
        return [check.document() for check in self.checks]


def gate(plan: Plan, inputs: GateInputs) -> Gate:
    """The gate of the stage that the flag is in; without such a stage in the plan, one check that fails."""
    flag = inputs.flag
    places = [place for place, stage in enumerate(plan.stages) if stage.stage == flag.stage]
    if not flag.armed:
        checks: tuple[GateCheck, ...] = (failed("armed", f"it is {flag.state}, not armed"),)
    elif len(places) != 1 or plan.stages[places[0]].percent != flag.canary_percent:
        said = f"stage {flag.stage} with {flag.canary_percent:g}% is not in the plan"
        checks = (failed("stage", said),)
    else:
        checks = tuple(_checks(plan, places[0], inputs))
    return Gate(flag.generation, flag.stage, flag.stages[-1].at, checks)


def _checks(plan: Plan, place: int, inputs: GateInputs) -> Iterator[GateCheck]:
    stage = plan.stages[place]
    for name, group in _groups(plan, stage, place, inputs).items():
        try:
            found = group()
            yield from (found,) if isinstance(found, GateCheck) else tuple(found)
        except Exception as error:  # noqa: BLE001  a bug of one check must not be a pass, nor hide the others
            yield not_yet(name, f"it could not be checked: {error!r:.200}")


def _groups(plan: Plan, stage: PlanStage, place: int, inputs: GateInputs) -> dict[str, Group]:
    """The checks that apply to this stage, by name."""
    watch, condition = watch_checks, condition_checks
    groups: dict[str, Group] = {
        "hold": lambda: condition.hold(inputs),
        "breach": lambda: watch.breach(inputs),
        "watched": lambda: watch.watched(stage, inputs),
        "healthy": lambda: watch.healthy(inputs),
        "known": lambda: watch.known(inputs),
    }
    if stage.stage == SHADOW:
        groups["shadow report"] = lambda: condition.shadow(inputs)
    else:
        groups["requests"] = lambda: watch.requests(inputs)
        groups["traffic"] = lambda: watch.traffic(inputs)
    if stage.stage not in (SHADOW, AA):
        groups["limits"] = lambda: watch.limits(inputs)
        groups[SEES] = lambda: watch.sees(inputs)
    if stage.stage == AA:
        groups["offsets"] = lambda: watch.offsets(inputs)
    groups["detects"] = lambda: watch.detects(stage, inputs)
    groups["promotion gate"] = lambda: condition.candidate(plan.stages[place:], inputs)
    groups["slow signals"] = lambda: condition.slow(inputs)
    groups["approvals"] = lambda: condition.approvals(stage, inputs)
    groups["control answers"] = lambda: condition.way_back(plan.stages[place:], inputs)
    groups["not_during"] = lambda: condition.not_during(plan, inputs)
    return groups
