"""The evaluator: what is remembered of verdicts between ticks, for all rollouts. No I/O, no clock.

The controller asks it what to read and hands it the readings; the replay of history does exactly the
same, so a back-test is the daemon's own verdicts and not a second opinion.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from killswitch.flags.flag import AA
from killswitch.model import (
    Decide,
    Finding,
    Mode,
    PageSettings,
    RatioSignal,
    Reading,
    Readings,
    Reason,
    Rollout,
    Rule,
    Unreadable,
    Verdict,
    Want,
)
from killswitch.timestamps import DAY
from killswitch.verdicts import judge
from killswitch.verdicts.accumulator import EvidenceAccumulator
from killswitch.verdicts.armed_rollout import ArmedRollout, PerArmedRollout
from killswitch.verdicts.baseline import beside
from killswitch.verdicts.compare import Comparison, compare
from killswitch.verdicts.entry import STEP, STEP_PER_USER
from killswitch.verdicts.evidence.starts import renewals
from killswitch.verdicts.evidence_view import EvidenceView
from killswitch.verdicts.judge import Streak
from killswitch.verdicts.judged_rules import judged_by_evidence, keeps_windows
from killswitch.verdicts.missing_events import MissingEvents
from killswitch.verdicts.per_user_signal import PerUserSignal
from killswitch.verdicts.sentences import AA_SAID, offset_in_words
from killswitch.verdicts.shown_windows import LOST, span

log = logging.getLogger(__name__)
WINDOW = "window"
PER_USER = "twin"
AA_STAGE = "aa"
AA_STAGE_PER_USER = "aa_twin"
# so long may a breach wait for the flag store
LONGEST_ALARM = 3600.0


@dataclass(slots=True)
class _Memory:
    """What is remembered of one generation of one rollout. ``began``: the first tick it was judged at."""

    generation: tuple[int, float, tuple[float, ...], Rollout]
    began: float
    streaks: dict[str, Streak] = field(default_factory=dict)
    alarms: dict[str, Alarm] = field(default_factory=dict)
    per_user: dict[str, PerUserSignal] = field(default_factory=dict)


class Alarm(NamedTuple):
    """What a rule's evidence was when it became a breach, at ``tick``, in a rollout whose breaches are acted on."""

    view: EvidenceView
    tick: float


@dataclass(frozen=True, slots=True)
class _RuleInputs:
    """What is known of one rule of a case before anything is read: its readings' keys, and how it is judged.

    ``of_steps``: its windows are sums of the steps that evidence has read.
    """

    rule: Rule
    window: tuple[str, str, str]
    per_user: tuple[str, str, str] | None
    by_evidence: bool
    of_steps: bool


