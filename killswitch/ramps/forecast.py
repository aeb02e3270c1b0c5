"""What a plan would do before it starts: how long each stage takes, what it sees, and how many users it exposes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from killswitch.detectable import judged_part, shares, trials_needed
from killswitch.flags.flag import AA, SHADOW
from killswitch.model import QuerySignal, Rollout, Rule
from killswitch.plan import Plan, PlanStage, WorseBy
from killswitch.ramps.calendar import opens
from killswitch.ramps.sensitivity import smallest_seen
from killswitch.timestamps import to_iso

# A stage judged for less than the first part of the time never ends; the rest above the second is not worth a word.
_RARE, _NEARLY_ALWAYS = 0.01, 0.99


@dataclass(frozen=True, slots=True)
class ExpectedTraffic:
    """``rate``: requests a second of both cohorts. ``judged``: those that rules count, such as users' first requests.

    ``shares``: by rule, control's own share of events; a rule without one is taken to have the usual one. ``seconds``:
    of how much time this is the mean; None if no one measured it.
    """

    rate: float
    judged: float
    shares: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Detection:
    """A regression that a stage must see. ``seconds``: how long that takes, inf if no time is enough."""

    rule: str
    regression: WorseBy
    seconds: float


@dataclass(frozen=True, slots=True)
class StageForecast:
    """One stage, as it would go. ``takes``: seconds of traffic until `for` and every detection are there.

    ``judged``: the part of the time, 0 to 1, in which both cohorts have enough requests in the window to be judged.

    ``begins`` and ``ends`` in Unix seconds, None after a stage that never ends. ``requests`` and ``users`` get the
    canary's answer; ``users`` None if no one has said how many there are. ``sees``: by rule, the smallest ratio to
    control's value that shows, None if none of those tried does.
    """

    stage: PlanStage
    takes: float
    judged: float
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
            "judged_part": round(self.judged, 3),
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
    rollout: Rollout, plan: Plan, traffic: ExpectedTraffic, *, starts: float, users: float | None = None
) -> tuple[StageForecast, ...]:
    """Every stage of the plan, from ``starts`` (Unix seconds) on, if nothing goes wrong.

    ``users``: how many there are in a day. Requests are taken for independent ones, so real traffic takes longer.
    """
    found: list[StageForecast] = []
    begins: float | None = opens(plan, starts)
    for stage in plan.stages:
        detections = tuple(_detections(rollout, stage, traffic))
        judged = _judged(rollout, stage, traffic.judged)
        # only what is judged counts, as time and as requests
        takes = max([stage.seconds, *(one.seconds for one in detections)]) / judged if judged > 0 else math.inf
        ends = None if begins is None or not math.isfinite(takes) else opens(plan, begins + takes)
        seen = stage.stage not in (SHADOW, AA)
        share = stage.percent / 100.0 if seen else 0.0
        found.append(
            StageForecast(
                stage,
                takes,
                judged,
                begins,
                ends,
                traffic.rate * (takes if math.isfinite(takes) else stage.seconds) * share,
                None if users is None else users * share,
                detections,
                tuple(_sees(rule, stage, traffic, takes * judged) for rule in _counted(rollout)) if seen else (),
            )
        )
        begins = ends
    return tuple(found)


def _judged(rollout: Rollout, stage: PlanStage, rate: float) -> float:
    """0 where it is so rare that no stage ever ends. The report of pairs decides about stage `shadow`."""
    if stage.stage == SHADOW or not 0.0 < stage.percent < 100.0:
        return 1.0
    part = judged_part(rate=rate, percent=stage.percent, window=rollout.window, min_requests=rollout.min_requests)
    return 0.0 if part < _RARE else part if part < _NEARLY_ALWAYS else 1.0


def _counted(rollout: Rollout) -> tuple[Rule, ...]:
    return tuple(rule for rule in rollout.rules if not isinstance(rule.signal, QuerySignal))


def _detections(rollout: Rollout, stage: PlanStage, traffic: ExpectedTraffic) -> Iterator[Detection]:
    rules = {rule.name: rule for rule in _counted(rollout)}
    for name, regression in stage.detects.items():
        if name in rules:
            control, canary = shares(rules[name], regression, traffic.shares.get(name))
            needed = trials_needed(canary, control, canary_part=stage.percent / 100.0)
            yield Detection(name, regression, needed / traffic.judged)


def _sees(rule: Rule, stage: PlanStage, traffic: ExpectedTraffic, takes: float) -> tuple[str, float | None]:
    seconds = takes if math.isfinite(takes) else stage.seconds
    return rule.name, smallest_seen(
        rule,
        rate=traffic.judged,
        percent=stage.percent,
        seconds=seconds,
        control_share=traffic.shares.get(rule.name),
    )
