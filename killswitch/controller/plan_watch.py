"""What a tick says about each rule of a planned rollout, for the progress of its stage and for the gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from killswitch.model import Buckets, Counts, Finding, Measurement, RatioSignal, Reason, Rule
from killswitch.ramps.gate_inputs import Judged, Missing, RuleNow
from killswitch.ramps.progress import RuleTick
from killswitch.ramps.way_back import ERRORS, ServedNow
from killswitch.verdicts.accumulator import EvidenceAccumulator
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.evidence_entry import STEP, STEP_PER_USER


def rule_ticks(
    armed: ArmedRollout,
    findings: Sequence[Finding],
    evidence: EvidenceAccumulator,
    interval: float,
    window: float | None,
) -> Mapping[str, RuleTick]:
    """Each rule that can be judged in this stage, with the requests of the last ``interval`` seconds.

    Requests are those that evidence has read. Where the bare comparison decides, there are none, and the part of the
    ``window`` that one interval is serves instead.
    """
    rules = {rule.name: rule for rule in armed.rollout.rules}
    found: dict[str, RuleTick] = {}
    for finding in _judged_here(findings):
        name = finding.rule
        part = STEP_PER_USER if evidence.judges_per_user(armed.rollout.name, name) else STEP
        reading = evidence.window(armed.rollout.name, name, part, armed.armed_at, interval)
        canary = control = None
        if reading is not None:
            scale = interval / reading.seconds
            canary, control = _counts(reading.canary, scale), _counts(reading.control, scale)
        elif window and name in rules:
            canary = _of_window(rules[name], finding.canary, finding.samples_canary, interval / window)
            control = _of_window(rules[name], finding.control, finding.samples_control, interval / window)
        if canary is None or control is None:
            canary = control = None
        found[name] = RuleTick(finding.verdict, canary, control, evidence.dispersion(armed.rollout.name, name))
    return found


def judged(findings: Sequence[Finding], *, age: float) -> Judged:
    """``age``: seconds since the tick, by the metric store's clock."""
    return Judged({one.rule: RuleNow(one.verdict, one.sentence) for one in _judged_here(findings)}, age)


def served(findings: Sequence[Finding], window: float | None) -> ServedNow | Missing:
    """All requests of both cohorts in the window that the findings show, those that are not judged included."""
    if not findings or not window:
        return Missing("no requests were counted in the newest window")
    errors = next((one.control for one in findings if one.rule == ERRORS), None)
    return ServedNow(
        max(max(one.samples_canary or 0.0, one.raw_samples_canary or 0.0) for one in findings),
        max(max(one.samples_control or 0.0, one.raw_samples_control or 0.0) for one in findings),
        errors,
        window,
    )


def _judged_here(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.reason is not Reason.NOT_IN_SHADOW]


def _counts(measurement: Measurement, scale: float) -> Counts | None:
    match measurement:
        case Counts(events, trials):
            return Counts(events * scale, trials * scale)
        case Buckets(_, counts):
            return Counts(0.0, counts[-1] * scale)  # which of them were slow is assumed where it matters
        case _:
            return None


def _of_window(rule: Rule, value: float | None, samples: float | None, part: float) -> Counts | None:
    if samples is None:
        return None
    events = (value or 0.0) * samples if isinstance(rule.signal, RatioSignal) else 0.0
    return Counts(events * part, samples * part)
