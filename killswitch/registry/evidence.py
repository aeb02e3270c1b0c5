"""What allows a candidate to take users: a run of the gate that it passed, or a waiver.

The law is in `killswitch.roles.promotable`; here it is asked of the store.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from killswitch.errors import BadDocument, Refused
from killswitch.registry import gate_runs
from killswitch.registry.gate_runs import StoredRun
from killswitch.registry.living_models import check_living
from killswitch.registry.stored_roles import StoredRoles
from killswitch.roles.config import MAX_EVIDENCE_AGE, RoleConfig
from killswitch.roles.gate_record import GateRecord
from killswitch.roles.promotable import (
    GateFacts,
    allowing_run,
    doubt_of,
    holding_waiver,
    required_candidate,
    why_no_waiver,
)
from killswitch.roles.retirement import RetirementDate
from killswitch.roles.role import ProdOrigin, Role
from killswitch.roles.waiver import Waiver
from killswitch.roles.waiver import from_document as waiver_from_document
from killswitch.stores import Compare, Store, keys
from killswitch.timestamps import to_iso
from killswitch.wording import plain, span_in_words

_DAY = 86_400.0
# How far back failed runs are looked for at least. A short `max_evidence_age` must not hide one from a lucky run.
_FAILS_REMEMBERED = 31 * _DAY
_GOLDEN_SHOWN = 12  # digits of a golden set's version


@dataclass(frozen=True, slots=True)
class RoleEvidence:
    """Exactly one of ``run`` and ``waiver`` is None. ``sentence`` says in words what it is.

    ``compares``: what a transaction that rests on it must compare, besides the role itself.
    """

    run: GateRecord | None
    waiver: Waiver | None
    compares: tuple[Compare, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class StoredGate:
    """The facts of a role's gate as stored, each with its revision. ``problem``: why no run can count, if so."""

    facts: GateFacts
    revisions: dict[str, int]
    newest_revision: int
    waiver_revision: int
    problem: str | None


def evidence_of(
    store: Store,
    role: Role,
    *,
    config: RoleConfig | None,
    now: float,
    dates: Iterable[RetirementDate] = (),
    armed_at: float | None = None,
) -> RoleEvidence:
    """What allows the candidate of ``role`` to replace its prod, at ``now`` (Unix seconds).

    ``config``: the role's file, None where it is not at hand; then the run's setup is not compared with it.
    ``dates``: of the retirement file that it names. ``armed_at``: when a rollout of the two models was armed on a run
    (Unix seconds). What was fresh then stays fresh, because a plan may take longer than ``max_evidence_age``. All else
    is asked as it is at ``now``. Raises Refused, with what to do, where nothing does, or where the
    candidate is retired, which no waiver helps; else as the store does.
    """
    check_living(store, role.name, (required_candidate(role),), dates, now)
    gate = stored_gate(store, role, config=config, now=now, armed_at=armed_at)
    waiver = holding_waiver(gate.facts)
    try:
        run = _counting_run(gate)
    except Refused as error:
        if waiver is not None:
            rests_on = Compare(keys.role_waiver(role.name), gate.waiver_revision)
            return RoleEvidence(None, waiver, (rests_on,), waiver_in_words(waiver))
        hint = why_no_waiver(gate.facts)
        waive = f'or take the risk by name: `killswitch role waive {role.name} --owner WHO --until DATE --reason "why"`'
        raise Refused(f"{error}; {'' if hint is None else f'{hint}; '}{waive}") from error
    compares = (
        Compare(keys.gate_run(role.name, run.run), gate.revisions[run.run]),
        # a run that is stored while this decides may have failed
        Compare(keys.gate_newest(role.name), gate.newest_revision),
    )
    return RoleEvidence(run, None, compares, run_in_words(run, gate.facts))


def _counting_run(gate: StoredGate) -> GateRecord:
    if gate.problem is not None:
        raise Refused(gate.problem)
    return allowing_run(gate.facts)


