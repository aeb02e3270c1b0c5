"""Reads the section `plan`: the default stages, what several keys say together, and whether `for` is long enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from killswitch.cron_windows import CronWindows
from killswitch.detectable import judged_part, limit_at, shares, trials_needed
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
# Below this part of the time, a stage takes noticeably longer than its `for`.
JUDGED_PART = 0.9
# What a window and `min_requests` may be set to where there is little traffic. Longer windows cost more questions.
_WINDOWS = (("1h", HOUR, None), ("1h", HOUR, 10), ("1d", DAY, None), ("1d", DAY, 10))


def default_stages(*, weekly: bool) -> tuple[PlanStage, ...]:
    """Shadow for two days, then each stage for a day, and a week at `full`."""
    times = {SHADOW: 2 * DAY, "ramp_1": 7 * DAY if weekly else DAY, "ramp_5": DAY, "ramp_25": DAY, "full": 7 * DAY}
    return tuple(PlanStage(stage, STAGES[stage], seconds) for stage, seconds in times.items())


def read_plan(
    spec: PlanSpec,
    rules: Sequence[Rule],
    known_rules: AbstractSet[str],
    *,
    rules_known: bool,
    window: float,
    min_requests: int,
) -> tuple[Plan, list[Complaint]]:
    """The plan, and what is wrong with it. ``known_rules``: all names, also of rules that are refused.

    ``rules_known``: False if the section `rules` is refused, so that its rules cannot be looked up. ``window`` in
    seconds, and the requests that each cohort needs in it.
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
        complaints += _weaker(stages[place], here, by_name)
        if spec.rate is not None:
            complaints += _too_short(stages[place], here, by_name, spec.rate)
    for place, one in enumerate(stages if spec.rate is not None else ()):
        assert spec.rate is not None
        where: Path = _PATH if spec.stages is None else (*_STAGES, place)
        complaints += _hardly_judged(one, where, spec.rate, window, min_requests)
    complaints += _of_the_way_on(spec)
    plan = Plan(
        spec.advance, stages, spec.not_during, spec.time_zone, spec.rate, spec.control_capacity, spec.control_retires
    )
    return plan, complaints


def _of_the_way_on(spec: PlanSpec) -> Iterator[Complaint]:
    """What keeps every step up from beginning, or those of more than 25 %."""
    if spec.not_during and CronWindows(spec.not_during, spec.time_zone).always():
        yield Complaint(
            (*_PATH, "not_during"), "not_during names every minute, so no step up ever begins", "leave some out"
        )
    if spec.rate is not None and spec.control_capacity is not None and spec.control_capacity < spec.rate:
        yield Complaint(
            (*_PATH, "control_capacity"),
            f"control can take {spec.control_capacity:g} requests/s of {spec.rate:g}, so no stage of more than 25% "
            "begins",
            "raise control's quota, or correct one of the two",
            warning=True,
        )


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


def _weaker(stage: PlanStage, here: Path, by_name: Mapping[str, Rule]) -> Iterator[Complaint]:
    """Warnings where a stage may end without having been able to see a canary that is over the rule's own limit."""
    for name, regression in stage.detects.items():
        rule = by_name.get(name)
        if rule is None or isinstance(rule.signal, QuerySignal):
            continue
        if isinstance(rule.signal, QuantileSignal):
            most = rule.limits.max_ratio
            if most is not None and regression.kind == "ratio" and regression.size > most:
                yield _weak(stage, here, f"{name} {regression}", f"allows {most:g}x", f"write `{name}: {most:g}x`")
            continue
        control, canary = shares(rule, regression, None)
        limit = limit_at(rule, control)
        if canary > limit * (1.0 + 1e-9):
            size = limit / control if regression.kind == "ratio" else limit - control
            fix = f"write `{name}: {WorseBy(regression.kind, float(f'{size:.2g}'))}` or less"
            says = f"allows {limit:.2%} with control at {control:.2%}, and this is {canary:.2%}"
            yield _weak(stage, here, f"{name} {regression}", says, fix)


def _weak(stage: PlanStage, here: Path, named: str, allows: str, fix: str) -> Complaint:
    what = f"stage {stage.stage} detects {named}, which is weaker than the rule itself: it {allows}"
    return Complaint(here, what, fix, warning=True)


def _hardly_judged(stage: PlanStage, here: Path, rate: float, window: float, min_requests: int) -> Iterator[Complaint]:
    """A warning where most windows have too few requests, so that the time watched hardly grows."""
    if stage.stage == SHADOW or not 0.0 < stage.percent < 100.0:
        return
    part = judged_part(rate=rate, percent=stage.percent, window=window, min_requests=min_requests)
    if part >= JUDGED_PART:
        return
    fewest = rate * window * min(stage.percent, 100.0 - stage.percent) / 100.0
    whom = "the canary" if stage.percent <= 50.0 else "control"
    about = f"{whom} has about {fewest:.2g} requests in {format_duration(window)}"
    yield Complaint(
        here,
        f"stage {stage.stage} is judged for {part:.0%} of the time: at {rate:g} requests/s {about}, and min_requests "
        f"asks for {min_requests}",
        window_for(rate, stage.percent, min_requests),
        warning=True,
    )


def window_for(rate: float, percent: float, min_requests: int) -> str:
    """What to write so that a stage of this percent is judged at ``rate`` requests a second."""
    for text, window, fewest in _WINDOWS:
        least = min_requests if fewest is None else min(fewest, min_requests)
        if judged_part(rate=rate, percent=percent, window=window, min_requests=least) >= JUDGED_PART:
            return f"write `window: {text}`" + ("" if least == min_requests else f" and `min_requests: {least}`")
    return "leave this stage out: no window holds enough requests"


def seconds_needed(rule: Rule, regression: WorseBy, *, rate: float, percent: float) -> float:
    """How long this regression takes to show at ``rate`` requests a second, with control's value as it usually is."""
    control, canary = shares(rule, regression, None)
    return trials_needed(canary, control, canary_part=percent / 100.0) / rate


def _whole_hours(seconds: float) -> str:
    return format_duration(-(-seconds // HOUR) * HOUR)
