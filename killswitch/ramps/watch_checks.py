"""The checks on what was watched: time, requests, verdicts, and what the requests could show."""

from __future__ import annotations

import math
from collections.abc import Iterator

from killswitch.flags.flag import SHADOW
from killswitch.model import QuerySignal, RatioSignal, Rule, Verdict
from killswitch.plan import PlanStage, WorseBy
from killswitch.ramps.gate_check import GateCheck, failed, not_yet, passed
from killswitch.ramps.gate_inputs import GateInputs, Judged, Missing
from killswitch.ramps.progress import RuleWatch, StageProgress
from killswitch.ramps.sensitivity import RATIOS, seen_from, would_have_seen
from killswitch.verdicts.compare import limits_given
from killswitch.verdicts.evidence.offset import measure_offset
from killswitch.wording import count_in_words, points_in_words, span_in_words, value_in_words

KNOWN_PART = 0.95  # of the watched time, in which each rule must have had a verdict
OLDEST_VERDICTS = 2.0  # intervals
HEALTHY_PART = 0.5  # of the time in which a rule without counts had a verdict
# When so small a part of a stage was judged after an hour, its settings do not fit the traffic, or it is blind.
HARDLY_JUDGED, HARDLY_AFTER = 0.5, 3600.0
# Where this many requests were to be expected, none at all has a chance of 1 % (Poisson: ln 100): traffic has stopped.
SILENT_REQUESTS = 4.6
# An offset of the users is small if its interval stays within this part of what the rule allows.
OFFSET_PART = 0.5


def watched(stage: PlanStage, inputs: GateInputs) -> GateCheck:
    progress = progress_of(inputs)
    if isinstance(progress, Missing):
        return not_yet("watched", f"no time has been watched: {progress.why}")
    said = f"judged for {span_in_words(progress.watched)} of {span_in_words(stage.seconds)}"
    missing = stage.seconds - progress.watched
    if missing <= 0:
        return passed("watched", said)
    unjudged = _why_nothing_counts(inputs)
    passed_time = progress.tick - progress.began_at
    # time that is half blind takes twice as long
    pace = progress.watched / passed_time if passed_time > 0 else 0.0
    wait = missing / pace if pace > 0 else None
    said = f"{said}; {span_in_words(missing)} are missing"
    if pace < HARDLY_JUDGED and passed_time > HARDLY_AFTER:
        rollout = inputs.rollout
        said = (
            f"{said}, since a tick counts only if both cohorts have {rollout.min_requests} requests in "
            f"{span_in_words(rollout.window)}; see `window` and `min_requests`"
        )
    return not_yet("watched", said + unjudged, None if unjudged else wait)


def _why_nothing_counts(inputs: GateInputs) -> str:
    """What a rule says, if no rule has a verdict now, so that no time counts; else empty."""
    judged = judged_now(inputs)
    if isinstance(judged, Missing) or not judged.rules:
        return ""
    if any(rule.verdict is not Verdict.UNKNOWN for rule in judged.rules.values()):
        return ""
    name, first = next(iter(judged.rules.items()))
    return f"; no time counts now: {_said(name, first.sentence)}"


def requests(inputs: GateInputs) -> GateCheck:
    progress = progress_of(inputs)
    if isinstance(progress, Missing):
        return not_yet("requests", f"no requests were counted: {progress.why}")
    canary, control = progress.requests
    least = inputs.rollout.min_requests
    said = f"{count_in_words(canary)} of the canary and {count_in_words(control)} of control"
    fewest = min(canary, control)
    if fewest >= least:
        return passed("requests", said)
    wait = (least - fewest) / fewest * progress.watched if fewest > 0 else None
    return not_yet("requests", f"{said}; each cohort needs {count_in_words(least)}", wait)


def traffic(inputs: GateInputs) -> GateCheck:
    """Whether requests still come: a window shows those of minutes ago, and without new ones nothing is proven."""
    progress = progress_of(inputs)
    if isinstance(progress, Missing):
        return not_yet("traffic", f"no requests were counted: {progress.why}")
    for cohort, served, counted in zip(("the canary", "control"), progress.served, progress.requests, strict=True):
        if served is None:
            return not_yet("traffic", f"{cohort} has had no request")
        silent = progress.tick - served
        pace = counted / progress.watched if progress.watched > 0 else math.inf
        if silent > 0 and silent * pace > SILENT_REQUESTS:
            missed = f"where {count_in_words(silent * pace)} were to be expected"
            return not_yet("traffic", f"{cohort} has had no request for {span_in_words(silent)}, {missed}")
    return passed("traffic", "both cohorts have requests")


def breach(inputs: GateInputs) -> GateCheck:
    judged = judged_now(inputs)
    if isinstance(judged, Missing):
        return not_yet("breach", judged.why)
    breaches = [_said(name, now.sentence) for name, now in judged.rules.items() if now.verdict is Verdict.BREACH]
    if breaches:
        return failed("breach", "; ".join(breaches))
    return passed("breach", "no rule is in breach")


