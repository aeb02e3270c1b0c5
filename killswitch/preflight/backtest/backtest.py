"""Back-testing: history replayed through the daemon's own jury, dossier and decision.

Rules judged by evidence are taken through history in long blocks; where a block's trace shows a breach,
the block is taken again up to that tick, the window is read, and `decide` has the word, as it has
in the daemon. Rules judged by the bare comparison are looked at tick by tick. A rollout stops at its
first trip, as the switch would have stopped it, unless it is to be re-armed.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, Unavailable
from killswitch.flags import flag as flags
from killswitch.flags.flag import Flag
from killswitch.model import (
    Buckets,
    Counts,
    Decide,
    Finding,
    Measurement,
    QuantileSignal,
    Reading,
    Readings,
    Reason,
    Rollout,
    Rule,
    Scalar,
    Unreadable,
    Verdict,
    Want,
)
from killswitch.preflight.backtest.ramp_detection import SIDE, Stage, ramp_of
from killswitch.sources import Source
from killswitch.verdicts.accumulator import warm_up_seconds
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.catch_up import PASSING, first_step, last_step
from killswitch.verdicts.compare import Comparison, compare, too_few_requests
from killswitch.verdicts.decide import Decision, DecisionKind, decide
from killswitch.verdicts.evaluator import PER_USER, WINDOW, Evaluator
from killswitch.verdicts.evidence import Trace
from killswitch.verdicts.evidence.starts import LONGEST_DRAIN
from killswitch.verdicts.missing_events import MissingEvents, never_counted
from killswitch.verdicts.shown_windows import Windows
from killswitch.verdicts.step_counts import PAST, SPLIT_BY, STEP, STEP_PER_USER, beyond, common_edges

Array = npt.NDArray[np.float64]
DAY = 86_400.0
BLOCK_SECONDS = DAY
# readings held at once: of a block, over all rollouts that are read together
_MOST_READINGS = 400_000
_MOST_TOGETHER = 50
_LARGEST_PERCENT = flags.STAGES["full"]
_BY = "back-test"
_FEWEST_TICKS = 120
# the source as a whole has failed, and not one question
_LOST = frozenset({Reason.SOURCE_DOWN, Reason.SOURCE_TIMEOUT})


@dataclass(frozen=True, slots=True)
class Terms:
    """What is replayed and how. Times are Unix seconds, durations seconds.

    ``interval`` between ticks, ``step`` between evidence ticks. ``armed_at`` None: from the first tick at
    which both cohorts have requests. ``percent`` None: the canary's share of requests as measured.
    ``rearm_after`` None: the first trip is the last. ``patience``: the total for one read.
    ``tracks``: keep each rule's evidence tick by tick, for a picture.
    """

    since: float
    until: float
    interval: float = 30.0
    step: float = 30.0
    armed_at: float | None = None
    percent: float | None = None
    rearm_after: float | None = None
    patience: float = 120.0
    tracks: bool = False


@dataclass(frozen=True, slots=True)
class ReplayedTrip:
    """The switch would have acted: ``rule`` came first, ``rules`` are all that were over at ``at``."""

    rollout: str
    rule: str
    rules: tuple[str, ...]
    at: float
    sentence: str
    generation: int
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True)
class RuleHistory:
    """What became of one rule. ``ticks`` moved it, ``unknown`` counts those that did not, by reason.

    ``peak``: the most the evidence ever came to, at ``peak_at``; ``needed`` is where it is a breach (all None
    without evidence). ``example`` is one of the reasons in words. ``events`` of ``trials``: what both cohorts
    counted together, where the rule counts. ``track``: (times, evidence).

    ``suspect``: of ``ticks``, those that were over the limit in the window, not proven. Where evidence is gathered,
    the window is the sum of its steps, since no windows are read.
    """

    name: str
    ticks: int = 0
    suspect: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    example: str = ""
    peak: float | None = None
    peak_at: float | None = None
    needed: float | None = None
    events: float = 0.0
    trials: float = 0.0
    track: list[tuple[Array, Array]] = field(default_factory=list)

    def missed(self, reason: Reason, detail: str) -> None:
        self.unknown[reason.value] += 1
        self.example = detail

    def count(self, reading: Reading) -> None:
        """Add up what a step counted."""
        for side in (reading.canary, reading.control):
            if isinstance(side, Counts):
                self.events += side.events
                self.trials += side.trials


@dataclass(frozen=True, slots=True)
class RolloutHistory:
    """What became of one rollout. ``armed_at`` None: it was not judged; ``problem`` says so, ``why`` for each rule.

    ``percent`` is the flag's when it was armed, ``stages`` its ramp from there on, as far as traffic shows it.
    """

    rollout: Rollout
    armed_at: float | None
    percent: float | None
    ticks: int
    trips: tuple[ReplayedTrip, ...]
    rules: tuple[RuleHistory, ...]
    problem: str | None = None
    split_is_wrong: bool = False
    stages: tuple[Stage, ...] = ()
    why: tuple[str, ...] = ()

    @property
    def doubts(self) -> tuple[str, ...]:
        """Of rules that never had an event: perhaps they count none."""
        rules = zip(self.rollout.rules, self.rules, strict=True)
        found = ((rule, never_counted(rule, kept.events, kept.trials)) for rule, kept in rules)
        return tuple(f"{rule.name}: {doubt}" for rule, doubt in found if doubt is not None)

    @property
    def never_judged(self) -> tuple[RuleHistory, ...]:
        """Rules that had no usable tick at all: their silence is not health."""
        return tuple(rule for rule in self.rules if not rule.ticks)


@dataclass(slots=True)
class BareRule:
    """What the bare comparison would have done with one rule: how often it fired anew, and when first."""

    name: str
    episodes: int = 0
    ticks_over: int = 0
    first: float | None = None
    sentence: str = ""


Progress = Callable[[float], None]
"""Told the share of the work that is done, 0 to 1."""


def backtest(
    source: Source, rollouts: Sequence[Rollout], terms: Terms, progress: Progress = lambda _: None
) -> tuple[RolloutHistory, ...]:
    """Every rollout's history, in the order given. Raises Unavailable or AccessDenied when the source fails."""
    found: list[RolloutHistory] = []
    for start in range(0, len(rollouts), _MOST_TOGETHER):
        some = rollouts[start : start + _MOST_TOGETHER]
        replays = [_replay_of(rollout, source, terms) for rollout in some]
        done, share = start / len(rollouts), len(some) / len(rollouts)
        for step in sorted({replay.spacing for replay in replays}):
            alike = [replay for replay in replays if replay.spacing == step]
            _run_together(source, alike, terms, _part_of(progress, done, share))
        found += [replay.history() for replay in replays]
    progress(1.0)
    return tuple(found)


