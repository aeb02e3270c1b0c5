"""Reads what a status shows of roles: one list of roles, and where there are any one of what armings rest on."""

from __future__ import annotations

from killswitch.errors import BadDocument
from killswitch.registry.stored_roles import StoredRoles
from killswitch.roles.armed_pair import from_document
from killswitch.roles.seen import RolesSeen, rows_of
from killswitch.stores import Store, keys


def roles_seen(store: Store) -> RolesSeen:
    """Raises what the store raises."""
    good, damaged = StoredRoles(store).everything()
    if not good and not damaged:
        return RolesSeen()
    rests_on: dict[tuple[str, int], str] = {}
    for item in store.list(keys.GATE_EVIDENCE).items:
        rollout, _, number = item.key.removeprefix(keys.GATE_EVIDENCE).partition("/")
        if not number.isdecimal() or len(number) > 12:
            continue
        try:
            rests_on[rollout, int(number)] = from_document(item.value, rollout=rollout, generation=int(number)).sentence
        except BadDocument as error:
            rests_on[rollout, int(number)] = str(error)
    known = {name: one.role for name, one in good.items() if one.role is not None}
    rows, more = rows_of(known, damaged)
    return RolesSeen(rows, more, rests_on)
