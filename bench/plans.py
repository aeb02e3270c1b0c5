"""How often a plan raises a canary that is over a limit past 25 %, and how often it holds a healthy one up.

``python -m bench.plans --write docs/statistics.md`` draws 1,000 plans each, ``--quick`` 100. Traffic is drawn tick by
tick. Evidence, gate and next step are the daemon's own functions; what a stage was watched is summed over blocks of
ticks. Requests end at once, so nothing drains after a raise. All draws have fixed seeds.
"""

from __future__ import annotations

import argparse
import math
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.progress import track

from bench.plan_traffic import (
    Badness,
    Mask,
    Steps,
    Traffic,
    Windows,
    newest,
    nothing,
    numbers,
    one_of,
    tick_counts,
    windows,
)
from bench.scenarios import EDGES, LATENCY, STEP, WARM_UP_TICKS
from bench.tables import markdown, upper_bound, write_between_markers
from killswitch.flags import flag as flags
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import Actor
from killswitch.model import Buckets, Counts, Measurement, Reading, Rollout, Rule
from killswitch.plan import Plan, PlanStage
from killswitch.ramps.gate import gate
from killswitch.ramps.gate_inputs import GateInputs, Judged, RuleNow, WayBack
from killswitch.ramps.next_step import Move, next_step
from killswitch.ramps.progress import RuleWatch, StageProgress
from killswitch.rules.loading import load_text
from killswitch.timestamps import DAY, HOUR
from killswitch.verdicts import evidence as ev
from killswitch.verdicts.compare import compare
from killswitch.verdicts.evidence.evariables import Array
from killswitch.verdicts.evidence_view import EvidenceView
from killswitch.verdicts.judge import judge_evidence

QUICK_PLANS, FULL_PLANS, TOGETHER = 100, 1000, 250
BEGINS = 1_776_600_000.0
BLOCK = 240  # ticks
LOOK = 10  # ticks between two looks at the gate of a stage whose `for` is over
PATIENCE = DAY / 2  # seconds beyond `for` after which a stage counts as held for good
RULE_FILE = """\
rollout: copilot
control: old
canary: new
window: {window}
min_requests: {min_requests}
rules:
  error_rate: {{max: 2%}}
  latency_p95: {{max_ratio: 1.5}}
  refusal_rate: {{max_increase: 5pp}}
  thumbs_down_rate: {{max_ratio: 2.0}}
plan:
  advance: automatic
  control_capacity: 1000/s
  stages:
    - {{stage: ramp_1, for: 24h}}
    - {{stage: ramp_5, for: 24h}}
    - {{stage: ramp_25, for: 24h}}
    - {{stage: full, for: 7d}}
"""
CANARIES = (
    Badness("healthy"),
    Badness("at the limit", 1.0),
    Badness("1.5 times over", 1.5, alone=True),
    Badness("2 times over", 2.0, alone=True),
)


@dataclass(frozen=True, slots=True)
class Service:
    """Requests a second of both cohorts, and how windows are set for them."""

    rate: float
    window: str = "5m"
    min_requests: int = 100

    def __str__(self) -> str:
        default = (self.window, self.min_requests) == ("5m", 100)
        return (
            f"{self.rate:g}/s"
            if default
            else f"{self.rate:g}/s, `window: {self.window}`, `min_requests: {self.min_requests}`"
        )

    def rollout(self) -> Rollout:
        text = RULE_FILE.format(window=self.window, min_requests=self.min_requests)
        return load_text(text.encode()).rollouts[0]


SERVICES = (Service(50.0), Service(5.0, "1h"), Service(0.5, "1h", 10))


@dataclass(slots=True)
class Outcome:
    """What became of one plan. ``stage``: where it was tripped or is held. ``late``: seconds beyond its `for`."""

    number: int
    how: str  # tripped, held, advanced
    stage: str
    late: float