def stored_gate(
    store: Store, role: Role, *, config: RoleConfig | None, now: float, armed_at: float | None = None
) -> StoredGate:
    """What the store says of the gate of ``role``, at ``now``. ``armed_at`` as in `evidence_of`."""
    max_age = MAX_EVIDENCE_AGE if config is None else config.max_evidence_age
    if armed_at is not None:
        max_age += max(0.0, now - armed_at)
    # before the runs: one that is stored between the two reads then fails the comparison
    newest_revision = gate_runs.newest_revision(store, role.name)
    runs: list[StoredRun] = []
    problem = None
    try:
        runs = gate_runs.runs_since(store, role.name, now - max(max_age + _DAY, _FAILS_REMEMBERED), now)
        last = gate_runs.newest(store, role.name)
        if last is not None and last.record.run not in {one.record.run for one in runs}:
            runs.append(last)
    except BadDocument as error:
        named = f"`killswitch gate list {role.name}` names its key"
        problem = f"{error}; it may have failed, so no run counts: {named}; remove that, and run the gate again"
    waiver, waiver_revision = waiver_of(store, role.name)
    setup = None
    if config is not None and role.prod is not None and role.candidate is not None:
        setup = config.setup(role.prod, role.candidate)
    back = _taken_back(store, role, since=now - max(max_age, _age_of(waiver, now)) - _DAY)
    rested_on = None if back is None else back[1]
    facts = GateFacts(
        role=role,
        runs=[one.record for one in runs],
        waiver=waiver,
        taken_back_at=None if back is None else back[0],
        setup=setup,
        max_age=max_age,
        now=now,
        taken_back_run=None if rested_on is None else rested_on.gate_run,
        taken_back_waiver=waiver is not None and back is not None and waiver_revision < back[2],
    )
    return StoredGate(facts, {one.record.run: one.revision for one in runs}, newest_revision, waiver_revision, problem)


def waiver_of(store: Store, name: str) -> tuple[Waiver | None, int]:
    """The newest waiver and its revision. A damaged one is no waiver; another may replace it."""
    item = store.get(keys.role_waiver(name))
    if item is None:
        return None, 0
    try:
        return waiver_from_document(item.value, role=name), item.mod_revision
    except BadDocument:
        return None, item.mod_revision


def run_in_words(run: GateRecord, facts: GateFacts) -> str:
    """The run as evidence: its verdict, its rows, and what a reader should know of it."""
    golden = f"{run.asked_rows} rows of golden set {run.golden[:_GOLDEN_SHOWN]}"
    said = f"gate run {run.run}: {run.verdict} on {golden}, {span_in_words(facts.now - run.ended_at)} ago"
    if run.point_estimates:
        said += ", by point estimates"
    if run.approval is not None:
        said += f", approved by {plain(run.approval.by, 80)}: {plain(run.approval.reason, 200)}"
    doubt = doubt_of(run, facts)
    if doubt is not None:
        said += f" ({doubt})"
    if facts.setup is None:
        said += "; no role file was at hand to compare its setup with"
    return said


def waiver_in_words(waiver: Waiver) -> str:
    """The waiver as evidence."""
    owner, reason = plain(waiver.owner, 80), plain(waiver.reason, 300)
    return f"no gate, waived by {owner} until {to_iso(waiver.expires_at)}: {reason}"


def _age_of(waiver: Waiver | None, now: float) -> float:
    return 0.0 if waiver is None else now - waiver.at


def _taken_back(store: Store, role: Role, *, since: float) -> tuple[float, ProdOrigin | None, int] | None:
    """When the candidate last stopped being prod, how it had become it, and the revision of that change.

    None where the history since ``since`` does not say so.
    """
    newer: Role = role
    for entry in StoredRoles(store).newest_first(role.name, last=role.number):
        older = entry.role
        if older.prod == role.candidate and newer.prod != role.candidate:
            item = store.get(keys.role_change(role.name, newer.number))
            return newer.updated_at, older.origin, 0 if item is None else item.mod_revision
        if newer.updated_at < since:
            return None
        newer = older
    return None
