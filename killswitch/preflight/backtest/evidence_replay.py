"""A rollout that evidence decides, taken through history in long blocks.

Where a block's trace shows a breach, the block is taken again up to that tick, the window is read, and
`decide` decides, as it does in the daemon.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from killswitch.model import Buckets, QuantileSignal, Reading, Readings, Reason, Rollout, Rule, Unreadable
from killswitch.preflight.backtest.ramp_detection import SIDE, Stage, ramp_of
from killswitch.preflight.backtest.reading import read
from killswitch.preflight.backtest.replay import (
    Replay,
    armed_rollout,
    flag_percent,
    no_requests,
    problem_of,
    trials_of,
)
from killswitch.preflight.backtest.results import Terms
from killswitch.sources import Source
from killswitch.verdicts.accumulator import warm_up_seconds
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.catch_up import first_step
from killswitch.verdicts.compare import Comparison, compare, too_few_requests
from killswitch.verdicts.evidence import Trace
from killswitch.verdicts.evidence.starts import LONGEST_DRAIN
from killswitch.verdicts.evidence_entry import PAST, STEP, STEP_PER_USER
from killswitch.verdicts.missing_events import MissingEvents
from killswitch.verdicts.shown_windows import Windows
from killswitch.verdicts.slow_requests import beyond, common_edges
from killswitch.verdicts.step_counts import SPLIT_BY

_JUDGED = ("", "", "judged")


class EvidenceReplay(Replay):
    """Replays a rollout with `decide: evidence`; its ticks are evidence steps."""

    def __init__(self, rollout: Rollout, source: Source, terms: Terms) -> None:
        super().__init__(rollout, source, terms)
        self.spacing = terms.step
        self._past: dict[float, Readings] = {}
        self._per_user: set[str] = set()
        self._missing_events: dict[str, MissingEvents] = {}
        self._windows: dict[str, Windows] = {}
        self._arming = 0.0
        self._control_known: set[str] = set()
        self._unarmed = armed_rollout(rollout, terms.since, 1.0)
        # before the arming, also read what control did before cohorts had labels
        self.wants = self.evaluator.accumulator.past_wants(self._unarmed)

    def take(self, ticks: Sequence[float], readings: Mapping[float, Readings]) -> None:
        if self.armed is not None and self.terms.percent is None:
            before = [tick for tick in sorted(self._past) if tick > self.armed.armed_at][-2 * SIDE :]
            known = {**{tick: self._past[tick] for tick in before}, **readings}
            stages = self._ramp(self.armed.armed_at, [*before, *ticks], known)
            close = SIDE * self.spacing
            for stage in stages[1:]:
                if abs(stage.at - self.stages[-1].at) < close and len(self.stages) > 1:
                    # the last block showed only a few steps of this stage; now more are known
                    self.stages[-1] = replace(self.stages[-1], percent=stage.percent)
                elif stage.at > max(self.stages[-1].at, ticks[0] - close):
                    self._go_on([stage])
        super().take(ticks, readings)
        if self.armed is not None:
            self.wants = self.evaluator.accumulator.wants(self._unarmed)

    def _ramp(self, begins: float, ticks: Sequence[float], readings: Mapping[float, Readings]) -> Sequence[Stage]:
        named = [rule.name for rule in self.rollout.rules if rule.name == SPLIT_BY] or [
            want.rule for want in self.wants[:1]
        ]
        pairs = []
        for tick in ticks:
            sides = (
                readings[tick].get((self.rollout.name, name, part)) for name in named for part in (STEP, STEP_PER_USER)
            )
            usable = next((side for side in sides if side is not None and problem_of(side) is None), None)
            pairs.append((trials_of(usable.canary), trials_of(usable.control)) if usable else (math.nan, math.nan))
        canary, control = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
        stages = ramp_of(np.array(ticks), canary, control, begins=begins, step=self.spacing)
        # with too few requests any percent will do
        return [Stage(stage.at, flag_percent(stage.percent)) for stage in stages] or [Stage(begins, 1.0)]

    def _opened(self, armed: ArmedRollout, ticks: Sequence[float], readings: Mapping[float, Readings]) -> None:
        at = first_step(armed.armed_at, self.spacing)
        known = {**self._past, **{tick: readings[tick] for tick in ticks}}
        past = {tick: each for tick, each in known.items() if at - warm_up_seconds(self.spacing) < tick <= at}
        self._per_user.clear()
        self._missing_events.clear()
        self._windows = {rule.name: Windows(self.spacing, self.rollout.window) for rule in self.rollout.rules}
        self._arming = armed.armed_at
        self._control_known = {
            name for name in self.rules for each in past.values() if self._has_histogram_of_control(name, each)
        }
        self.evaluator.accumulator.open([armed], at, past, from_arming=True)

    def _remember(self, ticks: Sequence[float], readings: Mapping[float, Readings]) -> None:
        oldest = ticks[-1] - warm_up_seconds(self.spacing)
        known = {**self._past, **{tick: readings[tick] for tick in ticks if tick > oldest}}
        self._past = {tick: each for tick, each in known.items() if tick > oldest}

    def _run(
        self, armed: ArmedRollout, ticks: Sequence[float], position: int, readings: Mapping[float, Readings]
    ) -> int:
        block = ticks[position:]
        before = copy.deepcopy(self.evaluator)
        trace = self.evaluator.accumulator.take([armed], block, readings)
        assert trace is not None
        columns = self.evaluator.accumulator.columns(armed.rollout.name)
        breaches = np.flatnonzero(trace.breach[:, list(columns.values())].any(axis=1))
        if not breaches.size:
            self._note(trace, columns, block, readings)
            return len(ticks)
        self.evaluator = before
        upto = int(breaches[0]) + 1
        trace = self.evaluator.accumulator.take([armed], block[:upto], readings)
        assert trace is not None
        self._note(trace, columns, block[:upto], readings)
        if self._acts(armed, block[upto - 1]):
            return position + upto
        # the switch does not act on the first tick of a generation: look at each tick until the breach ends
        for at in range(upto, len(block)):
            trace = self.evaluator.accumulator.take([armed], block[at : at + 1], readings)
            assert trace is not None
            self._note(trace, columns, block[at : at + 1], readings)
            if not trace.breach[-1, list(columns.values())].any() or self._acts(armed, block[at]):
                return position + at + 1
        return len(ticks)

    def _acts(self, armed: ArmedRollout, step: float) -> bool:
        """Whether the daemon would trip at its first tick at or after this evidence tick."""
        tick = math.ceil(step / self.terms.interval - 1e-9) * self.terms.interval
        wants = self.evaluator.wants([armed], tick)
        readings = read(self.source, wants, [tick], self.terms)[tick] if wants else {}
        return self._decided(armed, tick, self.evaluator.judge([armed], tick, readings)[armed.rollout.name])

    def _note(
        self, trace: Trace, columns: Mapping[str, int], ticks: Sequence[float], readings: Mapping[float, Readings]
    ) -> None:
        self.ticks += len(ticks)
        times, rows = np.array(ticks, dtype=np.float64), list(columns.values())
        for rule in self.rollout.rules:
            row = columns.get(rule.name)
            if row is None:
                continue
            kept, values = self.rules[rule.name], trace.evidence[:, row]
            best = int(np.argmax(values))
            if kept.peak is None or values[best] > kept.peak:
                kept.peak, kept.peak_at = float(values[best]), float(times[best])
            view = self.evaluator.accumulator.view(self.rollout.name, rule.name)
            kept.needed = view.needed if view is not None else None
            for at, moved in enumerate(trace.updated[:, row].tolist()):
                reading = self._judged(rule, readings[ticks[at]])
                kept.count(reading)
                self._windows[rule.name].take([_JUDGED], [ticks[at]], {ticks[at]: {_JUDGED: reading}})
                problem = self._missing_events_of(rule, readings[ticks[at]], ticks[at])
                if not moved:
                    paused = self._is_changing(ticks[at]) and not trace.updated[at, rows].any()
                    problem = self._why_silent(
                        rule, readings[ticks[at]], paused=paused, numeric=bool(trace.numeric[at, row])
                    )
                if self._has_histogram_of_control(rule.name, readings[ticks[at]]):
                    self._control_known.add(rule.name)
                if problem is None:
                    kept.ticks += 1
                    proven = kept.needed is not None and values[at] >= kept.needed
                    kept.suspect += not proven and self._is_over(rule)
                else:
                    kept.missed(problem.reason, problem.detail)
            if self.terms.tracks:
                kept.track.append((times, values.copy()))

    def _is_over(self, rule: Rule) -> bool:
        """Whether the window is over its limit, with enough requests to say so."""
        reading = self._windows[rule.name].sum(_JUDGED, self._arming, self.rollout.window)
        window = Comparison() if reading is None else compare(rule, reading)
        return window.over and too_few_requests(window, self.rollout) is None

    def _is_changing(self, tick: float) -> bool:
        """Whether slow requests from before the last change of percent may still be ending."""
        longest = LONGEST_DRAIN + self.spacing
        return any(0 < tick - stage.at <= longest for stage in self.stages)

    def _has_histogram_of_control(self, rule: str, readings: Readings) -> bool:
        found = (readings.get((self.rollout.name, rule, part)) for part in (STEP, STEP_PER_USER, PAST))
        return any(
            each is not None and isinstance(each.control, Buckets) and trials_of(each.control) > 0 for each in found
        )

    def _judged(self, rule: Rule, readings: Readings) -> Reading:
        plain = readings[self.rollout.name, rule.name, STEP]
        per_user = readings.get((self.rollout.name, rule.name, STEP_PER_USER))
        if per_user is not None and not any(
            isinstance(side, Unreadable) for side in (per_user.canary, per_user.control)
        ):
            self._per_user.add(rule.name)
        return per_user if per_user is not None and rule.name in self._per_user else plain

    def _missing_events_of(self, rule: Rule, readings: Readings, tick: float) -> Unreadable | None:
        """Why a tick that moved a rule still proves nothing: its events may never have been counted."""
        missing = self._missing_events.setdefault(rule.name, MissingEvents())
        return missing.after(rule, self._judged(rule, readings), tick - self._arming)

    def _why_silent(self, rule: Rule, readings: Readings, *, paused: bool, numeric: bool) -> Unreadable:
        """Why a tick did not move a rule."""
        reading = self._judged(rule, readings)
        problem = problem_of(reading) or no_requests(reading)
        if problem is not None:
            return problem
        if numeric:
            return Unreadable(Reason.NUMERIC, "the step's counts are not usable numbers")
        if isinstance(rule.signal, QuantileSignal):
            edges = common_edges(reading)
            if len(edges) < 2:
                return beyond(edges)
            if not paused:
                known = rule.name in self._control_known
                return beyond(edges) if known else Unreadable(Reason.WARMING_UP, "control's past hour is empty")
        return Unreadable(
            Reason.DRAINING, "the percent had just changed: requests and feedback from before it were still arriving"
        )