def healthy(inputs: GateInputs) -> GateCheck:
    judged = judged_now(inputs)
    if isinstance(judged, Missing):
        return not_yet("healthy", judged.why)
    expected = {rule.name for rule in inputs.rollout.rules} if inputs.flag.stage != SHADOW else judged.rules.keys()
    ill = {
        name: f"{name} has no verdict" if name not in judged.rules else _said(name, judged.rules[name].sentence)
        for name in sorted(expected | judged.rules.keys())
        if name not in judged.rules or judged.rules[name].verdict is not Verdict.HEALTHY
    }
    if ill:
        return not_yet("healthy", "; ".join(ill.values()))
    if not judged.rules and inputs.flag.stage != SHADOW:
        return not_yet("healthy", "no rule is judged")
    return passed("healthy", f"all {len(judged.rules)} rules are HEALTHY")


def known(inputs: GateInputs) -> GateCheck:
    progress = progress_of(inputs)
    if isinstance(progress, Missing):
        return not_yet("known", f"no verdict was noted: {progress.why}")
    expected = [rule.name for rule in inputs.rollout.rules] if inputs.flag.stage != SHADOW else [*progress.rules]
    shares = {name: _share_known(progress, name) for name in expected}
    low = {name: share for name, share in shares.items() if share < KNOWN_PART}
    if not low:
        return passed("known", f"each rule had a verdict for at least {KNOWN_PART:.0%} of the time watched")
    worst = min(low, key=lambda name: low[name])
    seconds = progress.rules.get(worst, RuleWatch()).known
    wait = (KNOWN_PART * progress.watched - seconds) / (1.0 - KNOWN_PART) if progress.watched > 0 else None
    said = ", ".join(f"{name} {share:.0%}" for name, share in sorted(low.items()))
    sentence = f"of the time watched, a verdict was known for only: {said}; {KNOWN_PART:.0%} is needed"
    return not_yet("known", sentence, wait)


def limits(inputs: GateInputs) -> GateCheck:
    """The whole stage, since a canary over a limit has lucky windows, and the gate looks at every one of them."""
    progress = progress_of(inputs)
    if isinstance(progress, Missing):
        return not_yet("limits", f"nothing was counted: {progress.why}")
    if progress.watched <= 0:
        return not_yet("limits", "no time of the stage has been judged yet")
    watches = [(rule, progress.rules.get(rule.name, RuleWatch())) for rule in inputs.rollout.rules]
    over = [said for rule, watch in watches if (said := _over_the_stage(rule, watch)) is not None]
    if over:
        return not_yet("limits", f"over the whole stage, {'; '.join(over)}")
    return passed("limits", "over the whole stage, each rule is within its limit")


def _over_the_stage(rule: Rule, watch: RuleWatch) -> str | None:
    """What is over the rule's limit, None if nothing is. A stage keeps no histogram: of a quantile, verdicts count."""
    if isinstance(rule.signal, RatioSignal) and watch.canary.trials > 0 and watch.control.trials > 0:
        canary, control = (side.events / side.trials for side in (watch.canary, watch.control))
        limit = max((bound for bound, _ in limits_given(rule, control)), default=math.inf)
        if canary <= limit:
            return None
        return f"{rule.name} is {value_in_words(canary, rule.unit)}, and its limit {value_in_words(limit, rule.unit)}"
    if watch.healthy >= HEALTHY_PART * watch.known:
        return None
    part = watch.healthy / watch.known
    return f"{rule.name} was HEALTHY for {part:.0%} of the time it was known, and {HEALTHY_PART:.0%} is needed"


def sees(inputs: GateInputs) -> GateCheck:
    """How small a regression the stage's requests would have shown. It only says so; `detects` asks for it."""
    progress = progress_of(inputs)
    if isinstance(progress, Missing):
        return not_yet("sees", f"no requests were counted: {progress.why}")
    rules = [rule for rule in inputs.rollout.rules if not isinstance(rule.signal, QuerySignal)]
    smallest = {rule.name: seen_from(rule, progress.rules.get(rule.name, RuleWatch())) for rule in rules}
    shown = ", ".join(f"{name} from {ratio:g}x" for name, ratio in smallest.items() if ratio is not None)
    hidden = ", ".join(name for name, ratio in smallest.items() if ratio is None)
    said = [f"its requests would have shown, of control's value: {shown}"] if shown else []
    if hidden:
        said.append(f"its requests could not have shown even {RATIOS[-1]:g}x of {hidden}")
    return passed("sees", "; ".join(said) or "no rule counts requests, so no one can say what it would have shown")