def _part_of(progress: Progress, done: float, share: float) -> Progress:
    return lambda part: progress(done + part * share)


def bare_comparison(
    source: Source, histories: Sequence[RolloutHistory], terms: Terms, progress: Progress = lambda _: None
) -> Mapping[str, tuple[BareRule, ...]]:
    """By rollout, what `decide: threshold` would have done from the same arming to the end, without stopping."""
    found: dict[str, tuple[BareRule, ...]] = {}
    for position, history in enumerate(histories):
        if history.armed_at is not None:
            rollout = replace(history.rollout, decide=Decide.THRESHOLD)
            case = _case(rollout, history.armed_at, history.percent or 1.0)
            replay = _BareReplay(rollout, source, replace(terms, armed_at=history.armed_at, percent=history.percent))
            rules = {rule.name: BareRule(rule.name) for rule in rollout.rules}
            over: set[str] = set()
            wants = replay.wants
            for done, ticks in _blocks(history.armed_at, terms.until, terms.interval, len(wants)):
                for tick, findings in replay.judged(case, ticks, _read(source, wants, ticks, terms)):
                    over = _count_episodes(rules, over, tick, findings)
                progress((position + done) / len(histories))
            found[rollout.name] = tuple(rules.values())
        progress((position + 1) / len(histories))
    return found


