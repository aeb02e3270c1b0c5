"""What a role may become: the whole law, without I/O and without a clock.

============ ============================================= =======================================================
change       allowed                                       afterwards
============ ============================================= =======================================================
create       while no model was ever prod                  prod is what the person names; the rest stays
candidate    a model that is not prod, or none at all      candidate is it
promote      with a candidate                              prod is the candidate, previous what was prod, no candidate
roll back    to ``previous``, or to a model that was prod  prod is it, previous is empty
import       previous was prod once; prod is not emptied   as the file says
============ ============================================= =======================================================

A rollback empties ``previous``, so that a second hasty one cannot bring the bad model back. The history remembers the
model that was left, and ``to`` names it where a person wants it after all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from killswitch.errors import IllegalTransition
from killswitch.roles.role import MAX_BY, Role, RoleChange, check_model, check_role_name
from killswitch.wording import plain


def create(role: Role | None, *, name: str, prod: str, now: float, by: str) -> Role:
    """A person names the model that serves users already. Raises IllegalTransition where one is prod."""
    check_model(prod)
    if role is not None and role.prod is not None:
        raise IllegalTransition(
            f"role {name} has {plain(role.prod, 80)} as prod already; name {plain(prod, 80)} as its candidate: "
            f"`killswitch role set-candidate {name} {plain(prod, 80)}`, then run its gate"
        )
    candidate = None if role is None or role.candidate == prod else role.candidate
    before = role or _absent(name)
    return _changed(before, RoleChange.CREATED, now=now, by=by, prod=prod, candidate=candidate, previous=None)


def set_candidate(role: Role | None, *, name: str, model: str | None, now: float, by: str) -> Role:
    """The role with another candidate, None for no candidate; a role that is absent is created without a prod."""
    if model is not None:
        check_model(model)
    before = role or _absent(name)
    if before.candidate == model:
        said = "has no candidate" if model is None else f"has {plain(model, 80)} as its candidate"
        raise IllegalTransition(f"role {name} {said} already; nothing was changed")
    if model is not None and before.prod == model:
        raise IllegalTransition(f"{plain(model, 80)} is prod of role {name} already; name another model")
    return _changed(
        before, RoleChange.CANDIDATE_SET, now=now, by=by, prod=before.prod, candidate=model, previous=before.previous
    )


def promote(role: Role, *, now: float, by: str) -> Role:
    """Candidate -> prod, prod -> previous. Whether the candidate has earned it is not asked here."""
    if role.candidate is None:
        raise IllegalTransition(
            f"role {role.name} has no candidate; name one: `killswitch role set-candidate {role.name} MODEL`"
        )
    return _changed(role, RoleChange.PROMOTED, now=now, by=by, prod=role.candidate, candidate=None, previous=role.prod)


def roll_back(role: Role, *, to: str | None, was_prod: Callable[[str], bool], now: float, by: str) -> Role:
    """``previous`` -> prod, or ``to``: a model that ``was_prod`` once by the history, which is asked for no other."""
    target = role.previous if to is None else to
    if target is None:
        raise IllegalTransition(
            f"role {role.name} has no previous model to roll back to; `killswitch role show {role.name}` lists the"
            f" models that were prod: `killswitch role rollback {role.name} --to MODEL`"
        )
    if target == role.prod:
        raise IllegalTransition(f"{plain(target, 80)} is prod of role {role.name} already; nothing was changed")
    if target != role.previous and not was_prod(target):
        raise IllegalTransition(
            f"{plain(target, 80)} was never prod of role {role.name}, so this is no rollback; `killswitch role show"
            f" {role.name} --all` lists the models that were. A new one goes through the gate, as the candidate"
        )
    candidate = None if role.candidate == target else role.candidate
    return _changed(role, RoleChange.ROLLED_BACK, now=now, by=by, prod=target, candidate=candidate, previous=None)


def _absent(name: str) -> Role:
    return Role(check_role_name(name), None, None, None, 0, RoleChange.CREATED, 0.0, "")


def _changed(
    before: Role,
    change: RoleChange,
    *,
    now: float,
    by: str,
    prod: str | None,
    candidate: str | None,
    previous: str | None,
) -> Role:
    return replace(
        before,
        prod=prod,
        candidate=candidate,
        previous=previous,
        number=before.number + 1,
        change=change,
        updated_at=now,
        updated_by=by[:MAX_BY],
    )
