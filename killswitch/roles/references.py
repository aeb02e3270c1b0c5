"""``role:support.prod``: a slot of a role, where a rule file or a command would name a model."""

from __future__ import annotations

from dataclasses import dataclass

from killswitch.errors import BadDocument
from killswitch.roles.role import Slot, check_role_name
from killswitch.wording import plain

PREFIX = "role:"


@dataclass(frozen=True, slots=True)
class RoleReference:
    """A slot of a role."""

    role: str
    slot: Slot

    def __str__(self) -> str:
        return f"{PREFIX}{self.role}.{self.slot}"


def role_reference(text: str) -> RoleReference | None:
    """The slot that ``text`` names, None where it names a model. Raises BadDocument for half a reference."""
    if not text.startswith(PREFIX):
        return None
    role, dot, slot = text.removeprefix(PREFIX).rpartition(".")
    if not dot or slot not in set(Slot):
        raise BadDocument(f"{plain(text, 80)!r} names no slot of a role; write role:<role>.{'|'.join(Slot)}")
    return RoleReference(check_role_name(role), Slot(slot))