def detects(stage: PlanStage, inputs: GateInputs) -> Iterator[GateCheck]:
    progress = progress_of(inputs)
    rules = {rule.name: rule for rule in inputs.rollout.rules}
    for name, regression in stage.detects.items():
        title = f"detects {name} {regression}"
        rule = rules.get(name)
        if isinstance(progress, Missing):
            yield not_yet(title, f"no requests were counted: {progress.why}")
        elif rule is None or isinstance(rule.signal, QuerySignal):
            yield not_yet(title, f"{name} is no rule that counts requests; remove it from `detects`")
        else:
            yield _detects(title, rule, regression, progress)


def _detects(title: str, rule: Rule, regression: WorseBy, progress: StageProgress) -> GateCheck:
    watch = progress.rules.get(rule.name, RuleWatch())
    found = would_have_seen(rule, regression, watch, progress.watched)
    counted = f"{count_in_words(watch.canary.trials)} requests of the canary"
    if not found.enough:
        more = f"{count_in_words(found.missing)} more of both cohorts" if math.isfinite(found.missing) else "more"
        said = f"{counted} would have shown it with a chance of {found.chance:.0%}; it takes {more}"
        return not_yet(title, said, found.wait)
    if isinstance(rule.signal, RatioSignal):
        offset = measure_offset(watch.canary, watch.control, phi=max(watch.phi, 1.0))
        if offset is not None and offset.low > 0 and offset.canary >= found.canary:
            rates = f"{value_in_words(offset.canary, rule.unit)} against {value_in_words(offset.control, rule.unit)}"
            return failed(title, f"it is there: {rates} over the whole stage")
    return passed(title, f"{counted} would have shown it with a chance of {found.chance:.0%}")


def offsets(inputs: GateInputs) -> GateCheck:
    """Stage `aa`: with the same model behind both cohorts, their difference is that of their users."""
    progress = progress_of(inputs)
    if isinstance(progress, Missing):
        return not_yet("offsets", f"no requests were counted: {progress.why}")
    large, open_ones, waits = [], [], []
    rules = [rule for rule in inputs.rollout.rules if isinstance(rule.signal, RatioSignal)]
    for rule in rules:
        watch = progress.rules.get(rule.name, RuleWatch())
        offset = measure_offset(watch.canary, watch.control, phi=max(watch.phi, 1.0))
        if offset is None:
            open_ones.append(f"{rule.name} has no requests")
            continue
        allowed = OFFSET_PART * (max(limit for limit, _ in limits_given(rule, offset.control)) - offset.control)
        said = f"{rule.name} {points_in_words(offset.low)} to {points_in_words(offset.high)}"
        if offset.low > allowed or offset.high < -allowed:
            large.append(f"{said}, where {points_in_words(allowed)} is small")
        elif offset.low < -allowed or offset.high > allowed:
            open_ones.append(f"{said}, where {points_in_words(allowed)} is small")
            waits.append(_until_narrow(offset.low, offset.high, allowed, progress.watched))
    if large:
        return failed("offsets", f"these users differ: {'; '.join(large)}; arm again with another --salt")
    if open_ones:
        longest = None if None in waits or not waits else max(wait for wait in waits if wait is not None)
        return not_yet("offsets", f"not narrow enough yet: {'; '.join(open_ones)}", longest)
    return passed("offsets", "with the same model, both cohorts have the same rates" if rules else "no rule has a rate")


def _until_narrow(low: float, high: float, allowed: float, seconds: float) -> float | None:
    """Seconds until an interval of this centre fits, since its width falls with the root of the time."""
    room = allowed - abs(low + high) / 2
    if room <= 0 or seconds <= 0:
        return None
    return seconds * (((high - low) / 2 / room) ** 2 - 1.0)


# --- shared -------------------------------------------------------------------------------------


def progress_of(inputs: GateInputs) -> StageProgress | Missing:
    """The progress, if it is about the stage that the flag is in."""
    progress = inputs.progress
    if isinstance(progress, Missing) or progress.is_of(inputs.flag):
        return progress
    return Missing("what was watched is about another stage")


def judged_now(inputs: GateInputs) -> Judged | Missing:
    """The newest verdicts, if they are not older than two intervals, nor from the future."""
    judged = inputs.judged
    if isinstance(judged, Missing):
        return Missing(f"no verdicts: {judged.why}")
    if not -inputs.interval <= judged.age <= OLDEST_VERDICTS * inputs.interval:
        when = f"{span_in_words(judged.age)} old" if judged.age > 0 else "from the future; check the clocks"
        return Missing(f"the newest verdicts are {when}")
    return judged


def _share_known(progress: StageProgress, rule: str) -> float:
    watch = progress.rules.get(rule, RuleWatch())
    return watch.known / progress.watched if progress.watched > 0 else 0.0


def _said(name: str, sentence: str) -> str:
    return sentence or name
