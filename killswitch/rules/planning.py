"""Reads the section `plan`: the default stages, what several keys say together, and whether `for` is long enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from killswitch.cron_windows import CronWindows
from killswitch.detectable import shares, trials_needed
from killswitch.flags.flag import AA, SHADOW, STAGES
from killswitch.model import QuantileSignal, QuerySignal, Rule
from killswitch.plan import Plan, PlanStage, WorseBy
from killswitch.rules.document import Path
from killswitch.rules.metrics import Complaint
from killswitch.rules.plan_keys import MAX_STAGES, PlanSpec, PlanStageSpec
from killswitch.rules.units import format_duration
from killswitch.timestamps import DAY, HOUR

_PATH: Path = ("plan",)
_STAGES: Path = ("plan", "stages")


def default_stages(*, weekly: bool) -> tuple[PlanStage, ...]:
    """Shadow for two days, then each stage for a day, and a week at `full`."""
    times = {SHADOW: 2 * DAY, "ramp_1": 7 * DAY if weekly else DAY, "ramp_5": DAY, "ramp_25": DAY, "full": 7 * DAY}
    return tuple(PlanStage(stage, STAGES[stage], seconds) for stage, seconds in times.items())


def read_plan(
    spec: PlanSpec, rules: Sequence[Rule], known_rules: AbstractSet[str], *, rules_known: bool
) -> tuple[Plan, list[Complaint]]:
    """The plan, and what is wrong with it. ``known_rules``: all names, also of rules that are refused.

    ``rules_known``: False if the section `rules` is refused, so that its rules cannot be looked up.
    """
    stages = default_stages(weekly=spec.weekly)
    complaints: list[Complaint] = []
    if spec.stages is not None:
        stages = tuple(_stage(stage) for stage in spec.stages)
        complaints += _of_stages(spec.stages)
        if spec.weekly:
            complaints.append(
                Complaint((*_PATH, "weekly"), "weekly only changes the default stages", "remove it, or `stages`")
            )
    by_name = {rule.name: rule for rule in rules}
    for place, stage in enumerate(spec.stages or ()):
        here: Path = (*_STAGES, place, "detects")
        complaints += _of_detects(stage, here, by_name, known_rules, rules_known=rules_known)
        if spec.rate is not None:
            complaints += _too_short(stages[place], here, by_name, spec.rate)
    if spec.not_during and CronWindows(spec.not_during, spec.time_zone).always():
        complaints.append(
            Complaint(
                (*_PATH, "not_during"), "not_during names every minute, so no step up ever begins", "leave some out"
            )
        )
    plan = Plan(
        spec.advance, stages, spec.not_during, spec.time_zone, spec.rate, spec.control_capacity, spec.control_retires
    )
    return plan, complaints


def _stage(spec: PlanStageSpec) -> PlanStage:
    percent = STAGES.get(spec.stage, 0.0) if spec.percent is None else spec.percent
    return PlanStage(spec.stage, percent, spec.for_, spec.detects, spec.approve)


def _of_stages(specs: Sequence[PlanStageSpec]) -> Iterator[Complaint]:
    if not specs:
        yield Complaint(_STAGES, "a plan without stages", "name a stage, or remove `stages` for the default ones")
    if len(specs) > MAX_STAGES:
        yield Complaint(_STAGES, f"{len(specs)} stages", f"state at most {MAX_STAGES}")
    seen: set[str] = set()
    highest, before = 0.0, ""
    for place, spec in enumerate(specs):
        here: Path = (*_STAGES, place)
        percent = _stage(spec).percent
        yield from _of_percent(spec, here)
        if spec.stage in seen:
            yield Complaint((*here, "stage"), f"stage {spec.stage} is there twice", "keep one, or rename it")
        elif spec.stage == SHADOW and place > 0:
            yield Complaint((*here, "stage"), f"stage {SHADOW} is not the first", "move it to the top: no user sees it")
        elif spec.stage == AA and seen - {SHADOW}:
            yield Complaint(
                (*here, "stage"),
                f"stage {AA} comes after {before}",
                "move it before all stages in which users see the canary",
            )
        elif spec.stage not in (SHADOW, AA) and 0.0 < percent <= highest:
            yield Complaint(
                here, f"{spec.stage} has {percent:g}%, and {before} before it has {highest:g}%",
                "put the stages in order, so that each gives the canary more users",
            )  # fmt: skip
        seen.add(spec.stage)
        if spec.stage not in (SHADOW, AA):
            highest = max(highest, percent)
        before = spec.stage


def _of_percent(spec: PlanStageSpec, here: Path) -> Iterator[Complaint]:
    usual = STAGES.get(spec.stage)
    if usual is None and spec.percent is None:
        yield Complaint(here, f"stage {spec.stage} has no percent of its own", "add `percent: 5%`")
    elif usual is not None and spec.percent is not None and spec.percent != usual:
        fix = "remove `percent`" if spec.stage == SHADOW else "remove `percent`, or give the stage a name of your own"
        yield Complaint((*here, "percent"), f"stage {spec.stage} has {usual:g}%, not {spec.percent:g}%", fix)


def _of_detects(
    stage: PlanStageSpec,
    here: Path,
    by_name: Mapping[str, Rule],
    known: AbstractSet[str],
    *,
    rules_known: bool,
) -> Iterator[Complaint]:
    if stage.detects and stage.stage in (SHADOW, AA):
        instead = "its gate is the shadow report" if stage.stage == SHADOW else "both cohorts get control's model there"
        yield Complaint(here, f"detects has no meaning in stage {stage.stage}: {instead}", "remove it")
        return
    for name, regression in stage.detects.items():
        rule = by_name.get(name)
        if rule is None:
            if rules_known and name not in known:
                some = ", ".join(sorted(known)) or "none"
                yield Complaint(here, f"detects names {name}, which is no rule of this file", f"use one of: {some}")
        elif isinstance(rule.signal, QuerySignal):
            yield Complaint(
                here,
                f"detects names {name}, a free query: it counts no requests, so no one can say what it sees",
                "remove it",
            )
        elif isinstance(rule.signal, QuantileSignal) and regression.kind == "points":
            yield Complaint(here, f"detects of {name} is in points, but latency has none", "write it like 1.5x")


def _too_short(stage: PlanStage, here: Path, by_name: Mapping[str, Rule], rate: float) -> Iterator[Complaint]:
    """Warnings where no traffic of ``rate`` requests a second lets this stage see what it must."""
    for name, regression in stage.detects.items():
        rule = by_name.get(name)
        if rule is None or isinstance(rule.signal, QuerySignal) or not 0.0 < stage.percent < 100.0:
            continue
        seconds = seconds_needed(rule, regression, rate=rate, percent=stage.percent)
        if seconds > stage.seconds:
            hours = _whole_hours(seconds)
            yield Complaint(
                here,
                f"stage {stage.stage} cannot see {name} {regression} in "
                f"{format_duration(stage.seconds)}: at {rate:g} requests/s it takes about {hours}",
                f"write `for: {hours}`, or name a larger regression",
                warning=True,
            )


def seconds_needed(rule: Rule, regression: WorseBy, *, rate: float, percent: float) -> float:
    """How long this regression takes to show at ``rate`` requests a second, with control's value as it usually is."""
    control, canary = shares(rule, regression, None)
    return trials_needed(canary, control, canary_part=percent / 100.0) / rate


def _whole_hours(seconds: float) -> str:
    return format_duration(-(-seconds // HOUR) * HOUR)
