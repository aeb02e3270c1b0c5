"""The promotion that a completed rollout of prod and candidate carries: one transaction makes both true."""

from __future__ import annotations

from collections.abc import Iterable

from killswitch.errors import Refused
from killswitch.flags.flag import Flag
from killswitch.model import PageSettings
from killswitch.registry.arming import pins
from killswitch.registry.evidence import evidence_of
from killswitch.registry.promotion import promotion
from killswitch.registry.role_health import retirements_of
from killswitch.registry.role_transaction import RoleTransaction
from killswitch.registry.stored_roles import StoredRoles
from killswitch.roles.armed_pair import ArmedPair
from killswitch.roles.config import RoleConfig
from killswitch.roles.retirement import RetirementDate
from killswitch.stores import Store
from killswitch.wording import plain


def completing(
    store: Store,
    flag: Flag,
    pair: ArmedPair,
    *,
    reason: str,
    by: str,
    config: RoleConfig | None,
    now: float,
    settings: PageSettings,
    dates: Iterable[RetirementDate] = (),
) -> RoleTransaction:
    """The promotion of the role whose prod and candidate ``flag`` compares. ``now``: Unix seconds.

    A plan may take longer than the evidence of a promotion stays fresh. So a run counts that was fresh as the
    generation was armed, if nothing else has used it up since: a failed run of these models, or a rollback.

    Raises Refused where the role pins other models by now, its candidate is retired (``dates``: of files), or nothing
    allows its promotion; else as the store does.
    """
    stored = StoredRoles(store).required(pair.role)
    role = stored.role
    assert role is not None
    if (role.prod, role.candidate) != (flag.control, flag.rollout_canary):
        raise Refused(
            f"role {role.name} is not promoted: {flag.rollout} compares {plain(flag.control, 80)} as prod with "
            f"{plain(flag.rollout_canary, 80)} as candidate, and the role has changed since: {pins(role)}"
        )
    retired = retirements_of(store, role.name, dates=dates).retired(flag.rollout_canary, now)
    if retired is not None:
        raise Refused(f"{retired}; role {role.name} must not rest on it: name another candidate")
    armed_at = None if pair.gate_run is None else pair.at
    evidence = evidence_of(store, role, config=config, now=now, armed_at=armed_at)
    return promotion(stored, evidence, reason=reason, by=by, now=now, settings=settings)
