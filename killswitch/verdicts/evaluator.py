"""The evaluator judges all rules of all rollouts and keeps what verdicts need from tick to tick. No I/O, no clock.

The controller asks the evaluator what to read and passes it the readings. A replay of history does exactly the
same, so a back-test gives the verdicts that the daemon would have given.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from killswitch.flags.flag import AA, SHADOW
from killswitch.model import (
    Decide,
    Finding,
    Mode,
    RatioSignal,
    Reading,
    Readings,
    Reason,
    Rule,
    Unreadable,
    Verdict,
    Want,
)
from killswitch.timestamps import DAY
from killswitch.verdicts import judge
from killswitch.verdicts.accumulator import EvidenceAccumulator
from killswitch.verdicts.armed_rollout import ArmedRollout, PerArmedRollout
from killswitch.verdicts.baseline import with_stored_control
from killswitch.verdicts.compare import Comparison, compare
from killswitch.verdicts.evidence.starts import renewals
from killswitch.verdicts.evidence_entry import STEP, STEP_PER_USER
from killswitch.verdicts.evidence_view import EvidenceView
from killswitch.verdicts.judge import Streak
from killswitch.verdicts.judged_rules import judged_by_evidence, keeps_windows
from killswitch.verdicts.missing_events import MissingEvents
from killswitch.verdicts.per_user_signal import PerUserSignal
from killswitch.verdicts.sentences import AA_SAID, offset_in_words
from killswitch.verdicts.shadow_stage import nothing_counted
from killswitch.verdicts.shown_windows import LOST, span

log = logging.getLogger(__name__)
WINDOW = "window"
PER_USER = "per_user"
AA_STAGE = "aa"
AA_STAGE_PER_USER = "aa_per_user"
# seconds; how long a breach may wait for the flag store
LONGEST_ALARM = 3600.0


@dataclass(slots=True)
class _Memory:
    """What the evaluator remembers of one generation of one rollout. ``began``: the first tick it was judged at."""

    generation: tuple[int, float, tuple[float, ...], tuple[object, ...]]
    began: float
    streaks: dict[str, Streak] = field(default_factory=dict)
    alarms: dict[str, Alarm] = field(default_factory=dict)
    per_user: dict[str, PerUserSignal] = field(default_factory=dict)


class Alarm(NamedTuple):
    """A rule's evidence at ``tick``, when it became a breach, in a rollout whose breaches trip it."""

    view: EvidenceView
    tick: float


@dataclass(frozen=True, slots=True)
class _RuleInputs:
    """One rule of an armed rollout before anything is read: the keys of its readings, and how it is judged.

    ``of_steps``: its windows are sums of the steps that evidence has read.
    """

    rule: Rule
    window: tuple[str, str, str]
    per_user: tuple[str, str, str] | None
    by_evidence: bool
    of_steps: bool


