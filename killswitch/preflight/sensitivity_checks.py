"""A check of each rule: the smallest regression that it sees within ten minutes and an hour, at today's traffic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from killswitch.model import Decide, QuantileSignal, RatioSignal, Readings, Rollout
from killswitch.preflight.assumptions import TrafficLevel, measured
from killswitch.preflight.checks import Check, Status
from killswitch.preflight.smallest_seen import SPANS, seen_in_words, smallest_within
from killswitch.verdicts.evidence_entry import STEP, STEP_PER_USER

DEFAULT_PERCENT = 5.0
"""The canary's share that is assumed while a rollout is not armed."""


def examine_sensitivity(rollout: Rollout, steps: Sequence[Readings], percent: float, step: float) -> Iterator[Check]:
    """From control's requests and rates in ``steps``; ``percent`` of users have the canary; ``step`` in seconds.

    Of the bare comparison nothing is said: what it sees, it sees at once, and trips healthy canaries besides.
    """
    if rollout.decide is not Decide.EVIDENCE or not 0.0 < percent < 100.0:
        return
    values, requests = measured(rollout, steps, (STEP_PER_USER, STEP))
    if requests <= 0:
        return
    level = TrafficLevel(requests / step / (1.0 - percent / 100.0), percent, step)
    for rule in rollout.rules:
        baseline = values.get(rule.name)
        if baseline is None or not isinstance(rule.signal, RatioSignal | QuantileSignal):
            continue
        seen = seen_in_words(rollout, rule, baseline, level)
        found = f"with {percent:g}% of {level.rate:.3g} requests a second, {seen}"
        blind = smallest_within(rollout, rule, baseline, level, SPANS[-1]) is None
        fix = "give the canary a larger share, or the rule a lower limit; `killswitch power` shows which"
        yield Check(f"{rollout.name} {rule.name}", Status.WARNING if blind else Status.OK, found, fix if blind else "")