class Evaluator:
    """Judges all rules of all rollouts at one tick after another.

    ``interval``: seconds between ticks; ``step``: seconds between evidence ticks. The evidence itself is in
    ``accumulator``, which whoever reads (the controller, a replay) keeps up to date.
    """

    def __init__(self, *, interval: float, step: float) -> None:
        self._interval = interval
        self._memory: dict[str, _Memory] = {}
        self.accumulator = EvidenceAccumulator(step=step)
        self._rule_inputs = PerArmedRollout(_rule_inputs)
        self._renewals = PerArmedRollout(_renewals)
        self._judged_as = PerArmedRollout(_judged_as)
        # by rollout: the newest renewal and the first tick at which it was seen
        self._seen: dict[str, tuple[float, float]] = {}
        self._asked: dict[str, tuple[ArmedRollout, float, list[Want]]] = {}

    def wants(self, cases: Iterable[ArmedRollout], tick: float) -> list[Want]:
        """The windows that have to be read to judge these cases at ``tick``.

        The very same wants as long as nothing changes: sources know them again.
        """
        return [want for case in cases for want in self._known_windows(case, tick)]

    def cannot_read(self, cases: Iterable[ArmedRollout], problem: Unreadable) -> None:
        """The source could not be asked for these cases' steps at this tick."""
        for case in cases:
            self.accumulator.note_unread(case.rollout.name, answer_all(self.accumulator.wants(case), problem))

    def judge(self, cases: Sequence[ArmedRollout], tick: float, readings: Readings) -> dict[str, tuple[Finding, ...]]:
        """Findings by rollout, one a rule, in the order of the rule file."""
        return {case.rollout.name: self._judge_case(case, tick, readings) for case in cases}

    def lookback(self, case: ArmedRollout) -> int:
        """How many earlier ticks must be judged first, so that a fresh evaluator says what an old one would."""
        if case.rollout.decide is Decide.EVIDENCE:
            return 0
        return max((rule.for_ticks for rule in case.rollout.rules), default=1) - 1

    def evidence_of(self, case: ArmedRollout, rule: Rule) -> EvidenceView | None:
        """What a rule is judged by; None where evidence does not decide, or has not been gathered yet.

        The accumulator may still hold what was gathered before the rules were edited. That decides nothing, and says
        nothing about how old a verdict is.
        """
        return self.accumulator.view_for(case, rule) if judged_by_evidence(case, rule) else None

    def forget(self, keep: Iterable[str]) -> None:
        """Drop every rollout not named: it is tripped, ended, or no longer has a rule file."""
        kept = set(keep)
        self._memory = {name: memory for name, memory in self._memory.items() if name in kept}
        self._asked = {name: asked for name, asked in self._asked.items() if name in kept}
        self._rule_inputs.keep(kept)
        self._renewals.keep(kept)
        self._judged_as.keep(kept)
        self._seen = {name: seen for name, seen in self._seen.items() if name in kept}
        self.accumulator.keep(kept)

    def window_seconds(self, case: ArmedRollout, tick: float) -> float:
        """How far the windows of a case reach back at ``tick``: not before it was armed, nor to another model."""
        age = tick - self._began_at(case, tick)
        if case.rollout.decide is Decide.EVIDENCE and keeps_windows(case):  # whole steps
            step = self.accumulator.step
            return min(span(case.rollout.window, step), math.floor(age / step + 1e-9) * step)
        return min(case.rollout.window, math.floor(age / self._interval + 1e-9) * self._interval)

    def _began_at(self, case: ArmedRollout, tick: float) -> float:
        """Since when the same model serves the canary's users.

        A person's clock may be ahead of the metric store's: then it is the tick before the one that first saw it.
        """
        renewals = self._renewals(case)
        if not renewals:
            return case.armed_at
        newest = renewals[-1]
        known, first = self._seen.get(case.rollout.name, (-math.inf, tick))
        if known != newest or tick < first:
            self._seen[case.rollout.name] = (newest, tick)
            first = tick
        return max(case.armed_at, min(newest, first - self._interval))

    def _known_windows(self, case: ArmedRollout, tick: float) -> list[Want]:
        name, seconds = case.rollout.name, self.window_seconds(case, tick)
        if case.flag.stage == AA:  # what is asked since the stage began grows with every tick
            return self._windows(case, tick, seconds)
        asked = self._asked.get(name)
        if asked is None or asked[0] is not case or asked[1] != seconds:
            asked = self._asked[name] = (case, seconds, self._windows(case, tick, seconds))
        return asked[2]

    def _windows(self, case: ArmedRollout, tick: float, seconds: float) -> list[Want]:
        if seconds <= 0:
            return []
        wants: list[Want] = []
        for rule in case.rollout.rules:
            want = Want(
                rollout=case.rollout.name,
                rule=rule.name,
                part=WINDOW,
                signal=rule.signal,
                cohorts=case.rollout.cohorts_of(rule),
                seconds=seconds,
                absent_is_zero=rule.absent_is_zero,
            )
            if not shows_steps(case, rule):
                wants.append(want)
                if rule.per_user is not None:
                    wants.append(replace(want, part=PER_USER, signal=rule.per_user))
            if case.flag.stage == AA and isinstance(rule.signal, RatioSignal):
                since_aa = replace(want, seconds=self._aa_seconds(case, tick))
                wants.append(replace(since_aa, part=AA_STAGE))
                if rule.per_user is not None:
                    wants.append(replace(since_aa, part=AA_STAGE_PER_USER, signal=rule.per_user))
        return wants

    def _aa_seconds(self, case: ArmedRollout, tick: float) -> float:
        """How long stage `aa` has lasted, in whole intervals, a day at most."""
        began = max(case.armed_at, min(case.flag.stages[-1].at, tick))
        slots = math.floor((tick - began) / self._interval + 1e-9)
        return min(DAY, max(slots, 1) * self._interval)

    def _memory_of(self, case: ArmedRollout, tick: float) -> _Memory:
        # The rules are part of it: a changed limit must not inherit the streak of the old one.
        renewed = self._renewals(case)[-1:]
        generation = (case.flag.generation, case.armed_at, renewed, self._judged_as(case))
        memory = self._memory.get(case.rollout.name)
        if memory is None or memory.generation != generation:
            memory = self._memory[case.rollout.name] = _Memory(generation, tick)
        return memory

    def _judge_case(self, case: ArmedRollout, tick: float, readings: Readings) -> tuple[Finding, ...]:
        memory = self._memory_of(case, tick)
        if self.window_seconds(case, tick) <= 0:
            since = "the stage began" if self._renewals(case) else "it was armed"
            early = Unreadable(Reason.JUST_ARMED, f"no whole interval has passed since {since}")
            return tuple(judge.unknown(rule, early) for rule in case.rollout.rules)
        wrong_split = self.accumulator.split_is_wrong(case.rollout.name)
        found: list[Finding] = []
        for inputs in self._rule_inputs(case):
            try:
                finding = self._judge_rule(case, inputs, memory, tick, readings)
                if wrong_split and inputs.by_evidence and _rests_on_the_split(finding):
                    finding = judge.mistrusted(finding, case.flag)
                found.append(self._remarked(case, inputs, memory, finding, readings))
            except Exception as error:  # one rule's bug must not disarm the others
                log.exception("judging %s %s failed", case.rollout.name, inputs.rule.name)
                found.append(judge.unknown(inputs.rule, judge.own_bug(error)))
        return tuple(found)

    def _judge_rule(
        self, case: ArmedRollout, inputs: _RuleInputs, memory: _Memory, tick: float, readings: Readings
    ) -> Finding:
        rule = inputs.rule
        view = self.accumulator.view_for(case, rule) if inputs.by_evidence else None
        reading, raw = (
            self._of_steps(case, inputs, tick, view)
            if inputs.of_steps
            else self._judged(case, inputs, memory, readings)
        )
        if reading is None:
            if view is None:
                return judge.not_gathered(rule, Comparison())
            return self._by_evidence(case, rule, memory, self._nothing_read(case), view, tick)
        if case.baseline is not None:
            reading = beside(rule, reading, case.baseline)
        comparison = compare(rule, reading, raw)
        # where evidence is gathered, its steps say so: a window cannot tell what is usual for control
        if not inputs.by_evidence and comparison.problem is None and case.baseline is None:
            age = tick - self._began_at(case, tick)
            comparison = comparison._replace(problem=MissingEvents().after(rule, reading, age))
        if view is not None:
            return self._by_evidence(case, rule, memory, comparison, view, tick)
        if inputs.by_evidence:
            # not opened yet: the bare comparison, looked at every tick, would trip on noise
            return judge.not_gathered(rule, comparison)
        streak = memory.streaks.get(rule.name, Streak())
        finding, memory.streaks[rule.name] = judge.judge_threshold(
            rule, comparison, streak, rollout=case.rollout, tick=tick, interval=self._interval
        )
        return finding

    def _of_steps(
        self, case: ArmedRollout, inputs: _RuleInputs, tick: float, view: EvidenceView | None
    ) -> tuple[Reading | None, Reading | None]:
        """The window of what evidence is gathered on, and the plain one beside it where that is the per-user signal."""
        since, seconds = self._began_at(case, tick), case.rollout.window
        name, rule = case.rollout.name, inputs.rule.name
        if view is None:
            return self.accumulator.unread(name, rule, STEP), None
        plain = self.accumulator.window(name, rule, STEP, since, seconds)
        if inputs.per_user is None or not self.accumulator.judges_per_user(name, rule):
            return plain, None
        return self.accumulator.window(name, rule, STEP_PER_USER, since, seconds), plain

    def _nothing_read(self, case: ArmedRollout) -> Comparison:
        """Why there is no step to show yet; evidence may say a breach all the same."""
        since = "the stage began" if self._renewals(case) else "it was armed"
        return Comparison(problem=Unreadable(Reason.JUST_ARMED, f"no whole step has passed since {since}"))

    def _by_evidence(
        self, case: ArmedRollout, rule: Rule, memory: _Memory, comparison: Comparison, view: EvidenceView, tick: float
    ) -> Finding:
        """Evidence begins at nothing after a breach; one that could not be acted on at once stands nevertheless.

        It does where a breach is acted on, for as long as the window has stayed over its limit since, an hour at most.
        So does one at a tick of the present window that was read late, together with later ones, while we watched.
        """
        fresh = 2 * self._interval
        finding = judge.judge_evidence(rule, comparison, view, rollout=case.rollout, tick=tick, fresh=fresh)
        passed = self.accumulator.passed_breach(case.rollout.name, rule.name)
        if case.rollout.mode is Mode.DRY_RUN or case.flag.stage == AA:
            return finding
        if finding.verdict is Verdict.BREACH:
            memory.alarms[rule.name] = Alarm(view, tick)
            return finding
        # the window that holds it, and all since, tells whether it stands
        if passed is not None and passed.until > max(memory.began, tick - case.rollout.window):
            memory.alarms[rule.name] = Alarm(passed, passed.until)
        alarm = memory.alarms.get(rule.name)
        if alarm is None or comparison.problem is not None:
            return finding
        if not comparison.over or tick - alarm.tick > LONGEST_ALARM or tick < alarm.tick:
            del memory.alarms[rule.name]
            return finding
        standing = alarm.view._replace(updated_at=view.updated_at, until=view.until)
        return judge.judge_evidence(rule, comparison, standing, rollout=case.rollout, tick=tick, fresh=fresh)

    def _remarked(
        self, case: ArmedRollout, inputs: _RuleInputs, memory: _Memory, finding: Finding, readings: Readings
    ) -> Finding:
        """Every message says against what was judged, and in stage `aa` how far these users differ by themselves."""
        if case.baseline is not None:
            return replace(finding, sentence=f"{finding.sentence}; {case.baseline.words}")
        if case.flag.stage != AA:
            return finding
        name, rule = case.rollout.name, inputs.rule.name
        part = AA_STAGE_PER_USER if self._on_per_user(case, inputs, memory) else AA_STAGE
        reading = readings.get((name, rule, part))
        words = offset_in_words(inputs.rule, reading, self.accumulator.dispersion(name, rule)) if reading else None
        return finding if words is None else replace(finding, sentence=f"{finding.sentence}{AA_SAID}{words}")

    def _judged(
        self, case: ArmedRollout, inputs: _RuleInputs, memory: _Memory, readings: Readings
    ) -> tuple[Reading, Reading | None]:
        """What is judged, and the plain reading beside it where that is the per-user signal.

        The window shows the population that evidence is gathered on.
        """
        plain = readings.get(inputs.window, _MISSING)
        per_user = readings.get(inputs.per_user) if inputs.per_user is not None else None
        if per_user is None:
            return plain, None
        if not inputs.by_evidence:
            watch = memory.per_user.setdefault(inputs.rule.name, PerUserSignal())
            watch.serves(per_user, plain, alone=case.baseline is not None)
        return (per_user, plain) if self._on_per_user(case, inputs, memory) else (plain, None)

    def _on_per_user(self, case: ArmedRollout, inputs: _RuleInputs, memory: _Memory) -> bool:
        if inputs.by_evidence:
            return self.accumulator.judges_per_user(case.rollout.name, inputs.rule.name)
        watch = memory.per_user.get(inputs.rule.name)
        return watch is not None and watch.adopted


