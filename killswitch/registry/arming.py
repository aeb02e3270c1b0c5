"""What a rollout of two slots of a role is armed with: the models that are pinned now, and what its candidate rests on.

The role may be promoted or get another candidate at any moment. So a transaction that arms compares the role's revision
and that of the evidence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from killswitch.errors import Refused
from killswitch.flags.flag import Flag
from killswitch.registry import gate_runs
from killswitch.registry.evidence import RoleEvidence, evidence_of
from killswitch.registry.stored_roles import StoredRoles
from killswitch.roles.armed_pair import ArmedPair
from killswitch.roles.config import RoleConfig
from killswitch.roles.pairs import PairKind, RolePair
from killswitch.roles.references import RoleReference
from killswitch.roles.role import Role, Slot
from killswitch.stores import Compare, Store, keys
from killswitch.wording import plain


@dataclass(frozen=True, slots=True)
class Armable:
    """``pair``: what is stored with the generation (its number is the caller's). ``compares``: what it rests on."""

    pair: ArmedPair
    compares: tuple[Compare, ...]


def armable(
    store: Store,
    slots: RolePair,
    *,
    rollout: str,
    users: bool,
    config: RoleConfig | None,
    now: float,
    by: str,
    before: ArmedPair | None = None,
) -> Armable:
    """The models that the slots pin now, with the evidence of a candidate. ``users``: users will get it.

    ``before``: of a generation that goes on. Then its own evidence counts while it holds, a run also longer than it
    stays fresh, and Refused is raised where the role pins other models by now. ``config`` as in `evidence_of`;
    ``now``: Unix seconds.

    Raises Refused where a slot is empty, and where users would get a candidate that nothing allows; BadDocument for a
    damaged role; else as the store does.
    """
    stored = StoredRoles(store).required(slots.role)
    role = stored.role
    assert role is not None
    control, canary = _model(role, slots.control), _model(role, slots.canary)
    pair = ArmedPair(rollout, 0, role.name, slots.kind, control, canary, role.number, now, by)
    compares: tuple[Compare, ...] = (Compare(keys.role(role.name), stored.revision),)
    armed_at = None
    if before is not None:
        if (before.control, before.canary) != (control, canary):
            raise Refused(
                f"{rollout} compares {plain(before.control, 80)} and {plain(before.canary, 80)}, but role {role.name} "
                f"has changed since: {pins(role)}; use `killswitch end {rollout}`, then arm it again"
            )
        newest = gate_runs.newest_revision(store, role.name)  # before what it rests on is read
        if before.without_evidence(now) is None and not _has_changed(store, before, role):
            return Armable(before, (*compares, Compare(keys.gate_newest(role.name), newest)))
        armed_at = None if before.gate_run is None else before.at
        pair = replace(before, gate_run=None, waiver=None, waiver_ends=None)
    if slots.kind is not PairKind.UPGRADE:
        return Armable(pair, compares)
    try:
        evidence = evidence_of(store, role, config=config, now=now, armed_at=armed_at)
    except Refused:
        if users:
            raise
        return Armable(pair, compares)
    return Armable(resting_on(pair, evidence), (*compares, *evidence.compares))


def _has_changed(store: Store, before: ArmedPair, role: Role) -> bool:
    """Whether what the generation rests on may be used up: the role has changed since, or there is a newer run.

    These two are all that is read at each tick of a plan; the whole law is asked where one of them says so.
    """
    if not before.is_candidate:
        return False
    if before.number != role.number:
        return True
    return before.gate_run is not None and gate_runs.newest_name(store, role.name) != before.gate_run


def resting_on(pair: ArmedPair, evidence: RoleEvidence) -> ArmedPair:
    """The pair with what allows its candidate to have users."""
    waiver = evidence.waiver
    return replace(
        pair,
        gate_run=None if evidence.run is None else evidence.run.run,
        waiver=None if waiver is None else f"{waiver.owner}: {waiver.reason}",
        waiver_ends=None if waiver is None else waiver.expires_at,
    )


def pins(role: Role) -> str:
    """``prod model-a, candidate model-b``: the slots that are not empty."""
    filled = ((slot, role.model(slot)) for slot in Slot)
    return ", ".join(f"{slot} {plain(model, 80)}" for slot, model in filled if model is not None) or "no model at all"


def _model(role: Role, reference: RoleReference) -> str:
    model = role.model(reference.slot)
    if model is not None:
        return model
    ways = {
        Slot.PROD: f"name the model that serves users: `killswitch role create {role.name} --prod MODEL`",
        Slot.CANDIDATE: f"name one: `killswitch role set-candidate {role.name} MODEL`",
        Slot.PREVIOUS: "there is one after a promotion, until a rollback",
    }
    raise Refused(f"{reference} is empty; {ways[reference.slot]}")


def as_armed(stored: ArmedPair | None, slots: RolePair | None, flag: Flag) -> ArmedPair | None:
    """What the generation compares: as it was armed, or by a rule file that names slots only since; None of two models.

    Of the latter nothing is known but the models, so it rests on nothing.
    """
    if stored is not None or slots is None:
        return stored
    control, canary = flag.control, flag.rollout_canary
    return ArmedPair(flag.rollout, flag.generation, slots.role, slots.kind, control, canary, 0, flag.armed_at, "")
