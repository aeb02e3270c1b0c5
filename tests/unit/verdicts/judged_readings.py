"""Readings that are judged, and the rollout and tick that they are judged at."""

from __future__ import annotations

import math

from killswitch.flags.flag import Flag, arm
from killswitch.model import Buckets, Counts, Finding, Measurement, Reading, Reason, Rule, Unreadable
from killswitch.verdicts.compare import compare
from killswitch.verdicts.judge import Streak, judge_threshold
from tests.doubles.scripted_source import rollout

TICK = 1_776_608_520.0  # 14:22:00
ROLLOUT = rollout(min_requests=100)
DOWN = Unreadable(Reason.SOURCE_DOWN, "connection refused")


def reading(canary: Measurement, control: Measurement) -> Reading:
    return Reading(canary, control, 300.0, ("a query",))


def rates(events: float, trials: float, control_events: float, control_trials: float) -> Reading:
    return reading(Counts(events, trials), Counts(control_events, control_trials))


OVER, WITHIN = rates(300, 1000, 100, 10000), rates(5, 1000, 100, 10000)


def walk(rule: Rule, *ticks: Reading, interval: float = 30.0) -> list[Finding]:
    streak, findings = Streak(), []
    for number, one in enumerate(ticks):
        finding, streak = judge_threshold(
            rule, compare(rule, one), streak, rollout=ROLLOUT, tick=TICK + number * interval, interval=interval
        )
        findings.append(finding)
    return findings


EDGES = (0.5, 1.0, 2.0, 4.0, math.inf)


def histogram(*cumulative: float) -> Buckets:
    return Buckets(EDGES, cumulative)


def flag(percent: float = 5.0, stage: str = "ramp_5") -> Flag:
    return arm(None, rollout="copilot", control="a", canary="b", percent=percent, stage=stage, now=TICK, by="ann")