def _count_episodes(
    rules: Mapping[str, BareRule], over: set[str], tick: float, findings: Sequence[Finding]
) -> set[str]:
    now = {finding.rule: finding for finding in findings if finding.verdict is Verdict.BREACH}
    for name, finding in now.items():
        rule = rules[name]
        rule.ticks_over += 1
        rule.episodes += name not in over
        if rule.first is None:
            rule.first, rule.sentence = tick, finding.sentence
    silent = {finding.rule for finding in findings if finding.verdict is Verdict.UNKNOWN}
    return set(now) | (over & silent)


# --- what all replays share ---------------------------------------------------------------------


class _Replay:
    """One rollout on its way through history: waiting for data, armed, tripped, re-armed."""

    spacing: float

    def __init__(self, rollout: Rollout, source: Source, terms: Terms) -> None:
        self.rollout = rollout
        self.source = source
        self.terms = terms
        self.case: ArmedRollout | None = None
        self.first_armed: float | None = None
        self.percent = terms.percent
        self.stages: list[Stage] = []
        self.ticks = 0
        self.trips: list[ReplayedTrip] = []
        self.rules = {rule.name: RuleHistory(rule.name) for rule in rollout.rules}
        self.done = False
        self._flag: Flag | None = None
        self._arm_at = terms.armed_at
        self._why_not: dict[str, Unreadable] = {}
        self.jury = Evaluator(interval=terms.interval, step=terms.step)
        self.wants: Sequence[Want] = ()

    def take(self, ticks: Sequence[float], readings: Mapping[float, Readings]) -> None:
        """One more block of history."""
        position = 0
        while position < len(ticks) and not self.done:
            if self.case is None:
                position = self._arm(ticks, position, readings)
            else:
                position = self._run(self.case, ticks, position, readings)
        self._remember(ticks, readings)

    def history(self) -> RolloutHistory:
        problem = None
        if self.first_armed is None:
            problem = "it never had requests in both cohorts" if self._why_not else "no tick lies after its arming"
            if any(why.detail.startswith("control: no requests") for why in self._why_not.values()):
                problem += "; at 100% the daemon judges by a stored baseline, and that is not replayed"
        rules = tuple(self.rules.values())
        return RolloutHistory(
            self.rollout,
            self.first_armed,
            self.percent,
            self.ticks,
            tuple(self.trips),
            rules,
            problem,
            self.terms.percent is not None and self.jury.dossier.split_is_wrong(self.rollout.name),
            tuple(self.stages),
            ()
            if problem is None
            else tuple(f"{rule}: {why.reason}: {why.detail}" for rule, why in self._why_not.items()),
        )

    def _run(
        self, case: ArmedRollout, ticks: Sequence[float], position: int, readings: Mapping[float, Readings]
    ) -> int:
        """Judge from ``ticks[position]`` on; the position after the last tick that was judged."""
        raise NotImplementedError

    def _opened(self, case: ArmedRollout, ticks: Sequence[float], readings: Mapping[float, Readings]) -> None:
        """A generation begins; an hour of control's past is in ``readings`` or was remembered."""

    def _remember(self, ticks: Sequence[float], readings: Mapping[float, Readings]) -> None:
        """A block is over."""

    def _arm(self, ticks: Sequence[float], position: int, readings: Mapping[float, Readings]) -> int:
        """Where the next generation begins; past the end when that is not in this block."""
        if self._arm_at is None:
            while position < len(ticks) and not self._has_data(readings[ticks[position]], ticks[position]):
                position += 1
            if position == len(ticks):
                return position
            self._arm_at = ticks[position] - self.spacing
        begins = first_step(self._arm_at, self.spacing)
        if begins > ticks[-1]:
            return len(ticks)
        stages: Sequence[Stage] = [Stage(self._arm_at, self.terms.percent or 0.0)]
        if self.terms.percent is None:
            stages = self._ramp(begins, [tick for tick in ticks if tick > begins], readings)
        self.percent = stages[0].percent
        if self._flag is None:
            self.case = _case(self.rollout, self._arm_at, self.percent)
        else:
            armed = flags.rearm(
                self._flag,
                rollout=self.rollout.name,
                reason=_BY,
                now=self._arm_at,
                by=_BY,
                percent=self.percent,
                stage=self._flag.trip.stage_before if self._flag.trip else "custom",
            )
            self.case = ArmedRollout(self.rollout, armed, self._arm_at)
        self._flag = self.case.flag
        self.stages += [Stage(self._arm_at, self.percent)]
        self._go_on(stages[1:])
        self.first_armed = self._arm_at if self.first_armed is None else self.first_armed
        self._opened(self.case, ticks, readings)
        return int(np.searchsorted(np.array(ticks), begins + self.spacing / 2))

    def _ramp(self, begins: float, ticks: Sequence[float], readings: Mapping[float, Readings]) -> Sequence[Stage]:
        """The stages of these ticks, one at least, as the flag might have had them."""
        return [Stage(begins, _measured_percent(readings, ticks))]

    def _go_on(self, stages: Sequence[Stage]) -> None:
        """More of the ramp that the armed flag goes through."""
        for stage in stages:
            assert self.case is not None
            staged = flags.set_stage(
                self.case.flag,
                rollout=self.rollout.name,
                percent=stage.percent,
                stage=flags.resolve_stage(None, stage.percent)[0],
                now=stage.at,
                by=_BY,
                actor=flags.Actor.PERSON,
            )
            self.case = replace(self.case, flag=staged)
            self._flag = staged
        self.stages += stages

    def _has_data(self, readings: Readings, tick: float) -> bool:
        """Whether some rule has requests in both cohorts; otherwise why not is kept."""
        for want in self.wants:
            if want.part == PAST:
                continue
            reading = readings[want.key]
            problem = _problem(reading) or _no_requests(reading)
            if problem is not None:
                if want.part in (STEP, WINDOW):
                    self._why_not[want.rule] = problem
            elif tick > self.terms.since:
                return True
        return False

    def _decided(self, case: ArmedRollout, tick: float, findings: tuple[Finding, ...]) -> bool:
        """Whether the switch acts at this tick; then the generation is over."""
        decision = decide(findings, case.flag, case.rollout)
        if decision.action not in (DecisionKind.TRIP, DecisionKind.WOULD_TRIP):
            return False
        self._tripped(case, tick, decision, findings)
        return True

    def _tripped(self, case: ArmedRollout, tick: float, decision: Decision, findings: tuple[Finding, ...]) -> None:
        rules = tuple(finding.rule for finding in decision.tripping)
        name, flag = case.rollout.name, case.flag
        self.trips.append(ReplayedTrip(name, rules[0], rules, tick, decision.sentence, flag.generation, findings))
        self.case = None
        if self.terms.rearm_after is None:
            self.done = True
            return
        self._arm_at = tick + self.terms.rearm_after
        self._flag = flags.trip(
            flag,
            rollout=name,
            reason=decision.sentence,
            rules=rules,
            incident=f"{name}/{flag.generation}",
            now=tick,
            by=_BY,
            actor=flags.Actor.CONTROLLER,
        )