class Evaluator:
    """Judges all rules of all rollouts, tick by tick.

    ``interval``: seconds between ticks; ``step``: seconds between evidence ticks. The evidence itself is in
    ``accumulator``. The caller (the controller or a replay) keeps it up to date.
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

    def wants(self, all_armed: Iterable[ArmedRollout], tick: float) -> list[Want]:
        """The windows that must be read to judge these armed rollouts at ``tick``.

        While nothing changes these are the same objects each time, so that sources recognise them.
        """
        return [want for armed in all_armed for want in self._known_windows(armed, tick)]

    def cannot_read(self, all_armed: Iterable[ArmedRollout], problem: Unreadable) -> None:
        """Note that the source could not be asked for the steps of these armed rollouts at this tick."""
        for armed in all_armed:
            self.accumulator.note_unread(armed.rollout.name, answer_all(self.accumulator.wants(armed), problem))

    def judge(
        self, all_armed: Sequence[ArmedRollout], tick: float, readings: Readings
    ) -> dict[str, tuple[Finding, ...]]:
        """Findings by rollout, one per rule, in the order of the rule file; rules that stage shadow omits come last."""
        return {
            armed.rollout.name: (
                *self._judge_rollout(armed, tick, readings),
                *(judge.unknown(rule, why) for rule, why in armed.unjudged),
            )
            for armed in all_armed
        }

    def lookback(self, armed: ArmedRollout) -> int:
        """How many earlier ticks a fresh evaluator must judge to give the verdicts of one that ran all the time."""
        if armed.rollout.decide is Decide.EVIDENCE:
            return 0
        return max((rule.for_ticks for rule in armed.rollout.rules), default=1) - 1

    def evidence_of(self, armed: ArmedRollout, rule: Rule) -> EvidenceView | None:
        """The evidence a rule is judged by; None if evidence does not decide, or has not been gathered yet.

        The accumulator may still hold evidence from before the rules were edited. That evidence decides nothing, and
        its age is not the age of a verdict.
        """
        return self.accumulator.view_for(armed, rule) if judged_by_evidence(armed, rule) else None

    def forget(self, keep: Iterable[str]) -> None:
        """Drop every rollout not in ``keep``: it has tripped or ended, or has no rule file any more."""
        kept = set(keep)
        self._memory = {name: memory for name, memory in self._memory.items() if name in kept}
        self._asked = {name: asked for name, asked in self._asked.items() if name in kept}
        self._rule_inputs.keep(kept)
        self._renewals.keep(kept)
        self._judged_as.keep(kept)
        self._seen = {name: seen for name, seen in self._seen.items() if name in kept}
        self.accumulator.keep(kept)

    def window_seconds(self, armed: ArmedRollout, tick: float) -> float:
        """Seconds the windows reach back at ``tick``: not to before arming, nor to before the latest renewal."""
        age = tick - self._began_at(armed, tick)
        if armed.rollout.decide is Decide.EVIDENCE and keeps_windows(armed):  # whole steps
            step = self.accumulator.step
            return min(span(armed.rollout.window, step), math.floor(age / step + 1e-9) * step)
        return min(armed.rollout.window, math.floor(age / self._interval + 1e-9) * self._interval)

    def _began_at(self, armed: ArmedRollout, tick: float) -> float:
        """Since when (Unix seconds) the same model has served the canary's users.

        The clock that dated the flag's stage may be ahead of the metric store's. Then it is the tick before the one
        that first saw the stage.
        """
        renewals = self._renewals(armed)
        if not renewals:
            return armed.armed_at
        newest = renewals[-1]
        known, first = self._seen.get(armed.rollout.name, (-math.inf, tick))
        if known != newest or tick < first:
            self._seen[armed.rollout.name] = (newest, tick)
            first = tick
        return max(armed.armed_at, min(newest, first - self._interval))

    def _known_windows(self, armed: ArmedRollout, tick: float) -> list[Want]:
        name, seconds = armed.rollout.name, self.window_seconds(armed, tick)
        if armed.flag.stage == AA:  # the window since the stage began grows with every tick
            return self._windows(armed, tick, seconds)
        asked = self._asked.get(name)
        if asked is None or asked[0] is not armed or asked[1] != seconds:
            asked = self._asked[name] = (armed, seconds, self._windows(armed, tick, seconds))
        return asked[2]

    def _windows(self, armed: ArmedRollout, tick: float, seconds: float) -> list[Want]:
        if seconds <= 0:
            return []
        wants: list[Want] = []
        for rule in armed.rollout.rules:
            want = Want(
                rollout=armed.rollout.name,
                rule=rule.name,
                part=WINDOW,
                signal=rule.signal,
                cohorts=armed.rollout.cohorts_of(rule),
                seconds=seconds,
                absent_is_zero=rule.absent_is_zero,
            )
            if not shows_steps(armed, rule):
                wants.append(want)
                if rule.per_user is not None:
                    wants.append(replace(want, part=PER_USER, signal=rule.per_user))
            if armed.flag.stage == AA and isinstance(rule.signal, RatioSignal):
                since_aa = replace(want, seconds=self._aa_seconds(armed, tick))
                wants.append(replace(since_aa, part=AA_STAGE))
                if rule.per_user is not None:
                    wants.append(replace(since_aa, part=AA_STAGE_PER_USER, signal=rule.per_user))
        return wants

    def _aa_seconds(self, armed: ArmedRollout, tick: float) -> float:
        """How many seconds stage `aa` has lasted, in whole intervals, at most a day."""
        began = max(armed.armed_at, min(armed.flag.stages[-1].at, tick))
        slots = math.floor((tick - began) / self._interval + 1e-9)
        return min(DAY, max(slots, 1) * self._interval)

    def _memory_of(self, armed: ArmedRollout, tick: float) -> _Memory:
        # The rules are part of the generation: a changed limit must not inherit the streak of the old one.
        renewed = self._renewals(armed)[-1:]
        generation = (armed.flag.generation, armed.armed_at, renewed, self._judged_as(armed))
        memory = self._memory.get(armed.rollout.name)
        if memory is None or memory.generation != generation:
            memory = self._memory[armed.rollout.name] = _Memory(generation, tick)
        return memory

    def _judge_rollout(self, armed: ArmedRollout, tick: float, readings: Readings) -> tuple[Finding, ...]:
        memory = self._memory_of(armed, tick)
        if self.window_seconds(armed, tick) <= 0:
            since = "the stage began" if self._renewals(armed) else "it was armed"
            early = Unreadable(Reason.JUST_ARMED, f"no whole interval has passed since {since}")
            return tuple(judge.unknown(rule, early) for rule in armed.rollout.rules)
        wrong_split = self.accumulator.split_is_wrong(armed.rollout.name)
        found: list[Finding] = []
        for inputs in self._rule_inputs(armed):
            try:
                finding = self._judge_rule(armed, inputs, memory, tick, readings)
                if wrong_split and inputs.by_evidence and _rests_on_the_split(finding):
                    finding = judge.mistrusted(finding, armed.flag)
                found.append(self._remarked(armed, inputs, memory, finding, readings))
            except Exception as error:  # one rule's bug must not disarm the others
                log.exception("judging %s %s failed", armed.rollout.name, inputs.rule.name)
                found.append(judge.unknown(inputs.rule, judge.own_bug(error)))
        return tuple(found)

    def _judge_rule(
        self, armed: ArmedRollout, inputs: _RuleInputs, memory: _Memory, tick: float, readings: Readings
    ) -> Finding:
        rule = inputs.rule
        view = self.accumulator.view_for(armed, rule) if inputs.by_evidence else None
        reading, raw = (
            self._of_steps(armed, inputs, tick, view)
            if inputs.of_steps
            else self._judged(armed, inputs, memory, readings)
        )
        if reading is None:
            if view is None:
                return judge.not_gathered(rule, Comparison())
            return self._by_evidence(armed, rule, memory, self._nothing_read(armed), view, tick)
        if armed.baseline is not None:
            reading = with_stored_control(rule, reading, armed.baseline)
        comparison = compare(rule, reading, raw)
        # With evidence, the steps detect missing events: one window does not show control's usual share.
        if not inputs.by_evidence and comparison.problem is None and armed.baseline is None:
            age = tick - self._began_at(armed, tick)
            comparison = comparison._replace(problem=MissingEvents().after(rule, reading, age))
        if view is not None:
            return self._by_evidence(armed, rule, memory, comparison, view, tick)
        if inputs.by_evidence:
            # Evidence is not opened yet. The bare comparison, repeated every tick, would trip on noise.
            return judge.not_gathered(rule, comparison)
        streak = memory.streaks.get(rule.name, Streak())
        finding, memory.streaks[rule.name] = judge.judge_threshold(
            rule, comparison, streak, rollout=armed.rollout, tick=tick, interval=self._interval
        )
        return finding

    def _of_steps(
        self, armed: ArmedRollout, inputs: _RuleInputs, tick: float, view: EvidenceView | None
    ) -> tuple[Reading | None, Reading | None]:
        """The window of the signal that evidence uses; with the per-user signal, also the plain signal's window."""
        since, seconds = self._began_at(armed, tick), armed.rollout.window
        name, rule = armed.rollout.name, inputs.rule.name
        if view is None:
            return self.accumulator.unread(name, rule, STEP), None
        plain = self.accumulator.window(name, rule, STEP, since, seconds)
        if inputs.per_user is None or not self.accumulator.judges_per_user(name, rule):
            return plain, None
        return self.accumulator.window(name, rule, STEP_PER_USER, since, seconds), plain

    def _nothing_read(self, armed: ArmedRollout) -> Comparison:
        """Why there is no step to show yet; evidence may still say BREACH."""
        since = "the stage began" if self._renewals(armed) else "it was armed"
        return Comparison(problem=Unreadable(Reason.JUST_ARMED, f"no whole interval has passed since {since}"))

    def _by_evidence(
        self, armed: ArmedRollout, rule: Rule, memory: _Memory, comparison: Comparison, view: EvidenceView, tick: float
    ) -> Finding:
        """The finding by evidence; a breach that could not trip at once remains a breach.

        Evidence starts again from zero after a breach. Where breaches trip, a breach remains one while the window has
        stayed over its limit since, at most an hour. The same holds for a breach at a tick that was read late,
        together with later ticks, if that tick is in the present window and after this evaluator began to watch.
        """
        fresh = 2 * self._interval
        finding = judge.judge_evidence(rule, comparison, view, rollout=armed.rollout, tick=tick, fresh=fresh)
        passed = self.accumulator.passed_breach(armed.rollout.name, rule.name)
        if armed.rollout.mode is Mode.DRY_RUN or armed.flag.stage == AA:
            return finding
        if finding.verdict is Verdict.BREACH:
            memory.alarms[rule.name] = Alarm(view, tick)
            return finding
        # The window that contains the passed breach, and the windows since, show whether it is still a breach.
        if passed is not None and passed.until > max(memory.began, tick - armed.rollout.window):
            memory.alarms[rule.name] = Alarm(passed, passed.until)
        alarm = memory.alarms.get(rule.name)
        if alarm is None or comparison.problem is not None:
            return finding
        if not comparison.over or tick - alarm.tick > LONGEST_ALARM or tick < alarm.tick:
            del memory.alarms[rule.name]
            return finding
        standing = alarm.view._replace(updated_at=view.updated_at, until=view.until)
        return judge.judge_evidence(rule, comparison, standing, rollout=armed.rollout, tick=tick, fresh=fresh)

    def _remarked(
        self, armed: ArmedRollout, inputs: _RuleInputs, memory: _Memory, finding: Finding, readings: Readings
    ) -> Finding:
        """The finding with a remark: what it was judged against, or what its stage means for it."""
        if armed.flag.stage == SHADOW and finding.reason is Reason.NO_DATA and _only_the_canary_lacks(finding):
            shadowing = not armed.flag.shadow_share.nothing
            said = nothing_counted(inputs.rule, shadowing=shadowing, rollout=armed.rollout.name)
            return replace(finding, sentence=said)
        if armed.baseline is not None:
            return replace(finding, sentence=f"{finding.sentence}; {armed.baseline.words}")
        if armed.flag.stage != AA:
            return finding
        name, rule = armed.rollout.name, inputs.rule.name
        part = AA_STAGE_PER_USER if self._on_per_user(armed, inputs, memory) else AA_STAGE
        reading = readings.get((name, rule, part))
        words = offset_in_words(inputs.rule, reading, self.accumulator.dispersion(name, rule)) if reading else None
        return finding if words is None else replace(finding, sentence=f"{finding.sentence}{AA_SAID}{words}")

    def _judged(
        self, armed: ArmedRollout, inputs: _RuleInputs, memory: _Memory, readings: Readings
    ) -> tuple[Reading, Reading | None]:
        """The reading to judge; if it is of the per-user signal, also the plain reading.

        The window shows the population that evidence is gathered on.
        """
        plain = readings.get(inputs.window, _MISSING)
        per_user = readings.get(inputs.per_user) if inputs.per_user is not None else None
        if per_user is None:
            return plain, None
        if not inputs.by_evidence:
            watch = memory.per_user.setdefault(inputs.rule.name, PerUserSignal())
            watch.serves(per_user, plain, alone=armed.baseline is not None)
        return (per_user, plain) if self._on_per_user(armed, inputs, memory) else (plain, None)

    def _on_per_user(self, armed: ArmedRollout, inputs: _RuleInputs, memory: _Memory) -> bool:
        if inputs.by_evidence:
            return self.accumulator.judges_per_user(armed.rollout.name, inputs.rule.name)
        watch = memory.per_user.get(inputs.rule.name)
        return watch is not None and watch.adopted


