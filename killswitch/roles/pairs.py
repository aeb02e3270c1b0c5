"""Which two slots of one role a rule file compares: what it may write as control and canary, and what that means.

`UPGRADE`: the candidate gets users of prod; completing the rollout promotes. `WATCH`: after a promotion the new prod is
compared with the model from before; a trip rolls the role back. `SHADOW_WATCH`: the model from before answers unseen.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from killswitch.errors import BadDocument
from killswitch.roles.references import RoleReference, role_reference
from killswitch.roles.role import Role, Slot


class PairKind(StrEnum):
    """What comparing the two slots is for."""

    UPGRADE = "UPGRADE"
    WATCH = "WATCH"
    SHADOW_WATCH = "SHADOW_WATCH"


# (control, canary) -> kind; any other two slots of a role are refused
PAIRS = {
    (Slot.PROD, Slot.CANDIDATE): PairKind.UPGRADE,
    (Slot.PREVIOUS, Slot.PROD): PairKind.WATCH,
    (Slot.PROD, Slot.PREVIOUS): PairKind.SHADOW_WATCH,
}
_ALLOWED = (
    "write `control: role:{0}.prod` with `canary: role:{0}.candidate` to try a candidate, or after a promotion "
    "`control: role:{0}.previous` with `canary: role:{0}.prod`"
)


@dataclass(frozen=True, slots=True)
class RolePair:
    """Two slots of the role ``role``, as the kind of pair says."""

    role: str
    kind: PairKind

    @property
    def control(self) -> RoleReference:
        return RoleReference(self.role, _slots(self.kind)[0])

    @property
    def canary(self) -> RoleReference:
        return RoleReference(self.role, _slots(self.kind)[1])

    def models(self, role: Role) -> tuple[str | None, str | None]:
        """The models that are pinned as control and as canary now; None where the slot is empty."""
        control, canary = _slots(self.kind)
        return role.model(control), role.model(canary)


def role_pair(control: str, canary: str) -> RolePair | None:
    """The pair that a rule file names; None where it names two models. Raises BadDocument with what to write."""
    one, other = role_reference(control), role_reference(canary)
    if one is None and other is None:
        return None
    if one is None or other is None:
        role = (one or other or RoleReference("", Slot.PROD)).role
        raise BadDocument(f"one of control and canary is a model, the other a role's slot; {_ALLOWED.format(role)}")
    if one.role != other.role:
        raise BadDocument(
            f"control and canary are slots of two roles, {one.role} and {other.role}; {_ALLOWED.format(one.role)}"
        )
    kind = PAIRS.get((one.slot, other.slot))
    if kind is None:
        raise BadDocument(
            f"{one.slot} against {other.slot} is no pair of slots to compare; {_ALLOWED.format(one.role)}"
        )
    return RolePair(one.role, kind)


def _slots(kind: PairKind) -> tuple[Slot, Slot]:
    return next(slots for slots, found in PAIRS.items() if found is kind)
