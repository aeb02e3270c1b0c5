"""Roles as a file says them: what would change, and the change itself, one transaction a role.

A file is no door around the gate: another prod needs the evidence of a promotion, or must have been prod before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from killswitch.errors import OutcomeUnknown, Refused
from killswitch.model import PageSettings
from killswitch.pages import role_events
from killswitch.registry.evidence import RoleEvidence, evidence_of
from killswitch.registry.gate_decisions import GateDecisions, check_reason
from killswitch.registry.living_models import check_living
from killswitch.registry.promotion import as_promotion, named
from killswitch.registry.role_transaction import ChangedRole, LostRace, commit, transaction
from killswitch.registry.stored_roles import StoredRole
from killswitch.roles import transitions
from killswitch.roles.config import RoleConfig
from killswitch.roles.document import history_document
from killswitch.roles.retirement import RetirementDate
from killswitch.roles.role import RoleHistoryEntry
from killswitch.roles.transitions import ImportKind, RoleSlots
from killswitch.stores import Committed, Compare, Put, keys
from killswitch.stores.limits import Part, portions


@dataclass(frozen=True, slots=True)
class RoleImport:
    """What a file would do to one role, on the role as it was read; None where it is absent.

    ``damaged``: what is wrong with its document, which is then written again. ``evidence``: of a promotion.
    """

    name: str
    stored: StoredRole
    slots: RoleSlots
    kind: ImportKind
    evidence: RoleEvidence | None
    damaged: str | None

    @property
    def changes(self) -> bool:
        return self.kind is not ImportKind.SAME or self.damaged is not None


class RoleImports(GateDecisions):
    """Imports of roles. Every method raises Refused (nothing was changed, and why), and as the store does."""

    def import_draft(
        self, name: str, slots: RoleSlots, *, config: RoleConfig | None, dates: Iterable[RetirementDate] = ()
    ) -> RoleImport:
        """What ``slots`` would do to the role now. Raises Refused, with the fix, for what may not be."""
        stored, damaged = self.readable(name)
        last = 0 if stored.role is None else stored.role.number
        kind = transitions.import_kind(
            stored.role, name, slots, was_prod=lambda model: self.was_prod(name, model, last=last)
        )
        evidence = None
        if kind is ImportKind.PROMOTION:
            assert stored.role is not None
            compared = replace(stored.role, candidate=slots.prod)
            evidence = evidence_of(self._store, compared, config=config, now=self._wall(), dates=dates)
        return RoleImport(name, stored, slots, kind, evidence, damaged)

    def import_role(
        self,
        shown: RoleImport,
        *,
        reason: str,
        config: RoleConfig | None,
        settings: PageSettings,
        dates: Iterable[RetirementDate] = (),
    ) -> ChangedRole:
        """Make the change that a person has seen. Raises LostRace where the role has changed since."""
        name, slots = shown.name, shown.slots
        check_reason(reason, f"import {name}")
        # evidence that was enough as the difference was shown may be too old by now
        draft = self.import_draft(name, slots, config=config, dates=dates)
        if draft.stored.revision != shown.stored.revision:
            raise LostRace(f"role {name} has changed since its difference was shown; run the import again")
        now = self._wall()
        before = draft.stored.role
        held = () if before is None else (before.prod, before.candidate, before.previous)
        check_living(self._store, name, [one for one in (slots.prod, slots.candidate) if one not in held], dates, now)
        run, waiver = (None, None) if draft.evidence is None else named(draft.evidence)
        role = self._numbered(
            transitions.imported(before, name, slots, draft.kind, now=now, by=self._by, gate_run=run, waiver=waiver)
        )
        if draft.evidence is not None:
            change = as_promotion(draft.stored, role, draft.evidence, reason=reason, now=now, settings=settings)
        else:
            entry = RoleHistoryEntry(role, reason)
            page = None
            if draft.kind is ImportKind.ROLLBACK and before is not None:
                page = role_events.rolled_back(entry, before=before, settings=settings)
            change = transaction(draft.stored, entry, page, now=now)
        return commit(self._store, change)

    def import_history(self, name: str, entries: Sequence[RoleHistoryEntry]) -> None:
        """The history of a role that is absent, as another store has had it; the role itself is imported after it.

        Entries that are there already are left as they are. Raises Refused where another is in their place.
        """
        parts = []
        for entry in entries:
            put = Put(keys.role_change(name, entry.role.number), history_document(entry))
            there = self._store.get(put.key)
            if there is None:
                parts.append(Part(entry, (Compare(put.key, 0),), (put,)))
            elif there.value != put.value:
                raise Refused(
                    f"role {name} has another change {entry.role.number} in this store; import it without its history"
                )
        absent = Compare(keys.role(name), 0)
        for portion in portions(parts, guards=(absent,)):
            compares = [absent, *(compare for part in portion for compare in part.compares)]
            try:
                outcome = self._store.commit(compares, [put for part in portion for put in part.writes])
            except OutcomeUnknown as error:
                raise OutcomeUnknown(
                    f"a part of the history of role {name} was sent and no answer came; run the import again: what is"
                    " there already stays"
                ) from error
            if not isinstance(outcome, Committed):
                raise LostRace(f"role {name} was created by someone else just now; run the import again")
