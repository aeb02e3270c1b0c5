"""How long judging takes: one tick of 1,000 rollouts, and a back-test of seven days.

Processor time: judging is arithmetic on one core, and the figure should not depend on who else is busy.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from bench import scenarios
from killswitch import evidence


def _counts(runs: int, ticks: int) -> evidence.TickCounts:
    rng = np.random.default_rng(7)
    blocks = scenarios.simulate(
        scenarios.World(), scenarios.SCENARIOS[0], scenarios.HEALTHY, runs=runs, ticks=ticks, rng=rng, warm_up=0
    )
    parts = [counts for _, counts in blocks]
    names = ("canary_events", "canary_trials", "control_events", "control_trials")
    return evidence.TickCounts(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def tick_milliseconds(rollouts: int = 1000, repeats: int = 30) -> float:
    """Median of one tick of so many rollouts x 4 rules."""
    counts, state = _counts(rollouts, repeats), evidence.start(scenarios.specs(rollouts))
    taken = []
    for row in range(repeats):
        one = evidence.TickCounts(*(getattr(counts, name)[row : row + 1] for name in counts.__dataclass_fields__))
        began = time.process_time()
        state, _ = evidence.advance(state, one, np.array([row * scenarios.STEP]), step=scenarios.STEP)
        taken.append(1e3 * (time.process_time() - began))
    return statistics.median(taken)


def backtest_seconds(days: int = 7) -> float:
    """One rollout x 4 rules, from counts in memory."""
    ticks = days * scenarios.DAY_TICKS
    counts, state = _counts(1, ticks), evidence.start(scenarios.specs(1))
    began = time.process_time()
    evidence.advance(state, counts, np.arange(ticks, dtype=np.float64) * scenarios.STEP, step=scenarios.STEP)
    return time.process_time() - began


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(f"one tick, 1,000 rollouts x 4 rules: {tick_milliseconds():.1f} ms (bar: 50 ms)")
    print(f"back-test of 7 days at 30 s, 4 rules: {backtest_seconds():.2f} s (bar: 2 s)")


if __name__ == "__main__":
    main()
