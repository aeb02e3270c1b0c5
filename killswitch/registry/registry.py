"""The registry: every change of a role is one transaction, with its history entry and its page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from killswitch.model import PageSettings
from killswitch.pages.page import Page
from killswitch.registry.evidence import RoleEvidence
from killswitch.registry.stored_roles import StoredRoles
from killswitch.roles.config import RoleConfig
from killswitch.roles.gate_record import GateRecord
from killswitch.roles.role import Role, RoleHistoryEntry
from killswitch.roles.waiver import Waiver
from killswitch.stores import Store

# Called with the role before and after an allowed change, and what a promotion rests on, before the change is made.
# It raises what ends it.
AgreeRole = Callable[[Role | None, Role, RoleEvidence | None], None]


def _unasked(_before: Role | None, _after: Role, _evidence: RoleEvidence | None) -> None:
    """For a change that no one has to agree to."""


@dataclass(frozen=True, slots=True)
class ChangedRole:
    """A change that is in the store. ``page``: what was put into the outbox with it, None for nothing.

    ``revision``: the store's revision of the change, None where its answer was lost and it was found later.
    """

    role: Role
    entry: RoleHistoryEntry
    page: Page | None
    revision: int | None


class Registry(StoredRoles):
    """All changes of roles go through here. ``wall`` gives Unix seconds; ``by`` names who changes.

    Every change raises Refused (nothing was changed, and why), Unavailable (surely nothing was changed) or
    OutcomeUnknown (look, then repeat).
    """

    def __init__(self, store: Store, *, wall: Callable[[], float], by: str) -> None:
        super().__init__(store)
        self._wall = wall
        self._by = by

    def create(self, name: str, prod: str, *, reason: str, agree: AgreeRole = _unasked) -> ChangedRole:
        """Name the model that serves users already, of a role that has no prod."""
        raise NotImplementedError

    def set_candidate(self, name: str, model: str | None, *, reason: str, agree: AgreeRole = _unasked) -> ChangedRole:
        """Name the model that may come next, None for none. Creates a role that is absent."""
        raise NotImplementedError

    def promote(
        self,
        name: str,
        *,
        reason: str,
        config: RoleConfig | None,
        settings: PageSettings,
        agree: AgreeRole = _unasked,
    ) -> ChangedRole:
        """Candidate -> prod, on the evidence of `evidence_of`."""
        raise NotImplementedError

    def rollback(
        self,
        name: str,
        *,
        reason: str,
        settings: PageSettings,
        to: str | None = None,
        incident: str | None = None,
        expect: Role | None = None,
        agree: AgreeRole = _unasked,
    ) -> ChangedRole:
        """``previous``, or ``to``, -> prod; no gate is asked.

        ``expect``: the role as it was judged; one whose prod or previous has changed since is left alone (Refused).
        """
        raise NotImplementedError

    def approve(self, name: str, run: str, *, reason: str) -> GateRecord:
        """A person approves a run that asks for it; the run after it."""
        raise NotImplementedError

    def waive(self, name: str, *, owner: str, reason: str, expires_at: float) -> Waiver:
        """Let the current candidate go on without a passed gate, until ``expires_at`` (Unix seconds)."""
        raise NotImplementedError
