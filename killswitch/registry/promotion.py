"""A promotion as a part of a transaction: what it compares and what it writes, its history entry and page included."""

from __future__ import annotations

from dataclasses import dataclass

from killswitch.model import PageSettings
from killswitch.pages.page import Page
from killswitch.registry.evidence import RoleEvidence
from killswitch.registry.stored_roles import StoredRole
from killswitch.roles.role import Role, RoleHistoryEntry
from killswitch.stores import Compare, Put


@dataclass(frozen=True, slots=True)
class Promotion:
    """``role``: as it is after it. A transaction that carries it has all of ``compares`` and all of ``writes``.

    ``writes``: the role, its history entry, and ``page`` in the outbox.
    """

    role: Role
    entry: RoleHistoryEntry
    page: Page
    compares: tuple[Compare, ...]
    writes: tuple[Put, ...]


def promotion(
    stored: StoredRole, evidence: RoleEvidence, *, reason: str, by: str, now: float, settings: PageSettings
) -> Promotion:
    """The promotion of the candidate of ``stored``. ``now``: Unix seconds. Raises IllegalTransition without one."""
    raise NotImplementedError