@dataclass(slots=True)
class Watch:
    """What the stage of N plans was watched: seconds (N,), and by rule (N, R).

    ``silent`` (N, 2): steps since the newest request of the canary, and of control; inf if there was none.
    """

    watched: Array
    healthy: Array
    counts: Array  # (N, R, 4): events and requests of the canary, of control
    phi: Array
    silent: Array

    @classmethod
    def of(cls, plans: int, rules: int) -> Watch:
        by_rule = (plans, rules)
        silent = np.full((plans, 2), np.inf)
        return cls(np.zeros(plans), np.zeros(by_rule), np.zeros((*by_rule, 4)), np.ones(by_rule), silent)

    def add(self, steps: Steps, seen: Windows, phi: Array) -> None:
        """Ticks without a verdict add nothing, as in `killswitch.ramps.progress`."""
        self.watched += STEP * seen.known.sum(axis=0)
        self.healthy += STEP * (seen.known[..., None] & ~seen.over).sum(axis=0)
        requests = [(side * seen.known).sum(axis=0) for side in steps.trials]
        for rule in range(self.phi.shape[1]):
            for cohort in (0, 1):
                if rule in steps.events:
                    self.counts[:, rule, 2 * cohort] += (steps.events[rule][cohort] * seen.known).sum(axis=0)
                self.counts[:, rule, 2 * cohort + 1] += requests[cohort]
        self.phi = phi
        for cohort, side in enumerate(steps.trials):
            served = side[::-1] > 0
            since = np.where(served.any(axis=0), served.argmax(axis=0), len(side) + self.silent[:, cohort])
            self.silent[:, cohort] = since

    def some(self, kept: Mask) -> Watch:
        return Watch(self.watched[kept], self.healthy[kept], self.counts[kept], self.phi[kept], self.silent[kept])

    def progress(self, plan: int, flag: Flag, rules: Sequence[Rule], tick: float) -> StageProgress:
        known = float(self.watched[plan])
        watches = {}
        for row, rule in enumerate(rules):
            canary, of_canary, control, of_control = self.counts[plan, row].tolist()
            watches[rule.name] = RuleWatch(
                known,
                float(self.healthy[plan, row]),
                Counts(canary, of_canary),
                Counts(control, of_control),
                float(self.phi[plan, row]),
            )
        began = flag.stages[-1].at
        canary_at, control_at = (
            tick - float(silent) * STEP if np.isfinite(silent) else None for silent in self.silent[plan]
        )
        return StageProgress(
            flag.rollout, flag.generation, flag.stage, flag.canary_percent, began, tick, known, watches,
            (canary_at, control_at),
        )  # fmt: skip


@dataclass(slots=True)
class Group:
    """Plans that are in the same stage since as many ticks. ``past``: an hour, before arming too; ``armed``: since."""

    plans: npt.NDArray[np.intp]
    flags: list[Flag]
    evidence: ev.Evidence
    past: Steps
    armed: Steps
    late: Array

    def some(self, kept: Mask) -> Group:
        keys = [spec.key for spec in self.evidence.specs]
        rules = len(keys) // len(self.plans)
        chosen = [keys[row] for row in np.flatnonzero(kept.repeat(rules)).tolist()]
        return Group(
            self.plans[kept],
            [flag for flag, keep in zip(self.flags, kept.tolist(), strict=True) if keep],
            ev.select(self.evidence, chosen),
            self.past.of(kept),
            self.armed.of(kept),
            self.late[kept],
        )


def joined(groups: Sequence[Group]) -> Group:
    def together(parts: Sequence[Steps]) -> Steps:
        size = min(len(part) for part in parts)
        cut = [newest(part, size) for part in parts]
        sides = [[part.trials for part in cut], *([part.events[rule] for part in cut] for rule in cut[0].events)]
        both = [
            (np.concatenate([one[0] for one in side], axis=1), np.concatenate([one[1] for one in side], axis=1))
            for side in [*sides, [part.histograms for part in cut]]
        ]
        return Steps(both[0], dict(zip(cut[0].events, both[1:-1], strict=True)), both[-1])

    return Group(
        np.concatenate([group.plans for group in groups]),
        [flag for group in groups for flag in group.flags],
        ev.combine([group.evidence for group in groups]),
        together([group.past for group in groups]),
        together([group.armed for group in groups]),
        np.concatenate([group.late for group in groups]),
    )