# --- by evidence --------------------------------------------------------------------------------


_JUDGED = ("", "", "judged")


class _EvidenceReplay(_Replay):
    def __init__(self, rollout: Rollout, source: Source, terms: Terms) -> None:
        super().__init__(rollout, source, terms)
        self.spacing = terms.step
        self._past: dict[float, Readings] = {}
        self._twins: set[str] = set()
        self._unheard: dict[str, MissingEvents] = {}
        self._windows: dict[str, Windows] = {}
        self._arming = 0.0
        self._control_known: set[str] = set()
        self._case = _case(rollout, terms.since, 1.0)
        # until it is armed also what control did before cohorts had labels
        self.wants = self.jury.dossier.past_wants(self._case)

    def take(self, ticks: Sequence[float], readings: Mapping[float, Readings]) -> None:
        if self.case is not None and self.terms.percent is None:
            before = [tick for tick in sorted(self._past) if tick > self.case.armed_at][-2 * SIDE :]
            known = {**{tick: self._past[tick] for tick in before}, **readings}
            stages = self._ramp(self.case.armed_at, [*before, *ticks], known)
            close = SIDE * self.spacing
            for stage in stages[1:]:
                if abs(stage.at - self.stages[-1].at) < close and len(self.stages) > 1:
                    # seen at the last block's end by a few steps; now there are more
                    self.stages[-1] = replace(self.stages[-1], percent=stage.percent)
                elif stage.at > max(self.stages[-1].at, ticks[0] - close):
                    self._go_on([stage])
        super().take(ticks, readings)
        if self.case is not None:
            self.wants = self.jury.dossier.wants(self._case)

    def _ramp(self, begins: float, ticks: Sequence[float], readings: Mapping[float, Readings]) -> Sequence[Stage]:
        named = [rule.name for rule in self.rollout.rules if rule.name == SPLIT_BY] or [
            want.rule for want in self.wants[:1]
        ]
        pairs = []
        for tick in ticks:
            sides = (
                readings[tick].get((self.rollout.name, name, part)) for name in named for part in (STEP, STEP_PER_USER)
            )
            usable = next((side for side in sides if side is not None and _problem(side) is None), None)
            pairs.append((_trials(usable.canary), _trials(usable.control)) if usable else (math.nan, math.nan))
        canary, control = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
        stages = ramp_of(np.array(ticks), canary, control, begins=begins, step=self.spacing)
        # too few requests to tell: as good as any
        return [Stage(stage.at, _flag_percent(stage.percent)) for stage in stages] or [Stage(begins, 1.0)]

    def _opened(self, case: ArmedRollout, ticks: Sequence[float], readings: Mapping[float, Readings]) -> None:
        at = first_step(case.armed_at, self.spacing)
        known = {**self._past, **{tick: readings[tick] for tick in ticks}}
        past = {tick: each for tick, each in known.items() if at - warm_up_seconds(self.spacing) < tick <= at}
        self._twins.clear()
        self._unheard.clear()
        self._windows = {rule.name: Windows(self.spacing, self.rollout.window) for rule in self.rollout.rules}
        self._arming = case.armed_at
        self._control_known = {
            name for name in self.rules for each in past.values() if self._has_histogram_of_control(name, each)
        }
        self.jury.dossier.open([case], at, past, from_arming=True)

    def _remember(self, ticks: Sequence[float], readings: Mapping[float, Readings]) -> None:
        oldest = ticks[-1] - warm_up_seconds(self.spacing)
        known = {**self._past, **{tick: readings[tick] for tick in ticks if tick > oldest}}
        self._past = {tick: each for tick, each in known.items() if tick > oldest}

    def _run(
        self, case: ArmedRollout, ticks: Sequence[float], position: int, readings: Mapping[float, Readings]
    ) -> int:
        block = ticks[position:]
        before = copy.deepcopy(self.jury)
        trace = self.jury.dossier.take([case], block, readings)
        assert trace is not None
        columns = self.jury.dossier.columns(case.rollout.name)
        breaches = np.flatnonzero(trace.breach[:, list(columns.values())].any(axis=1))
        if not breaches.size:
            self._note(trace, columns, block, readings)
            return len(ticks)
        self.jury = before
        upto = int(breaches[0]) + 1
        trace = self.jury.dossier.take([case], block[:upto], readings)
        assert trace is not None
        self._note(trace, columns, block[:upto], readings)
        if self._acts(case, block[upto - 1]):
            return position + upto
        # a breach the switch does not act on (the first tick of a generation): look at each tick until it ends
        for at in range(upto, len(block)):
            trace = self.jury.dossier.take([case], block[at : at + 1], readings)
            assert trace is not None
            self._note(trace, columns, block[at : at + 1], readings)
            if not trace.breach[-1, list(columns.values())].any() or self._acts(case, block[at]):
                return position + at + 1
        return len(ticks)

    def _acts(self, case: ArmedRollout, step: float) -> bool:
        """The daemon's tick at or after an evidence tick, judged as there."""
        tick = math.ceil(step / self.terms.interval - 1e-9) * self.terms.interval
        wants = self.jury.wants([case], tick)
        readings = _read(self.source, wants, [tick], self.terms)[tick] if wants else {}
        return self._decided(case, tick, self.jury.judge([case], tick, readings)[case.rollout.name])

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
            view = self.jury.dossier.view(self.rollout.name, rule.name)
            kept.needed = view.needed if view is not None else None
            for at, moved in enumerate(trace.updated[:, row].tolist()):
                reading = self._judged(rule, readings[ticks[at]])
                kept.count(reading)
                self._windows[rule.name].take([_JUDGED], [ticks[at]], {ticks[at]: {_JUDGED: reading}})
                problem = self._unheard_of(rule, readings[ticks[at]], ticks[at])
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
        """Whether slow requests of before the last change of percent may still be coming home."""
        longest = LONGEST_DRAIN + self.spacing
        return any(0 < tick - stage.at <= longest for stage in self.stages)

    def _has_histogram_of_control(self, rule: str, readings: Readings) -> bool:
        found = (readings.get((self.rollout.name, rule, part)) for part in (STEP, STEP_PER_USER, PAST))
        return any(
            each is not None and isinstance(each.control, Buckets) and _trials(each.control) > 0 for each in found
        )

    def _judged(self, rule: Rule, readings: Readings) -> Reading:
        plain = readings[self.rollout.name, rule.name, STEP]
        twin = readings.get((self.rollout.name, rule.name, STEP_PER_USER))
        if twin is not None and not any(isinstance(side, Unreadable) for side in (twin.canary, twin.control)):
            self._twins.add(rule.name)
        return twin if twin is not None and rule.name in self._twins else plain

    def _unheard_of(self, rule: Rule, readings: Readings, tick: float) -> Unreadable | None:
        """Why a tick that moved a rule says nothing all the same."""
        unheard = self._unheard.setdefault(rule.name, MissingEvents())
        return unheard.after(rule, self._judged(rule, readings), tick - self._arming)

    def _why_silent(self, rule: Rule, readings: Readings, *, paused: bool, numeric: bool) -> Unreadable:
        """Why a tick did not move a rule."""
        reading = self._judged(rule, readings)
        problem = _problem(reading) or _no_requests(reading)
        if problem is not None:
            return problem
        if numeric:
            return Unreadable(Reason.NUMERIC, "the counts of the step are no counts")
        if isinstance(rule.signal, QuantileSignal):
            edges = common_edges(reading)
            if len(edges) < 2:
                return beyond(edges)
            if not paused:
                known = rule.name in self._control_known
                return beyond(edges) if known else Unreadable(Reason.WARMING_UP, "control's past hour is empty")
        return Unreadable(
            Reason.DRAINING, "the percent had just changed: what was asked or said before it was still coming in"
        )


