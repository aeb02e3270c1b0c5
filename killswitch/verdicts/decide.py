"""Decides from all findings of one rollout at one tick: hold, trip, or blind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from killswitch.flags.flag import AA, SHADOW, Flag
from killswitch.model import Finding, Mode, Reason, Rollout, Verdict
from killswitch.verdicts.sentences import AA_SAID, OTHER_USERS

# These reasons mean that the source answered but there is little data. They do not count as blind.
SIGHTED = frozenset(
    {Reason.TOO_FEW_REQUESTS, Reason.JUST_ARMED, Reason.DRAINING, Reason.WARMING_UP, Reason.TRAFFIC_SPLIT}
)


class DecisionKind(StrEnum):
    HOLD = "hold"
    TRIP = "trip"
    WOULD_TRIP = "would trip"
    BLIND = "blind"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about one rollout at one tick, and the sentence that says why."""

    action: DecisionKind
    sentence: str
    tripping: tuple[Finding, ...] = ()
    control_too: tuple[Finding, ...] = ()


def decide(findings: Sequence[Finding], flag: Flag, rollout: Rollout) -> Decision:
    """Trip on any breach; blind if no rule at all can be seen; otherwise hold.

    In stage ``aa`` both cohorts get the control model: a breach there is about the users, and trips nothing. Stage
    ``shadow`` is never blind: no user has the canary, so nothing unseen can happen to one.
    """
    control_too = tuple(f for f in findings if f.reason is Reason.CONTROL_TOO)
    breaches = tuple(f for f in findings if f.verdict is Verdict.BREACH)
    if breaches:
        why = "; ".join(f.sentence for f in breaches)
        if flag.stage == AA:
            advice = f"both cohorts have the control model, so these users differ: {OTHER_USERS}"
            return Decision(DecisionKind.HOLD, f"{advice}; {why}", (), control_too)
        if rollout.mode is Mode.DRY_RUN:
            return Decision(DecisionKind.WOULD_TRIP, f"would trip (dry run): {why}", breaches, control_too)
        return Decision(DecisionKind.TRIP, why, breaches, control_too)
    unknowns = [f for f in findings if f.verdict is Verdict.UNKNOWN]
    blind = [f for f in unknowns if blinding(f, flag)]
    if blind and len(blind) == len(findings):
        return Decision(DecisionKind.BLIND, f"blind: {_one_reason(blind)}", (), control_too)
    return Decision(DecisionKind.HOLD, _hold_words(findings, unknowns, control_too), (), control_too)


def blinding(finding: Finding, flag: Flag) -> bool:
    """Whether this rule has no verdict for a reason that counts as blind: not in stage ``shadow``."""
    if finding.verdict is not Verdict.UNKNOWN or flag.stage == SHADOW:
        return False
    if finding.reason is Reason.TRAFFIC_SPLIT:  # not blind while both cohorts are there: a breach would still be seen
        return lacks_a_cohort(finding)
    return finding.reason not in SIGHTED and not _expected_silence(finding, flag)


def lacks_a_cohort(finding: Finding) -> bool:
    """Whether a cohort has no counters at all. Counters that do not move are there: a small canary may have a quiet
    night.
    """
    canary, control = (finding.canary, finding.samples_canary), (finding.control, finding.samples_control)
    return canary == (None, None) or control == (None, None)


def _expected_silence(finding: Finding, flag: Flag) -> bool:
    # At 0 % no one is routed to the canary, so its absence is expected.
    return flag.canary_percent == 0.0 and finding.reason is Reason.NO_DATA


def _one_reason(findings: Sequence[Finding]) -> str:
    """The findings' reasons in words; rules with the same reason share one sentence."""
    alike: dict[tuple[Reason | None, str], list[Finding]] = {}
    for finding in findings:
        alike.setdefault((finding.reason, _without_aa(finding).partition(": ")[2]), []).append(finding)
    return "; ".join(
        _without_aa(some[0]) if len(some) == 1 else f"{len(some)} rules {reason}: {words}"
        for (reason, words), some in alike.items()
    )


def _without_aa(finding: Finding) -> str:
    return finding.sentence.partition(AA_SAID)[0]


def _hold_words(findings: Sequence[Finding], unknowns: Sequence[Finding], control_too: Sequence[Finding]) -> str:
    suspects = [f for f in findings if f.verdict is Verdict.SUSPECT]
    healthy = len(findings) - len(unknowns) - len(suspects)
    parts = [f"{healthy} of {len(findings)} rules healthy"]
    if suspects:
        parts[0] += f", {len(suspects)} suspect"
    parts += [f.sentence for f in suspects]
    parts += [f.sentence for f in control_too]
    if unknowns:
        parts.append(_one_reason(unknowns))
    measured = ((f.rule, f.sentence.partition(AA_SAID)[2]) for f in findings)
    parts += [f"{rule} in stage {AA}: {said}" for rule, said in measured if OTHER_USERS in said]
    return "; ".join(parts)