def _rule_inputs(case: ArmedRollout) -> tuple[_RuleInputs, ...]:
    name = case.rollout.name
    return tuple(
        _RuleInputs(
            rule,
            window=(name, rule.name, WINDOW),
            per_user=(name, rule.name, PER_USER) if rule.per_user is not None else None,
            by_evidence=judged_by_evidence(case, rule),
            of_steps=shows_steps(case, rule),
        )
        for rule in case.rollout.rules
    )


def shows_steps(case: ArmedRollout, rule: Rule) -> bool:
    """Whether a rule's windows are sums of the steps that evidence has read; they are not asked for then."""
    return judged_by_evidence(case, rule) and keeps_windows(case)


def _judged_as(case: ArmedRollout) -> Rollout:
    """All that a rule file says of judging: who is paged, or a comment, changes no verdict."""
    return replace(case.rollout, page=PageSettings(), trip_when_blind_after=None, file="", digest="")


def _renewals(case: ArmedRollout) -> tuple[float, ...]:
    return renewals(case.flag.stages)


def _rests_on_the_split(finding: Finding) -> bool:
    """Verdicts that a wrong split explains or spoils; a breach stands whatever the split."""
    return finding.verdict in (Verdict.HEALTHY, Verdict.SUSPECT) or finding.reason in (
        Reason.TOO_FEW_REQUESTS,
        Reason.NO_DATA,
        Reason.WARMING_UP,
    )


_MISSING = Reading(LOST, LOST, 0.0)


def answer_all(wants: Iterable[Want], problem: Unreadable) -> Mapping[tuple[str, str, str], Reading]:
    """Every want answered with the same problem: the source could not be asked at all."""
    return {want.key: Reading(problem, problem, want.seconds) for want in wants}