def _rule_inputs(armed: ArmedRollout) -> tuple[_RuleInputs, ...]:
    name = armed.rollout.name
    return tuple(
        _RuleInputs(
            rule,
            window=(name, rule.name, WINDOW),
            per_user=(name, rule.name, PER_USER) if rule.per_user is not None else None,
            by_evidence=judged_by_evidence(armed, rule),
            of_steps=shows_steps(armed, rule),
        )
        for rule in armed.rollout.rules
    )


def shows_steps(armed: ArmedRollout, rule: Rule) -> bool:
    """Whether a rule's windows are sums of the steps that evidence has read. Then the source is not asked for them."""
    return judged_by_evidence(armed, rule) and keeps_windows(armed)


JUDGED = ("name", "control", "canary", "cohorts", "rules", "window", "min_requests", "decide", "false_trips_per_day",
          "bursts", "mode")  # fmt: skip


def _judged_as(armed: ArmedRollout) -> tuple[object, ...]:
    """The part of a rule file that decides verdicts: not who is paged, nor its plan, nor at which line a key is."""
    return tuple(getattr(armed.rollout, name) for name in JUDGED)


def _renewals(armed: ArmedRollout) -> tuple[float, ...]:
    return renewals(armed.flag.stages)


def _rests_on_the_split(finding: Finding) -> bool:
    """Whether a wrong traffic split would explain or spoil this verdict. A breach is a breach whatever the split."""
    return finding.verdict in (Verdict.HEALTHY, Verdict.SUSPECT) or finding.reason in (
        Reason.TOO_FEW_REQUESTS,
        Reason.NO_DATA,
        Reason.WARMING_UP,
    )


def _only_the_canary_lacks(finding: Finding) -> bool:
    canary, control = (finding.canary, finding.samples_canary), (finding.control, finding.samples_control)
    return canary == (None, None) != control


_MISSING = Reading(LOST, LOST, 0.0)


def answer_all(wants: Iterable[Want], problem: Unreadable) -> Mapping[tuple[str, str, str], Reading]:
    """The same problem as the answer to every want, for when the source could not be asked at all."""
    return {want.key: Reading(problem, problem, want.seconds) for want in wants}