@dataclass(slots=True)
class Run:
    """Plans of one service with one kind of canary, from arming until each is tripped, held, or past 25 %."""

    rollout: Rollout
    plan: Plan
    traffic: Traffic
    outcomes: list[Outcome] = field(default_factory=list)

    def go(self, plans: npt.NDArray[np.intp]) -> list[Outcome]:
        rules = self.rollout.rules
        alpha = self.rollout.false_trips_per_day / len(rules)
        specs = [
            ev.DetectorSpec((number, rule.name), ev.bounds_of(rule), alpha, self.rollout.bursts)
            for number in plans.tolist()
            for rule in rules
        ]
        first = self.plan.stages[0]
        past = self.traffic.draw(WARM_UP_TICKS, first.percent, plans)
        warm = tick_counts(nothing(len(plans)), past)
        evidence = ev.warm_up(ev.start(specs), warm.control_events, warm.control_trials)
        armed = flags.arm(
            None, rollout=self.rollout.name, control="old", canary="new", percent=first.percent, stage=first.stage,
            now=BEGINS, by="bench",
        )  # fmt: skip
        group = Group(plans, [armed] * len(plans), evidence, newest(past), nothing(len(plans)), np.zeros(len(plans)))
        for stage in self.plan.stages[:-1]:
            advanced = list(self._stage(group, stage))
            if not advanced:
                return self.outcomes
            group = joined(advanced)
        last = self.plan.stages[-1].stage
        self.outcomes += [
            Outcome(number, "advanced", last, late)
            for number, late in zip(group.plans.tolist(), group.late.tolist(), strict=True)
        ]
        return self.outcomes

    def _stage(self, group: Group, stage: PlanStage) -> Iterator[Group]:
        """The plans that leave this stage, each at its own tick."""
        rules = len(self.rollout.rules)
        watch, ticks = Watch.of(len(group.plans), rules), 0
        most = round((stage.seconds + PATIENCE) / STEP)
        while len(group.plans) and ticks < most:
            # what cannot be watched for its `for` any more before patience ends is held
            hopeless = watch.watched + STEP * (most - ticks) < stage.seconds
            if hopeless.any():
                self._note(group, hopeless, "held", stage)
                group, watch = group.some(~hopeless), watch.some(~hopeless)
                continue
            missing = math.ceil(float((stage.seconds - watch.watched).min()) / STEP)
            block = min(max(missing, LOOK), BLOCK, most - ticks)
            steps = self.traffic.draw(block, stage.percent, group.plans)
            starts = np.zeros((block, len(group.plans) * rules))
            if ticks == 0:
                starts[0] = [ev.head_starts(flag.stages)[-1].amount for flag in group.flags for _ in range(rules)]
            times = np.arange(ticks + 1, ticks + block + 1, dtype=np.float64) * STEP
            group.evidence, trace = ev.advance(
                group.evidence, tick_counts(group.past, steps), times, step=STEP, head_starts=starts
            )
            seen = windows(self.rollout, group.armed, steps)
            phi = np.nan_to_num(trace.phi[-1, group.evidence.first_bound], nan=1.0).reshape(-1, rules)
            watch.add(steps, seen, phi)
            group.past, group.armed = newest(group.past.then(steps)), newest(group.armed.then(steps))
            ticks += block
            tripped: Mask = np.asarray(trace.breach.any(axis=0).reshape(-1, rules).any(axis=1))
            self._note(group, tripped, "tripped", stage)
            values = trace.evidence[-1].reshape(-1, rules)
            # a rule that is over its limit now is not HEALTHY, so that gate need not be asked
            asked = ~tripped & (watch.watched >= stage.seconds) & seen.known[-1] & ~seen.over[-1].any(axis=1)
            done = self._leaving(group, watch, values, asked, ticks * STEP)
            if done.any():
                yield self._raised(group.some(done), stage, ticks * STEP)
            stay = ~tripped & ~done
            if not stay.all():
                group, watch = group.some(stay), watch.some(stay)
        self._note(group, np.ones(len(group.plans), dtype=np.bool_), "held", stage)

    def _note(self, group: Group, which: Mask, how: str, stage: PlanStage) -> None:
        self.outcomes += [Outcome(number, how, stage.stage, 0.0) for number in group.plans[which].tolist()]

    def _leaving(self, group: Group, watch: Watch, values: Array, asked: Mask, seconds: float) -> Mask:
        """Which plans take the step at this tick: those whose own gate passes."""
        done = np.zeros(len(group.plans), dtype=np.bool_)
        for plan in np.flatnonzero(asked).tolist():
            flag = group.flags[plan]
            tick = flag.stages[-1].at + seconds
            progress = watch.progress(plan, flag, self.rollout.rules, tick)
            judged = Judged(self._verdicts(group, plan, values[plan].tolist(), tick), age=1.0)
            way_back = WayBack(True, "control answers", capacity=1000.0, rate=self.traffic.rate)
            inputs = GateInputs(
                self.rollout, flag, tick, STEP,
                progress=progress, judged=judged, approvals=(), way_back=way_back, hold=None,
            )  # fmt: skip
            found = gate(self.plan, inputs)
            done[plan] = next_step(self.plan, flag, progress, found, now=tick, tick=tick).move is Move.ADVANCE
        return done

    def _verdicts(self, group: Group, plan: int, values: Sequence[float], tick: float) -> dict[str, RuleNow]:
        found = {}
        sides = one_of(group.armed, plan, self.rollout.window)
        for number, (rule, counted) in enumerate(zip(self.rollout.rules, sides, strict=True)):
            canary, control = (_measurement(number, side) for side in counted)
            comparison = compare(rule, Reading(canary, control, self.rollout.window))
            needed = len(self.rollout.rules) / self.rollout.false_trips_per_day
            view = EvidenceView(values[number], needed, None, 0.0, 0.0, 0.0, 0.0, tick, tick, False, None)
            finding = judge_evidence(rule, comparison, view, rollout=self.rollout, tick=tick, fresh=2 * STEP)
            found[rule.name] = RuleNow(finding.verdict, finding.sentence)
        return found

    def _raised(self, group: Group, stage: PlanStage, seconds: float) -> Group:
        to = self.plan.stages[self.plan.stages.index(stage) + 1]
        group.late += seconds - stage.seconds
        group.flags = [
            flags.set_stage(
                flag, rollout=flag.rollout, percent=to.percent, stage=to.stage, now=flag.stages[-1].at + seconds,
                by="plan", actor=Actor.STAGE_PLAN,
            )
            for flag in group.flags
        ]  # fmt: skip
        return group


