"""What allows a candidate to take users: a run of the gate that it passed, or a waiver."""

from __future__ import annotations

from dataclasses import dataclass

from killswitch.roles.config import RoleConfig
from killswitch.roles.gate_record import GateRecord
from killswitch.roles.role import Role
from killswitch.roles.waiver import Waiver
from killswitch.stores import Compare, Store


@dataclass(frozen=True, slots=True)
class RoleEvidence:
    """Exactly one of ``run`` and ``waiver`` is None. ``sentence`` says in words what it is.

    ``compares``: what a transaction that rests on it must compare, besides the role itself.
    """

    run: GateRecord | None
    waiver: Waiver | None
    compares: tuple[Compare, ...]
    sentence: str


def evidence_of(store: Store, role: Role, *, config: RoleConfig | None, now: float) -> RoleEvidence:
    """What allows the candidate of ``role`` to replace its prod, at ``now`` (Unix seconds).

    ``config``: the role's file, None where it is not at hand; then the run's setup is not compared with it.
    Raises Refused, with what to do, where nothing does; BadDocument for a damaged document; else as the store does.
    """
    raise NotImplementedError
