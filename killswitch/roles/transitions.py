"""What a role may become: the whole law, without I/O and without a clock.

============ ============================================= =======================================================
change       allowed                                       afterwards
============ ============================================= =======================================================
create       while no model was ever prod                  prod is what the person names; the rest stays
candidate    a model that is not prod, or none at all      candidate is it
promote      with a candidate                              prod is the candidate, previous what was prod, no candidate
roll back    to ``previous``, or to a model that was prod  prod is it, previous is empty
import       see `import_kind`                             as the file says
============ ============================================= =======================================================

A rollback empties ``previous``, so that a second hasty one cannot bring the bad model back. The history remembers the
model that was left, and ``to`` names it where a person wants it after all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from killswitch.errors import IllegalTransition
from killswitch.roles.role import MAX_BY, ProdOrigin, Role, RoleChange, check_model, check_role_name
from killswitch.wording import plain


def create(role: Role | None, *, name: str, prod: str, now: float, by: str) -> Role:
    """A person names the model that serves users already. Raises IllegalTransition where one is prod."""
    check_model(prod)
    if role is not None and role.prod == prod:
        raise IllegalTransition(f"role {name} has {plain(prod, 80)} as prod already; there is nothing to do")
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


def promote(role: Role, *, now: float, by: str, gate_run: str | None = None, waiver: str | None = None) -> Role:
    """Candidate -> prod, prod -> previous. Whether the candidate has earned it is not asked here.

    ``gate_run`` or ``waiver``: what it rests on, as in `ProdOrigin`.
    """
    if role.candidate is None:
        raise IllegalTransition(
            f"role {role.name} has no candidate; name one: `killswitch role set-candidate {role.name} MODEL`"
        )
    promoted = _changed(
        role, RoleChange.PROMOTED, now=now, by=by, prod=role.candidate, candidate=None, previous=role.prod
    )
    return replace(promoted, origin=ProdOrigin(now, promoted.updated_by, RoleChange.PROMOTED, gate_run, waiver))


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


class ImportKind(StrEnum):
    """What a file does to a role."""

    SAME = "same"
    SLOTS = "slots"  # prod stays as it is, or is named for the first time
    PROMOTION = "promotion"  # it needs the evidence of one
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class RoleSlots:
    """The three slots that a file says."""

    prod: str | None
    candidate: str | None
    previous: str | None


def import_kind(role: Role | None, name: str, slots: RoleSlots, *, was_prod: Callable[[str], bool]) -> ImportKind:
    """What ``slots`` of a file do to a role. Raises IllegalTransition, with the fix in the file, for what may not be.

    A prod that was prod before is a rollback, where the file does not also say that the present prod is ``previous``.
    """
    for model in (slots.prod, slots.candidate, slots.previous):
        if model is not None:
            check_model(model)
    check_role_name(name)
    _check_slots(name, slots)
    if role is None:
        return ImportKind.SLOTS
    if (role.prod, role.candidate, role.previous) == (slots.prod, slots.candidate, slots.previous):
        return ImportKind.SAME
    if role.prod is not None and slots.prod is None:
        raise IllegalTransition(
            f"role {name}: prod is null, and users have {plain(role.prod, 80)}; a role keeps a prod: write its model"
        )
    if slots.previous is not None and slots.previous not in (role.previous, role.prod) and not was_prod(slots.previous):
        raise IllegalTransition(
            f"role {name}: previous {plain(slots.previous, 80)} was never its prod, so it is no model to roll back to;"
            " write a model of its history, or null"
        )
    if role.prod is None or slots.prod == role.prod:
        return ImportKind.SLOTS
    assert slots.prod is not None
    if slots.previous != role.prod and (slots.prod == role.previous or was_prod(slots.prod)):
        return ImportKind.ROLLBACK
    if slots.previous != role.prod:
        raise IllegalTransition(
            f"role {name}: prod becomes {plain(slots.prod, 80)}, which is a promotion, so previous must be the model"
            f" that users have now; write previous {plain(role.prod, 80)!r}"
        )
    return ImportKind.PROMOTION


def imported(
    role: Role | None,
    name: str,
    slots: RoleSlots,
    kind: ImportKind,
    *,
    now: float,
    by: str,
    gate_run: str | None = None,
    waiver: str | None = None,
) -> Role:
    """The role as the file says. ``kind``: of `import_kind`. A file's promotion or rollback is one in the history."""
    change = {ImportKind.PROMOTION: RoleChange.PROMOTED, ImportKind.ROLLBACK: RoleChange.ROLLED_BACK}.get(
        kind, RoleChange.IMPORTED
    )
    new = _changed(
        role or _absent(name), change,
        now=now, by=by, prod=slots.prod, candidate=slots.candidate, previous=slots.previous,
    )  # fmt: skip
    if change is not RoleChange.PROMOTED:
        return new
    return replace(new, origin=ProdOrigin(new.updated_at, new.updated_by, change, gate_run, waiver))


def _check_slots(name: str, slots: RoleSlots) -> None:
    if slots.prod is None and slots.candidate is None:
        raise IllegalTransition(f"role {name} names no model; write its prod, or its candidate")
    if slots.prod is None and slots.previous is not None:
        raise IllegalTransition(f"role {name} has a previous and no prod; write its prod")
    if slots.prod is not None and slots.prod in (slots.candidate, slots.previous):
        raise IllegalTransition(f"role {name} has {plain(slots.prod, 80)} in two slots; write null in one of them")


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
    by = by[:MAX_BY]
    return replace(
        before,
        prod=prod,
        candidate=candidate,
        previous=previous,
        number=before.number + 1,
        change=change,
        updated_at=now,
        updated_by=by,
        origin=before.origin if prod == before.prod else ProdOrigin(now, by, change),
    )
