"""A promotion as a part of a transaction, so that the end of a rollout can carry it."""

from __future__ import annotations

from killswitch.errors import Refused
from killswitch.model import PageSettings
from killswitch.pages import role_events
from killswitch.registry.evidence import RoleEvidence, waiver_in_words
from killswitch.registry.role_transaction import RoleTransaction, transaction
from killswitch.registry.stored_roles import StoredRole
from killswitch.roles import transitions
from killswitch.roles.role import Role, RoleHistoryEntry


def promotion(
    stored: StoredRole, evidence: RoleEvidence, *, reason: str, by: str, now: float, settings: PageSettings
) -> RoleTransaction:
    """The promotion of the candidate of ``stored``. ``now``: Unix seconds. Raises IllegalTransition without one."""
    if stored.role is None:
        raise Refused("a role that is absent cannot be promoted; create it: `killswitch role create NAME --prod MODEL`")
    run, waiver = named(evidence)
    role = transitions.promote(stored.role, now=now, by=by, gate_run=run, waiver=waiver)
    return as_promotion(stored, role, evidence, reason=reason, now=now, settings=settings)


def as_promotion(
    stored: StoredRole, role: Role, evidence: RoleEvidence, *, reason: str, now: float, settings: PageSettings
) -> RoleTransaction:
    """A promotion to ``role``, with its page."""
    run, waiver = named(evidence)
    entry = RoleHistoryEntry(role, reason, gate_run=run, waiver=waiver)
    page = role_events.promoted(entry, before=stored.role, evidence=evidence.sentence, settings=settings)
    return transaction(stored, entry, page, also=evidence.compares, now=now)


def named(evidence: RoleEvidence) -> tuple[str | None, str | None]:
    """The gate run and the waiver as the history names them."""
    run = None if evidence.run is None else evidence.run.run
    return run, None if evidence.waiver is None else waiver_in_words(evidence.waiver)