def _measurement(rule: int, summed: Array) -> Measurement:
    if rule == LATENCY:
        return Buckets(tuple(EDGES.tolist()), tuple(summed.tolist()))
    return Counts(*summed.tolist())


@dataclass(frozen=True, slots=True)
class Part:
    """Some plans of one square of the table; ``first`` is the number of the first."""

    service: Service
    badness: Badness
    first: int
    plans: int

    def outcomes(self) -> list[Outcome]:
        rollout = self.service.rollout()
        assert rollout.plan is not None
        seed = zlib.crc32(f"{self.service} {self.badness.name} {self.first}".encode())
        traffic = Traffic(self.service.rate, self.badness, np.random.default_rng(seed))
        return Run(rollout, rollout.plan, traffic).go(self.first + numbers(self.plans))


NAMES = ("errors", "latency", "refusals", "thumbs-down")


def row(part: Part, outcomes: Sequence[Outcome]) -> list[str]:
    """One line of the table."""
    many = len(outcomes)
    past = [one for one in outcomes if one.how == "advanced"]
    by_rule = Counter(NAMES[one.number % len(NAMES)] for one in past)
    which = ", ".join(f"{name} {number}" for name, number in by_rule.items()) if part.badness.alone else ""
    bound = 100 * upper_bound(len(past), many)
    passed = f"{len(past)} (≤ {bound:.1f} %)" if part.badness.alone else f"{len(past)}"
    tripped = Counter(one.stage for one in outcomes if one.how == "tripped")
    held = Counter(one.stage for one in outcomes if one.how == "held")
    late = np.array([one.late / HOUR for one in past])
    waits = "" if part.badness.alone or not past else f"{np.median(late):.1f} h, {np.quantile(late, 0.99):.1f} h"
    return [
        str(part.service),
        part.badness.name,
        f"{many:,}",
        f"{passed}{': ' if which else ''}{which}",
        _by_stage(tripped),
        _by_stage(held),
        waits,
    ]


def _by_stage(counts: Counter[str]) -> str:
    ordered = [(stage, counts[stage]) for stage in ("ramp_1", "ramp_5", "ramp_25") if counts[stage]]
    return ", ".join(f"{number} at {stage}" for stage, number in ordered) or "0"


def parts_of(plans: int) -> list[list[Part]]:
    """By row of the table, the parts that workers take."""
    return [
        [Part(service, badness, first, min(TOGETHER, plans - first)) for first in range(0, plans, TOGETHER)]
        for service in SERVICES
        for badness in CANARIES
    ]


def measure(plans: int, workers: int) -> str:
    rows = parts_of(plans)
    with ProcessPoolExecutor(workers) as pool:
        each = pool.map(Part.outcomes, [part for parts in rows for part in parts])
        found = iter(track(each, "plans", total=sum(len(parts) for parts in rows)))
        lines = [row(parts[0], [one for _ in parts for one in next(found)]) for parts in rows]
    return text(lines)


def text(lines: Sequence[Sequence[str]]) -> str:
    """The table of these rows, with what it says."""
    caption = (
        "How many plans went past 25 %, were tripped before, or were still held "
        f"{PATIENCE / HOUR:g} h after the `for` of a stage; and the time that those past 25 % took beyond their three "
        "days (median, 99 %). At the limit: in all four rules at once. Over it: in one rule, a quarter of the plans "
        "each, and as good as control in the others; with 95 % confidence at most."
    )
    header = ("requests", "canary", "plans", "past 25 %", "tripped", "held", "longer than `for`")
    return "\n\n".join([caption, markdown(header, lines)])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PLANS} plans each")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table between the page's markers")
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args(arguments)
    table = measure(QUICK_PLANS if chosen.quick else FULL_PLANS, chosen.workers)
    print(table)
    if chosen.write is not None:
        write_between_markers(chosen.write, "plans", table)


if __name__ == "__main__":
    main()
