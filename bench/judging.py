"""How long judging takes: one tick of 1,000 rollouts, and a back-test of seven days.

A tick twice: the evidence alone (counts in, evidence out), and everything between readings and decisions as the
daemon does it: the accumulator takes a step in, the evaluator words four findings a rollout, and all is decided upon.

Processor time: judging is arithmetic on one core, and the figure should not depend on who else is busy.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from bench import scenarios
from killswitch.deadline import Deadline
from killswitch.flags import flag
from killswitch.model import Buckets, Cohort, Counts, Measurement, QuantileSignal, Reading, Readings, Want
from killswitch.rules.loading import load_text
from killswitch.verdicts import evidence
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.catch_up import catch_up
from killswitch.verdicts.decide import decide
from killswitch.verdicts.evaluator import Evaluator

RULES = """\
rollout: {name}
control: model-old
canary: model-new
metrics: cohort-labels
match: {{rollout: {name}}}
rules:
  error_rate: {{max: 2%}}
  latency_p95: {{max_ratio: 1.5}}
  refusal_rate: {{max_increase: 5pp}}
  thumbs_down_rate: {{max_ratio: 2.0}}
"""
EDGES = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, float("inf"))
SHARES = np.array([0.1, 0.25, 0.5, 0.97, 0.99, 0.995, 1.0, 1.0])
REQUESTS = {Cohort.CANARY: 5.0, Cohort.CONTROL: 95.0}  # a second
EVENTS = {"error_rate": 0.01, "refusal_rate": 0.011, "thumbs_down_rate": 0.005}
ARMED_AT = 1_700_000_100.0  # on the grid of 30 s


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


# --- as the daemon does it ----------------------------------------------------------------------


class Healthy:
    """A source of healthy rollouts in which nothing is ever missing. ``seconds``: processor time spent here so far."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._rng = np.random.default_rng(7)

    def now(self, deadline: Deadline) -> float:
        raise NotImplementedError  # a bench says itself what time it is

    def read(self, wants: Sequence[Want], tick: float, deadline: Deadline) -> Readings:
        return self.read_back(wants, [tick], deadline)[tick]

    def read_back(
        self,
        wants: Sequence[Want],
        ticks: Sequence[float],
        deadline: Deadline,  # noqa: ARG002  nothing is waited for
    ) -> Mapping[float, Readings]:
        began = time.process_time()
        columns = [self._column(want, len(ticks)) for want in wants]
        readings = {
            tick: {want.key: column[at] for want, column in zip(wants, columns, strict=True)}
            for at, tick in enumerate(ticks)
        }
        self.seconds += time.process_time() - began
        return readings

    def close(self) -> None: ...

    def _column(self, want: Want, ticks: int) -> list[Reading]:
        canary, control = (list(self._side(want, rate, ticks)) for rate in REQUESTS.values())
        return [Reading(one, other, want.seconds) for one, other in zip(canary, control, strict=True)]

    def _side(self, want: Want, rate: float, ticks: int) -> Iterator[Measurement]:
        trials = self._rng.poisson(rate * want.seconds, ticks)
        if isinstance(want.signal, QuantileSignal):
            for number in trials:
                yield Buckets(EDGES, tuple((number * SHARES).tolist()))
        else:
            for number, events in zip(trials, self._rng.binomial(trials, EVENTS[want.rule]), strict=True):
                yield Counts(float(events), float(number))


def _all_armed(rollouts: int) -> list[ArmedRollout]:
    def armed_rollout(name: str) -> ArmedRollout:
        (rollout,) = load_text(RULES.format(name=name).encode()).rollouts
        armed_flag = flag.arm(
            None, rollout=name, control=rollout.control, canary=rollout.canary, percent=5.0, stage="ramp_5",
            now=ARMED_AT, by="bench", generation=1, salt="",
        )  # fmt: skip
        return ArmedRollout(rollout, armed_flag, ARMED_AT)

    return [armed_rollout(f"r{number:04d}") for number in range(rollouts)]


class Court:
    """So many rollouts, judged tick by tick by the daemon's own accumulator and evaluator."""

    def __init__(self, rollouts: int) -> None:
        self.all_armed = _all_armed(rollouts)
        self.source = Healthy()
        self.evaluator = Evaluator(interval=scenarios.STEP, step=scenarios.STEP)
        self.tick = ARMED_AT + 1800.0  # every window has grown to its full length
        self.evaluator.accumulator.open(self.all_armed, self.tick, {}, from_arming=False)

    def next_tick(self) -> float:
        """Processor milliseconds between readings and decisions; what the source takes is left out."""
        self.tick += scenarios.STEP
        deadline = Deadline(600.0)
        began, spent = time.process_time(), self.source.seconds
        catch_up(self.source, self.evaluator.accumulator, self.all_armed, self.tick, deadline)
        readings = self.source.read(self.evaluator.wants(self.all_armed, self.tick), self.tick, deadline)
        findings = self.evaluator.judge(self.all_armed, self.tick, readings)
        for armed in self.all_armed:
            decide(findings[armed.rollout.name], armed.flag, armed.rollout)
        return 1e3 * (time.process_time() - began - (self.source.seconds - spent))


def cycle_milliseconds(rollouts: int = 1000, repeats: int = 15) -> float:
    """Median of one tick from readings to decisions."""
    court = Court(rollouts)
    court.next_tick()
    return statistics.median(court.next_tick() for _ in range(repeats))


def backtest_seconds(days: int = 7) -> float:
    """One rollout x 4 rules, from counts in memory."""
    ticks = days * scenarios.DAY_TICKS
    counts, state = _counts(1, ticks), evidence.start(scenarios.specs(1))
    began = time.process_time()
    evidence.advance(state, counts, np.arange(ticks, dtype=np.float64) * scenarios.STEP, step=scenarios.STEP)
    return time.process_time() - began


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(f"evidence of one tick, 1,000 rollouts x 4 rules: {tick_milliseconds():.1f} ms")
    print(f"from readings to decisions, 1,000 rollouts x 4 rules: {cycle_milliseconds():.0f} ms (bar: 50 ms)")
    print(f"back-test of 7 days at 30 s, 4 rules: {backtest_seconds():.2f} s (bar: 2 s)")


if __name__ == "__main__":
    main()
