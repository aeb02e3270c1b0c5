"""What a person decides about a role's gate: to approve a run that asks for it, and to waive the gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from killswitch.errors import OutcomeUnknown, Refused
from killswitch.flags.transitions import says_nothing
from killswitch.registry import gate_runs
from killswitch.registry.evidence import stored_gate, waiver_of
from killswitch.registry.role_transaction import LostRace
from killswitch.registry.stored_roles import StoredRoles
from killswitch.roles.config import RoleConfig
from killswitch.roles.gate_record import GateApproval, GateRecord, GateVerdict
from killswitch.roles.gate_record import to_document as run_document
from killswitch.roles.promotable import GateFacts, deciding_run, doubt_of, required_candidate
from killswitch.roles.waiver import Waiver
from killswitch.roles.waiver import to_document as waiver_document
from killswitch.stores import Committed, Compare, Put, Store, keys
from killswitch.timestamps import to_iso
from killswitch.wording import plain

LONGEST_WAIVER = 30 * 86_400.0  # seconds


class GateDecisions(StoredRoles):
    """Approvals and waivers. ``wall`` gives Unix seconds; ``by`` names who decides."""

    def __init__(self, store: Store, *, wall: Callable[[], float], by: str) -> None:
        super().__init__(store)
        self._wall = wall
        self._by = by

    def approve(
        self, name: str, run: str, *, reason: str, config: RoleConfig | None = None,
        agree: Callable[[GateRecord], None] = lambda _run: None,
    ) -> GateRecord:  # fmt: skip
        """A person approves a run that asks for it, or a PASS that follows a FAIL; the run after it.

        It must be the newest run of the role's present pair that has a verdict. ``agree`` is called with the run before
        it is approved. Raises Refused for another, and for a FAIL; and as the store does.
        """
        check_reason(reason, f"approve {name}")
        stored = self.required(name)
        assert stored.role is not None
        kept = gate_runs.run(self._store, name, run)
        if kept is None:
            raise Refused(
                f"role {name} has no gate run {plain(run, 80)!r}; `killswitch role show {name}` names its runs"
            )
        gate = stored_gate(self._store, stored.role, config=config, now=self._wall())
        if gate.problem is not None:
            raise Refused(gate.problem)
        check_approvable(kept.record, gate.facts)
        agree(kept.record)
        approved = replace(kept.record, approval=GateApproval(self._by, self._wall(), reason))
        put = Put(keys.gate_run(name, run), run_document(approved))
        compares = (
            Compare(put.key, kept.revision),
            Compare(keys.role(name), stored.revision),
            Compare(keys.gate_newest(name), gate.newest_revision),
        )
        self._decide(name, compares, put)
        return approved

    def waive(
        self, name: str, *, owner: str, reason: str, expires_at: float,
        agree: Callable[[Waiver], None] = lambda _waiver: None,
    ) -> Waiver:  # fmt: skip
        """Let the current candidate go on without a passed gate, until ``expires_at`` (Unix seconds).

        It holds for the present pair alone, and replaces an older waiver. Raises Refused, and as the store does.
        """
        check_reason(reason, f"waive the gate of {name}")
        if says_nothing(owner):
            raise Refused(f"cannot waive the gate of {name}: name who answers for it with --owner")
        stored = self.required(name)
        assert stored.role is not None
        candidate = required_candidate(stored.role)
        _, revision = waiver_of(self._store, name)

        def at(now: float) -> Waiver:
            if expires_at <= now:
                raise Refused(f"the waiver would have expired at {to_iso(expires_at)} already; name a later --until")
            if expires_at > now + LONGEST_WAIVER:
                latest = to_iso(now + LONGEST_WAIVER)
                raise Refused(f"a waiver holds 30 days at most; name an --until before {latest}")
            return Waiver(
                name, stored.role.prod if stored.role else None, candidate, owner, reason, self._by, now, expires_at
            )

        agree(at(self._wall()))
        waiver = at(self._wall())
        put = Put(keys.role_waiver(name), waiver_document(waiver))
        self._decide(name, (Compare(put.key, revision), Compare(keys.role(name), stored.revision)), put)
        return waiver

    def _decide(self, name: str, compares: Sequence[Compare], put: Put) -> None:
        try:
            outcome = self._store.commit(compares, (put,))
        except OutcomeUnknown as error:
            item = self._store.get(put.key)
            if item is not None and item.value == put.value:
                return
            raise OutcomeUnknown(
                f"the decision about role {name} was sent and no answer came; look at `killswitch role show {name}` in"
                " a few seconds, then repeat it if needed"
            ) from error
        if not isinstance(outcome, Committed):
            raise LostRace(
                f"role {name} or its gate was changed by someone else just now; look at `killswitch role show {name}`,"
                " then repeat"
            )


def check_approvable(run: GateRecord, facts: GateFacts) -> None:
    """Raises Refused, with what to do instead, for a run that a person may not approve now."""
    name = facts.role.name
    pair = (facts.role.prod, facts.role.candidate)
    if (run.prod, run.candidate) != pair:
        compared = f"{plain(run.prod, 80)} with {plain(run.candidate, 80)}"
        raise Refused(
            f"gate run {run.run} compared {compared}, which are not prod and candidate of role {name} now; run the"
            f" gate: `killswitch gate run {name}`"
        )
    if run.approval is not None:
        raise Refused(f"gate run {run.run} was approved by {plain(run.approval.by, 80)} already; nothing was changed")
    if run.verdict not in (GateVerdict.PASS, GateVerdict.NEEDS_APPROVAL):
        raise Refused(
            f"gate run {run.run} says {run.verdict}, which no one can approve: {plain(run.why, 300)}; run the gate"
            f' again, or take the risk by name: `killswitch role waive {name} --owner WHO --until DATE --reason "why"`'
        )
    newest = deciding_run(facts)
    if newest.run != run.run:
        raise Refused(f"gate run {newest.run} of the same models is newer and says {newest.verdict}; look at it first")
    if run.verdict is GateVerdict.PASS and doubt_of(run, facts) is None:
        raise Refused(
            f'gate run {run.run} passes, and needs no approval: `killswitch role promote {name} --reason "why"`'
        )


def check_reason(reason: str, what: str) -> None:
    """Raises Refused for a reason that says nothing."""
    if says_nothing(reason):
        raise Refused(f"cannot {what}: say why with --reason")
