"""Which run of the gate, or which waiver, lets a candidate replace prod. Pure: what is stored is handed in.

The newest run of exactly this pair that says PASS, FAIL or NEEDS_APPROVAL counts; older ones do not, so a later FAIL
voids an earlier PASS. A PASS that follows a FAIL of the pair needs a person's approval where it may be luck or an
easier question: only what is sent to the models can repair a candidate, so other rows, another schema and other bars
are doubted like the same ones. So is a plain comparison of a few rows. Once a candidate was prod and was taken back, no
run and no waiver from before counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from killswitch.errors import Refused
from killswitch.roles.gate_record import GateRecord, GateVerdict
from killswitch.roles.role import Role
from killswitch.roles.waiver import Waiver
from killswitch.timestamps import to_iso
from killswitch.wording import counted, plain, span_in_words

CLOCKS_DIFFER = 120.0  # seconds that the clock of the machine of a run may be ahead
FEWEST_BY_POINT_ESTIMATES = 50  # rows: as many as the smallest usual golden set
_DECISIVE = frozenset({GateVerdict.PASS, GateVerdict.FAIL, GateVerdict.NEEDS_APPROVAL})
_SHOWN = 80  # characters of a model's id in a sentence


@dataclass(frozen=True, slots=True)
class GateFacts:
    """What is known of a role's gate. Times are Unix seconds.

    ``runs``: those kept of the last ``max_age`` seconds, and others. ``taken_back_at``: when the candidate last stopped
    being prod, None where it never was; ``taken_back_run``, ``taken_back_waiver``: what it had become prod on, which is
    used up also where clocks differ. ``setup``: of the role's file, None where it is not at hand.
    """

    role: Role
    runs: Sequence[GateRecord]
    waiver: Waiver | None
    taken_back_at: float | None
    setup: str | None
    max_age: float
    now: float
    taken_back_run: str | None = None
    taken_back_waiver: bool = False

    def of_the_pair(self) -> list[GateRecord]:
        """The runs that compared this prod with this candidate, the one that ended last at the end."""
        pair = (self.role.prod, self.role.candidate)
        found = [one for one in self.runs if (one.prod, one.candidate) == pair]
        return sorted(found, key=lambda one: (one.ended_at, one.run))


def required_candidate(role: Role) -> str:
    """The candidate. Raises Refused where there is none."""
    if role.candidate is None:
        raise Refused(f"role {role.name} has no candidate; name one: `killswitch role set-candidate {role.name} MODEL`")
    return role.candidate


def allowing_run(facts: GateFacts) -> GateRecord:
    """The run that lets the candidate replace prod. Raises Refused, with what to do, where none does."""
    role = facts.role
    candidate = required_candidate(role)
    if role.prod is None:
        raise Refused(
            f"role {role.name} has no prod, so a gate has nothing to compare its candidate with; name the model that"
            f" serves users today: `killswitch role create {role.name} --prod MODEL`"
        )
    run = deciding_run(facts)
    _check_verdict(run, facts)
    again = f"run it again: `killswitch gate run {role.name}`"
    if run.ended_at > facts.now + CLOCKS_DIFFER:
        raise Refused(
            f"gate run {run.run} ended at {to_iso(run.ended_at)}, in the future; check the clocks, then {again}"
        )
    age = facts.now - run.ended_at
    if age > facts.max_age:
        limit = span_in_words(facts.max_age)
        raise Refused(f"gate run {run.run} is {span_in_words(age)} old, over max_evidence_age of {limit}; {again}")
    if facts.taken_back_at is not None and (
        run.ended_at <= facts.taken_back_at or run.run == facts.taken_back_run
    ):  # fmt: skip
        raise Refused(
            f"{plain(candidate, _SHOWN)} was prod of role {role.name} and was taken back at"
            f" {to_iso(facts.taken_back_at)}, after gate run {run.run}; add golden rows that show what went wrong, then"
            f" {again}"
        )
    if facts.setup is not None and run.setup != facts.setup:
        raise Refused(
            f"the role file of {role.name} has changed since gate run {run.run} (prompt, schema, parameters, endpoint"
            f" or bars); {again}"
        )
    if not run.golden:
        raise Refused(f"gate run {run.run} does not say which golden set it asked; {again}")
    return run


def deciding_run(facts: GateFacts) -> GateRecord:
    """The newest run of the pair with a verdict. Raises Refused, with what to do, where there is none."""
    role, runs = facts.role, facts.of_the_pair()
    decisive = [one for one in runs if one.verdict in _DECISIVE]
    if decisive:
        return decisive[-1]
    if runs:
        run = runs[-1]
        raise Refused(
            f"gate run {run.run} says {run.verdict}: {plain(run.why, 300)}; when that is settled, run it again:"
            f" `killswitch gate run {role.name}`"
        )
    pair = f"{plain(str(role.prod), _SHOWN)} with {plain(str(role.candidate), _SHOWN)}"
    raise Refused(
        f"no gate run of role {role.name} in the last {span_in_words(facts.max_age)} has compared {pair}; run it:"
        f" `killswitch gate run {role.name}`"
    )


def _check_verdict(run: GateRecord, facts: GateFacts) -> None:
    name = facts.role.name
    if run.verdict is GateVerdict.FAIL:
        raise Refused(
            f"gate run {run.run} says FAIL: {plain(run.why, 300)}; keep prod, or change prompt or candidate and run the"
            f" gate again: `killswitch gate run {name}`"
        )
    if run.approval is not None:
        return
    approve = f'a person approves it with `killswitch role approve {name} {run.run} --reason "why"`'
    if run.verdict is GateVerdict.NEEDS_APPROVAL:
        raise Refused(f"gate run {run.run} needs approval: {plain(run.why, 300)}; {approve}")
    doubt = doubt_of(run, facts)
    if doubt is not None:
        raise Refused(f"gate run {run.run} says PASS, but {doubt}; {approve}")


def doubt_of(run: GateRecord, facts: GateFacts) -> str | None:
    """Why a PASS needs a person's approval, None where it needs none.

    A run of the same pair that did not pass came before it, or it compares plain values of a few rows.
    """
    for before in reversed(facts.of_the_pair()):
        if _speaks_against(before) and before.run != run.run and before.ended_at <= run.ended_at:
            eased = _eased(before, run)
            if eased is not None:
                return f"run {before.run} said {before.verdict}{eased}"
    if run.point_estimates and run.asked_rows < FEWEST_BY_POINT_ESTIMATES:
        return (
            f"it compares plain values of {counted(run.asked_rows, 'row')}, and below {FEWEST_BY_POINT_ESTIMATES} they"
            " say nearly nothing"
        )
    return None


def _speaks_against(run: GateRecord) -> bool:
    return run.verdict is GateVerdict.FAIL or (run.verdict is GateVerdict.NEEDS_APPROVAL and run.approval is None)


def _eased(before: GateRecord, run: GateRecord) -> str | None:
    """Why ``run`` may pass although nothing is better than in ``before``; None where another question is sent."""
    bar = _changed_bar(before, run)
    if bar is not None:
        return f", and {bar}"
    if run.point_estimates and not before.point_estimates:
        return " with intervals, and this one leaves them out"
    if before.asking != run.asking:
        return None
    if before.golden != run.golden:
        return ", and only the golden rows were changed since"
    if before.setup != run.setup:
        return ", and only what answers are held against was changed since"
    return " of the same rows and setup, so it may be luck"


def _changed_bar(failed: GateRecord, run: GateRecord) -> str | None:
    bars = {one.name: one.bar for one in failed.numbers}
    for number in run.numbers:
        before = bars.get(number.name)
        if before is not None and before != number.bar:
            return f"the bar of {plain(number.name, 60)} was changed since ({before:g}, now {number.bar:g})"
    return None


def holding_waiver(facts: GateFacts) -> Waiver | None:
    """The waiver where it holds for this pair now; one from before the candidate was taken back does not."""
    waiver, role = facts.waiver, facts.role
    if waiver is None or not waiver.holds_for(prod=role.prod, candidate=role.candidate, now=facts.now):
        return None
    if facts.taken_back_at is not None and (waiver.at <= facts.taken_back_at or facts.taken_back_waiver):
        return None
    return waiver


def why_no_waiver(facts: GateFacts) -> str | None:
    """Why the newest waiver does not hold, None where there is none or where it holds."""
    waiver = facts.waiver
    if waiver is None or holding_waiver(facts) is not None:
        return None
    whose = f"the waiver of {plain(waiver.owner, _SHOWN)}"
    if facts.now >= waiver.expires_at:
        return f"{whose} expired at {to_iso(waiver.expires_at)}"
    if (waiver.prod, waiver.candidate) != (facts.role.prod, facts.role.candidate):
        pair = f"{plain(str(waiver.prod), _SHOWN)} and {plain(waiver.candidate, _SHOWN)}"
        return f"{whose} is for {pair}, not for this pair"
    if facts.now < waiver.at:
        return f"{whose} is dated {to_iso(waiver.at)}, in the future; check the clocks"
    return f"{whose} is from before the candidate was taken back"
