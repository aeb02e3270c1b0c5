"""Says which rules of a rollout evidence judges, with their shares of the budget, and whose requests they count."""

from __future__ import annotations

from killswitch.model import Cohort, CohortMatchers, Decide, Matcher, Rule
from killswitch.verdicts import evidence as ev
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.shown_windows import LONGEST


def judged_by_evidence(armed: ArmedRollout, rule: Rule) -> bool:
    """Whether evidence decides about this rule, even if none is gathered yet; never for free queries."""
    return armed.rollout.decide is Decide.EVIDENCE and bool(ev.bounds_of(rule))


def keeps_windows(armed: ArmedRollout) -> bool:
    """Whether the windows of rules judged by evidence are sums of its steps: not if longer than `LONGEST` (an hour)."""
    return armed.rollout.window <= LONGEST


def detector_specs(armed: ArmedRollout) -> list[tuple[Rule, ev.DetectorSpec]]:
    """The rules that evidence can judge, each with its share of the rollout's budget of false trips."""
    rollout = armed.rollout
    if rollout.decide is not Decide.EVIDENCE or not rollout.rules:
        return []
    alpha = rollout.false_trips_per_day / len(rollout.rules)
    found = [(rule, ev.bounds_of(rule)) for rule in rollout.rules]
    return [
        (rule, ev.DetectorSpec((rollout.name, rule.name), bounds, alpha, bursts=rollout.bursts))
        for rule, bounds in found
        if bounds
    ]


def unlabelled_control(armed: ArmedRollout, cohorts: CohortMatchers) -> CohortMatchers | None:
    """Matchers that find control before cohorts had labels; None if the cohorts are not told apart by that label."""
    if cohorts[Cohort.CONTROL] != (Matcher("cohort", "=", "control"),):
        return None
    control = (Matcher("cohort", "!=", "canary"), Matcher("model", "=", armed.flag.control))
    return {**cohorts, Cohort.CONTROL: control}
