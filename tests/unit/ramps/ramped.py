"""A rollout with a plan, its flag, and everything a gate looks at, all as it should be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from killswitch.flags import flag as flags
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import Actor
from killswitch.model import Counts, Rollout, Verdict
from killswitch.plan import Plan
from killswitch.ramps.gate_inputs import GateInputs, Judged, RuleNow, WayBack
from killswitch.ramps.progress import RuleWatch, StageProgress
from killswitch.rules.loading import load_text

DAY = 86400.0
HOUR = 3600.0
NOW = 1_776_608_531.0  # 2026-04-19T14:22:11Z, a Sunday
HEAD = "rollout: copilot\ncontrol: old\ncanary: new\n"
PLAN = """\
plan:
  advance: automatic
  stages:
    - {stage: shadow, for: 2d}
    - {stage: aa, percent: 5%, for: 6h}
    - {stage: ramp_1, for: 24h}
    - {stage: ramp_5, for: 24h, detects: {error_rate: 2x}}
    - {stage: ramp_25, for: 24h, approve: ["@llm-leads"]}
    - {stage: full, for: 7d}
"""


def rollout_of(text: str = PLAN) -> Rollout:
    return load_text((HEAD + text).encode()).rollouts[0]


def plan_of(rollout: Rollout) -> Plan:
    assert rollout.plan is not None
    return rollout.plan


def flag_in(stage: str, percent: float | None = None, at: float = NOW, generation: int = 1) -> Flag:
    share = flags.STAGES.get(stage, 5.0) if percent is None else percent
    return flags.arm(
        None, rollout="copilot", control="old", canary="new", percent=share, stage=stage, now=at, by="ann",
        generation=generation,
    )  # fmt: skip


def stepped(flag: Flag, stage: str, percent: float, at: float) -> Flag:
    return flags.set_stage(
        flag, rollout=flag.rollout, percent=percent, stage=stage, now=at, by="plan", actor=Actor.STAGE_PLAN
    )


def watch(seconds: float, *, rate: float = 50.0, percent: float = 5.0, errors: float = 0.01) -> RuleWatch:
    """A rule that was healthy for these seconds, both cohorts alike."""
    canary, control = (rate * seconds * part for part in (percent / 100, 1 - percent / 100))
    return RuleWatch(seconds, seconds, Counts(errors * canary, canary), Counts(errors * control, control))


def progress_of(flag: Flag, rollout: Rollout, seconds: float, **traffic: Any) -> StageProgress:
    rules = {rule.name: watch(seconds, percent=flag.canary_percent or 20.0, **traffic) for rule in rollout.rules}
    began = flag.stages[-1].at
    newest = began + seconds
    return StageProgress(
        flag.rollout, flag.generation, flag.stage, flag.canary_percent, began, newest, seconds, rules, (newest, newest)
    )


def inputs_of(stage: str, *, text: str = PLAN, seconds: float = 8 * DAY, **changes: Any) -> GateInputs:
    """A gate's inputs of which every check passes, but for ``changes``."""
    rollout = rollout_of(text)
    flag = changes.pop("flag", flag_in(stage))
    found = GateInputs(
        rollout,
        flag,
        now=NOW + seconds,
        interval=30.0,
        progress=progress_of(flag, rollout, seconds),
        judged=Judged({rule.name: RuleNow(Verdict.HEALTHY) for rule in rollout.rules}, age=10.0),
        shadow="GO",
        approvals=(),
        way_back=WayBack(True, "control served 142 requests", capacity=80.0, rate=50.0),
        hold=None,
    )
    return replace(found, **changes)
