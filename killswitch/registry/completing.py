"""The promotion that a completed rollout of prod and candidate carries: one transaction makes both true."""

from __future__ import annotations

from collections.abc import Iterable

from killswitch.errors import Refused
from killswitch.flags.flag import Flag
from killswitch.model import PageSettings
from killswitch.registry import gate_runs
from killswitch.registry.arming import pins
from killswitch.registry.evidence import RoleEvidence, evidence_of
from killswitch.registry.promotion import promotion
from killswitch.registry.role_health import retirements_of
from killswitch.registry.role_transaction import RoleTransaction
from killswitch.registry.stored_roles import StoredRoles
from killswitch.roles.armed_pair import ArmedPair
from killswitch.roles.config import RoleConfig
from killswitch.roles.retirement import RetirementDate
from killswitch.stores import Compare, Store, keys
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

    A plan may take longer than the evidence of a promotion stays fresh. So the run that the generation was armed with
    counts as well, while no newer run of these models has failed.

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
    try:
        evidence = evidence_of(store, role, config=config, now=now)
    except Refused:
        armed_on = _armed_on(store, pair)
        if armed_on is None:
            raise
        evidence = armed_on
    return promotion(stored, evidence, reason=reason, by=by, now=now, settings=settings)


def _armed_on(store: Store, pair: ArmedPair) -> RoleEvidence | None:
    """The run that the generation was armed with; None without one, and where a newer run of its models failed."""
    if pair.gate_run is None:
        return None
    run, newest = gate_runs.run(store, pair.role, pair.gate_run), gate_runs.newest(store, pair.role)
    if run is None or newest is None or not run.record.allows_promotion:
        return None
    same = (newest.record.prod, newest.record.candidate) == (pair.control, pair.canary)
    if same and not newest.record.allows_promotion:
        return None
    compares = (
        Compare(keys.gate_run(pair.role, pair.gate_run), run.revision),
        Compare(keys.gate_newest(pair.role), gate_runs.newest_revision(store, pair.role)),
    )
    return RoleEvidence(run.record, None, compares, f"gate run {pair.gate_run}, with which the rollout was armed")