# --- by the bare comparison ---------------------------------------------------------------------


class _BareReplay(_Replay):
    def __init__(self, rollout: Rollout, source: Source, terms: Terms) -> None:
        super().__init__(rollout, source, terms)
        self.spacing = terms.interval
        # whole windows; the shorter ones just after an arming are read where they are needed
        self.wants = self.jury.wants([_case(rollout, terms.since - 2 * rollout.window, 1.0)], terms.since)
        self._counted_until = -math.inf

    def judged(
        self, case: ArmedRollout, ticks: Sequence[float], readings: Mapping[float, Readings]
    ) -> Iterator[tuple[float, tuple[Finding, ...]]]:
        for tick in ticks:
            at = readings[tick]
            if tick < case.armed_at + case.rollout.window:
                wants = self.jury.wants([case], tick)
                at = _read(self.source, wants, [tick], self.terms)[tick] if wants else {}
            yield tick, self.jury.judge([case], tick, at)[case.rollout.name]

    def _run(
        self, case: ArmedRollout, ticks: Sequence[float], position: int, readings: Mapping[float, Readings]
    ) -> int:
        for offset, (tick, findings) in enumerate(self.judged(case, ticks[position:], readings)):
            self.ticks += 1
            self._count(tick, readings)
            for finding in findings:
                if finding.verdict is Verdict.UNKNOWN:
                    self.rules[finding.rule].missed(finding.reason or Reason.INTERNAL_ERROR, finding.sentence)
                else:
                    self.rules[finding.rule].ticks += 1
                    self.rules[finding.rule].suspect += finding.verdict is Verdict.SUSPECT
            if self._decided(case, tick, findings):
                return position + offset + 1
        return len(ticks)

    def _count(self, tick: float, readings: Mapping[float, Readings]) -> None:
        """Windows overlap: each is counted once it holds nothing of the last one that was."""
        if tick < self._counted_until + self.rollout.window:
            return
        self._counted_until = tick
        for rule in self.rollout.rules:
            found = readings[tick].get((self.rollout.name, rule.name, WINDOW))
            if found is not None:
                self.rules[rule.name].count(found)


