"""What a plan would do before it starts: how long each stage takes, what it sees, and how many users it exposes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from killswitch.detectable import shares, trials_needed
from killswitch.flags.flag import AA, SHADOW
from killswitch.model import QuerySignal, Rollout, Rule
from killswitch.plan import Plan, PlanStage, WorseBy
from killswitch.ramps.calendar import opens
from killswitch.ramps.sensitivity import smallest_seen
from killswitch.timestamps import to_iso


@dataclass(frozen=True, slots=True)
class Detection:
    """A regression that a stage must see. ``seconds``: how long that takes, inf if no time is enough."""

    rule: str
    regression: WorseBy
    seconds: float


@dataclass(frozen=True, slots=True)
class StageForecast:
    """One stage, as it would go. ``takes``: seconds of traffic until `for` and every detection are there.

    ``begins`` and ``ends`` in Unix seconds, None after a stage that never ends. ``requests`` and ``users`` get the
    canary's answer; ``users`` None if no one has said how many there are. ``sees``: by rule, the smallest ratio to
    control's value that shows, None if none of those tried does.
    """

    stage: PlanStage
    takes: float
    begins: float | None
    ends: float | None
    requests: float
    users: float | None
    detections: tuple[Detection, ...]
    sees: tuple[tuple[str, float | None], ...]

    def document(self) -> dict[str, Any]:
        def finite(seconds: float) -> float | None:
            return round(seconds) if math.isfinite(seconds) else None

        return {
            "stage": self.stage.stage,
            "percent": self.stage.percent,
            "for_seconds": self.stage.seconds,
            "takes_seconds": finite(self.takes),
            "begins": None if self.begins is None else to_iso(self.begins),
            "ends": None if self.ends is None else to_iso(self.ends),
            "canary_requests": finite(self.requests),
            "canary_users": None if self.users is None else round(self.users),
            "detects": [
                {"rule": one.rule, "regression": str(one.regression), "takes_seconds": finite(one.seconds)}
                for one in self.detections
            ],
            "sees_ratio": dict(self.sees),
        }


def forecast(
    rollout: Rollout, plan: Plan, *, rate: float, starts: float, users: float | None = None
) -> tuple[StageForecast, ...]:
    """Every stage of the plan, from ``starts`` (Unix seconds) on, if nothing goes wrong.

    ``rate``: requests a second of both cohorts; ``users``: how many there are in a day. Rates are taken for what they
    usually are, and requests for independent ones, so real traffic takes longer.
    """
    found: list[StageForecast] = []
    begins: float | None = opens(plan, starts)
    for stage in plan.stages:
        detections = tuple(_detections(rollout, stage, rate))
        takes = max([stage.seconds, *(one.seconds for one in detections)])
        ends = None if begins is None or not math.isfinite(takes) else opens(plan, begins + takes)
        seen = stage.stage not in (SHADOW, AA)
        share = stage.percent / 100.0 if seen else 0.0
        found.append(
            StageForecast(
                stage,
                takes,
                begins,
                ends,
                rate * (takes if math.isfinite(takes) else stage.seconds) * share,
                None if users is None else users * share,
                detections,
                tuple(_sees(rule, stage, rate, takes) for rule in _counted(rollout)) if seen else (),
            )
        )
        begins = ends
    return tuple(found)


def _counted(rollout: Rollout) -> tuple[Rule, ...]:
    return tuple(rule for rule in rollout.rules if not isinstance(rule.signal, QuerySignal))


def _detections(rollout: Rollout, stage: PlanStage, rate: float) -> Iterator[Detection]:
    rules = {rule.name: rule for rule in _counted(rollout)}
    for name, regression in stage.detects.items():
        if name in rules:
            control, canary = shares(rules[name], regression, None)
            needed = trials_needed(canary, control, canary_part=stage.percent / 100.0)
            yield Detection(name, regression, needed / rate)


def _sees(rule: Rule, stage: PlanStage, rate: float, takes: float) -> tuple[str, float | None]:
    seconds = takes if math.isfinite(takes) else stage.seconds
    return rule.name, smallest_seen(rule, rate=rate, percent=stage.percent, seconds=seconds)
