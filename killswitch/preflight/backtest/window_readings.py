"""A whole history read at once: the windows a dashboard draws, and the steps that evidence counts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from killswitch.model import Decide, Reading, Readings, Rollout, Unreadable
from killswitch.preflight.backtest.reading import blocks, read, read_steps
from killswitch.preflight.backtest.replay import armed_rollout
from killswitch.preflight.backtest.results import Terms
from killswitch.preflight.backtest.threshold_replay import ThresholdReplay
from killswitch.sources import Source
from killswitch.verdicts.evaluator import PER_USER, WINDOW, Evaluator


def read_windows(
    source: Source, rollout: Rollout, terms: Terms, *, most: int
) -> tuple[list[float], Mapping[str, list[Reading]]]:
    """Windows over the whole history at no more than ``most`` ticks, by rule: what a dashboard would draw."""
    spacing = terms.interval * max(1, math.ceil((terms.until - terms.since) / terms.interval / most))
    # a rollout that evidence decides reads no windows, but a dashboard draws them
    judged = ThresholdReplay(replace(rollout, decide=Decide.THRESHOLD), source, terms)
    ticks: list[float] = []
    found: dict[str, list[Reading]] = {rule.name: [] for rule in rollout.rules}
    counted_per_user: set[str] = set()
    for _, block in blocks(terms.since, terms.until, spacing, len(judged.wants)):
        readings = read(source, judged.wants, block, terms)
        ticks += block
        for tick in block:
            for rule in rollout.rules:
                per_user = readings[tick].get((rollout.name, rule.name, PER_USER))
                if per_user is not None and not isinstance(per_user.canary, Unreadable):
                    counted_per_user.add(rule.name)
                plain = readings[tick][rollout.name, rule.name, WINDOW]
                found[rule.name].append(per_user if per_user is not None and rule.name in counted_per_user else plain)
    return ticks, found


def step_readings(source: Source, rollout: Rollout, terms: Terms) -> list[Readings]:
    """Every evidence step of the history, as the daemon would read it. The rollout's own `decide` does not matter."""
    wants = Evaluator(interval=terms.interval, step=terms.step).accumulator.wants(
        armed_rollout(replace(rollout, decide=Decide.EVIDENCE), terms.since, 1.0)
    )
    return read_steps(source, wants, terms)