# --- reading ------------------------------------------------------------------------------------


def _replay_of(rollout: Rollout, source: Source, terms: Terms) -> _Replay:
    kind = _EvidenceReplay if rollout.decide is Decide.EVIDENCE else _BareReplay
    return kind(rollout, source, terms)


def _run_together(source: Source, replays: Sequence[_Replay], terms: Terms, progress: Progress) -> None:
    """Replays with the same spacing of ticks, read in one go, block by block."""
    begins = terms.since if terms.armed_at is None else max(terms.since, terms.armed_at)
    most = sum(len(replay.wants) for replay in replays)
    for done, ticks in _blocks(begins - warm_up_seconds(terms.step), terms.until, replays[0].spacing, most):
        waiting = [replay for replay in replays if not replay.done]
        if not waiting:
            return
        readings = _read(source, [want for replay in waiting for want in replay.wants], ticks, terms)
        for replay in waiting:
            replay.take(ticks, readings)
        progress(done)


def _blocks(after: float, until: float, spacing: float, wants: int) -> Iterator[tuple[float, list[float]]]:
    """The ticks in (after, until], multiples of ``spacing``, in portions; with each the share done after it."""
    first = math.floor(after / spacing + 1e-9) + 1
    last = round(last_step(until, spacing) / spacing)
    size = max(_FEWEST_TICKS, min(round(BLOCK_SECONDS / spacing), _MOST_READINGS // max(wants, 1)))
    for start in range(first, last + 1, size):
        end = min(start + size, last + 1)
        yield (end - first) / (last + 1 - first), [number * spacing for number in range(start, end)]


def read_windows(
    source: Source, rollout: Rollout, terms: Terms, *, most: int
) -> tuple[list[float], Mapping[str, list[Reading]]]:
    """Windows over the whole history at no more than ``most`` ticks, by rule: what a dashboard would draw."""
    spacing = terms.interval * max(1, math.ceil((terms.until - terms.since) / terms.interval / most))
    # a rollout that evidence decides reads steps alone; a dashboard draws windows whatever decides
    judged = _BareReplay(replace(rollout, decide=Decide.THRESHOLD), source, terms)
    ticks: list[float] = []
    found: dict[str, list[Reading]] = {rule.name: [] for rule in rollout.rules}
    twins: set[str] = set()
    for _, block in _blocks(terms.since, terms.until, spacing, len(judged.wants)):
        readings = _read(source, judged.wants, block, terms)
        ticks += block
        for tick in block:
            for rule in rollout.rules:
                twin = readings[tick].get((rollout.name, rule.name, PER_USER))
                if twin is not None and not isinstance(twin.canary, Unreadable):
                    twins.add(rule.name)
                plain = readings[tick][rollout.name, rule.name, WINDOW]
                found[rule.name].append(twin if twin is not None and rule.name in twins else plain)
    return ticks, found


def step_readings(source: Source, rollout: Rollout, terms: Terms) -> list[Readings]:
    """Every evidence step of the history, as the dossier would take it; for those that want control's past alone."""
    wants = Evaluator(interval=terms.interval, step=terms.step).dossier.wants(
        _case(replace(rollout, decide=Decide.EVIDENCE), terms.since, 1.0)
    )
    if not wants:
        return []
    blocks = _blocks(terms.since, terms.until, terms.step, len(wants))
    return [readings for _, ticks in blocks for readings in _read(source, wants, ticks, terms).values()]


def _read(source: Source, wants: Sequence[Want], ticks: Sequence[float], terms: Terms) -> Mapping[float, Readings]:
    """Raises Unavailable or AccessDenied where the source itself failed: half a history proves nothing."""
    readings = source.read_back(wants, ticks, Deadline(terms.patience))
    for tick in (ticks[0], ticks[-1]):
        sides = [side for reading in readings[tick].values() for side in (reading.canary, reading.control)]
        failed = [side for side in sides if isinstance(side, Unreadable) and side.reason in PASSING]
        lost = [side for side in failed if side.reason in _LOST]
        if lost or (failed and len(failed) == len(sides)):
            problem = (lost or failed)[0]
            kind = AccessDenied if problem.reason is Reason.SOURCE_REFUSED else Unavailable
            raise kind(f"the metric store gave no answer ({problem.reason}): {problem.detail}")
    return readings


def _case(rollout: Rollout, armed_at: float, percent: float) -> ArmedRollout:
    armed = flags.arm(
        None,
        rollout=rollout.name,
        control=rollout.control,
        canary=rollout.canary,
        percent=percent,
        stage=flags.resolve_stage(None, percent)[0],
        now=armed_at,
        by=_BY,
    )
    return ArmedRollout(rollout, armed, armed_at)


def _problem(reading: Reading) -> Unreadable | None:
    for cohort, side in (("canary", reading.canary), ("control", reading.control)):
        if isinstance(side, Unreadable):
            return Unreadable(side.reason, f"{cohort}: {side.detail}")
    return None


def _no_requests(reading: Reading) -> Unreadable | None:
    for cohort, side in (("canary", reading.canary), ("control", reading.control)):
        if not _trials(side) > 0:
            return Unreadable(Reason.NO_DATA, f"{cohort}: no requests")
    return None


def _trials(measurement: Measurement) -> float:
    match measurement:
        case Counts(_, trials):
            return trials
        case Buckets(_, counts) if counts:
            return counts[-1]
        case Scalar():
            return 1.0
        case _:
            return 0.0


def _measured_percent(readings: Mapping[float, Readings], ticks: Sequence[float]) -> float:
    """The canary's share of the requests of a block, to three digits; as the flag might have said."""
    canary = control = 0.0
    for tick in ticks:
        for reading in readings[tick].values():
            if isinstance(reading.canary, Counts) and isinstance(reading.control, Counts):
                canary, control = canary + reading.canary.trials, control + reading.control.trials
    return _flag_percent(100.0 * canary / (canary + control) if canary + control else 1.0)


def _flag_percent(share: float) -> float:
    return min(max(float(f"{share:.3g}"), 0.001), _LARGEST_PERCENT)
