"""The registry: every change of a role is one transaction, with its history entry and its page."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

from killswitch.errors import BadDocument, OutcomeUnknown, Unavailable
from killswitch.model import PageSettings
from killswitch.pages import role_events
from killswitch.registry.evidence import RoleEvidence, evidence_of
from killswitch.registry.gate_decisions import check_reason
from killswitch.registry.importing import RoleImports
from killswitch.registry.living_models import check_living
from killswitch.registry.promotion import promotion
from killswitch.registry.role_transaction import ChangedRole, LostRace, RoleTransaction, commit, made_by, transaction
from killswitch.registry.stored_roles import StoredRole
from killswitch.roles import transitions
from killswitch.roles.config import RoleConfig
from killswitch.roles.retirement import RetirementDate
from killswitch.roles.role import Role, RoleHistoryEntry

ATTEMPTS = 6
# Called with the role before and after an allowed change, and what a promotion rests on, before the change is made.
# It raises what ends it.
AgreeRole = Callable[[Role | None, Role, RoleEvidence | None], None]


def _unasked(_before: Role | None, _after: Role, _evidence: RoleEvidence | None) -> None:
    """For a change that no one has to agree to."""


class Registry(RoleImports):
    """All changes of roles go through here. ``wall`` gives Unix seconds; ``by`` names who changes.

    Every change raises Refused (nothing was changed, and why), Unavailable (surely nothing was changed) or
    OutcomeUnknown (look, then repeat). ``dates``: retirement dates of files; what probes and
    lists have found is read from the store.
    """

    def create(
        self,
        name: str,
        prod: str,
        *,
        reason: str,
        dates: Iterable[RetirementDate] = (),
        agree: AgreeRole = _unasked,
    ) -> ChangedRole:
        """Name the model that serves users already, of a role that has no prod."""
        check_reason(reason, f"create {name}")
        return self._changed(
            self.stored(name), lambda role, now: transitions.create(role, name=name, prod=prod, now=now, by=self._by),
            name=name, reason=reason, agree=agree, living=(prod,), dates=dates,
        )  # fmt: skip

    def set_candidate(
        self,
        name: str,
        model: str | None,
        *,
        reason: str,
        dates: Iterable[RetirementDate] = (),
        agree: AgreeRole = _unasked,
    ) -> ChangedRole:
        """Name the model that may come next, None for none. Creates a role that is absent."""
        check_reason(reason, f"set the candidate of {name}")
        return self._changed(
            self.stored(name),
            lambda role, now: transitions.set_candidate(role, name=name, model=model, now=now, by=self._by),
            name=name, reason=reason, agree=agree, living=(model,), dates=dates,
        )  # fmt: skip

    def promote(
        self,
        name: str,
        *,
        reason: str,
        config: RoleConfig | None,
        settings: PageSettings,
        dates: Iterable[RetirementDate] = (),
        agree: AgreeRole = _unasked,
    ) -> ChangedRole:
        """Candidate -> prod, on the evidence of `evidence_of`."""
        check_reason(reason, f"promote {name}")
        stored = self.required(name)
        assert stored.role is not None
        role = stored.role

        def drafted(before: StoredRole) -> tuple[RoleTransaction, RoleEvidence]:
            now = self._wall()
            evidence = evidence_of(self._store, role, config=config, now=now, dates=dates)
            return promotion(before, evidence, reason=reason, by=self._by, now=now, settings=settings), evidence

        asked, evidence = drafted(stored)
        agree(role, asked.role, evidence)
        # the answer may have come hours later: the run may be too old by now, or another one may have failed
        return commit(self._store, drafted(self._after_history(stored))[0])

    def rollback(
        self,
        name: str,
        *,
        reason: str,
        settings: PageSettings,
        to: str | None = None,
        incident: str | None = None,
        expect: Role | None = None,
        dates: Iterable[RetirementDate] = (),
        even_if_retired: bool = False,
        agree: AgreeRole = _unasked,
    ) -> ChangedRole:
        """``previous``, or ``to``, -> prod; no gate is asked.

        ``expect``: the role as it was judged. A role whose prod or previous has changed since then, or since ``agree``
        was called, is left alone (Refused). Another change, such as another candidate, does not keep it from going on.
        """
        check_reason(reason, f"roll back {name}")
        seen = self.required(name)
        assert seen.role is not None
        first = expect or seen.role
        check_unmoved(first, seen.role)
        asked = self._rolled_back(seen, to, reason, incident, settings).role
        if not even_if_retired:
            with contextlib.suppress(BadDocument):  # what is known of its health is damaged: no reason to stay
                check_living(self._store, name, (asked.prod,), dates, asked.updated_at)
        agree(seen.role, asked, None)
        return self._insisted(first, lambda stored: self._rolled_back(stored, to, reason, incident, settings))

    # --- shared ---------------------------------------------------------------------------------

    def _changed(
        self,
        stored: StoredRole,
        change: Callable[[Role | None, float], Role],
        *,
        name: str,
        reason: str,
        agree: AgreeRole,
        living: tuple[str | None, ...],
        dates: Iterable[RetirementDate],
    ) -> ChangedRole:
        now = self._wall()
        check_living(self._store, name, living, dates, now)
        agree(stored.role, change(stored.role, now), None)
        now = self._wall()
        entry = RoleHistoryEntry(self._numbered(change(stored.role, now)), reason)
        return commit(self._store, transaction(stored, entry, None, now=now))

    def _insisted(self, first: Role, draft: Callable[[StoredRole], RoleTransaction]) -> ChangedRole:
        """Make the change of ``draft`` while prod and previous are those of ``first``; others may change the rest.

        Sent again after a lost answer it is not made twice: each compares that its entry of the history is absent.
        """
        sent: list[RoleTransaction] = []
        lost: OutcomeUnknown | LostRace | None = None
        for _ in range(ATTEMPTS):
            try:
                made = next((one for one in (made_by(self._store, change) for change in sent) if one), None)
                if made is not None:
                    return made
                seen = self.required(first.name)
                check_unmoved(first, seen.role)
                change = draft(seen)
            except Unavailable as error:
                if isinstance(lost, OutcomeUnknown):
                    raise lost from error
                raise
            try:
                return commit(self._store, change)
            except OutcomeUnknown as error:
                sent.append(change)
                lost = error
            except LostRace as error:
                lost = error
        if isinstance(lost, OutcomeUnknown):
            raise lost
        raise Unavailable(f"role {first.name} changed {ATTEMPTS} times while it was rolled back; repeat it") from lost

    def _rolled_back(
        self, stored: StoredRole, to: str | None, reason: str, incident: str | None, settings: PageSettings
    ) -> RoleTransaction:
        stored = self._after_history(stored)
        assert stored.role is not None
        before, now = stored.role, self._wall()

        def was_prod(model: str) -> bool:
            return self.was_prod(before.name, model, last=before.number)

        role = transitions.roll_back(before, to=to, was_prod=was_prod, now=now, by=self._by)
        entry = RoleHistoryEntry(role, reason, incident=incident)
        page = role_events.rolled_back(entry, before=before, settings=settings)
        return transaction(stored, entry, page, now=now)


def check_unmoved(first: Role, seen: Role | None) -> None:
    """Raises LostRace where prod or previous is another than when a rollback was decided.

    Also where they are the same again: a model that was taken back and promoted again has passed the gate since.
    """
    if seen is None or (seen.prod, seen.previous, seen.origin) != (first.prod, first.previous, first.origin):
        raise LostRace(
            f"role {first.name} has another prod or previous since this was decided, so it is not rolled back; look at"
            f" `killswitch role show {first.name}`"
        )
