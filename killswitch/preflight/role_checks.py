"""Checks of roles: the registry, the role files, evidence of candidates, what a rollback needs, and watches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from killswitch.errors import KillswitchError, Refused
from killswitch.flags.flag import Flag
from killswitch.model import Rollout
from killswitch.preflight.checks import Check, Status
from killswitch.registry.evidence import evidence_of
from killswitch.registry.role_health import retirements_of
from killswitch.registry.stored_roles import StoredRoles
from killswitch.roles.config import RoleConfig
from killswitch.roles.pairs import PairKind, role_pair
from killswitch.roles.role import Role, RoleChange
from killswitch.stores import Store
from killswitch.timestamps import DAY

RECENT = 3 * DAY  # seconds after a promotion in which its watch should be armed


def examine_roles(
    store: Store,
    rollouts: Sequence[Rollout],
    configs: Mapping[str, RoleConfig],
    flags: Mapping[str, Flag],
    *,
    now: float,
) -> Iterator[Check]:
    """Nothing is said where there is neither a role nor a file that names one. ``now``: Unix seconds."""
    pairs = {one.name: pair for one in rollouts if (pair := role_pair(one.control, one.canary)) is not None}
    try:
        good, damaged = StoredRoles(store).everything()
    except KillswitchError as error:
        if pairs or configs:
            yield Check("roles", Status.WRONG, f"the registry cannot be read: {error}", "check the flag store")
        return
    for name, problem in damaged.items():
        yield Check(f"role:{name}", Status.WRONG, "its document is damaged", problem)
    known = {name: stored.role for name, stored in good.items() if stored.role is not None}
    for name in sorted({pair.role for pair in pairs.values()} - known.keys() - damaged.keys()):
        users = ", ".join(rollout for rollout, pair in pairs.items() if pair.role == name)
        fix = f"create it: `killswitch role create {name} --prod MODEL`"
        yield Check(f"role:{name}", Status.WRONG, f"the rule files of {users} name it, and it does not exist", fix)
    for name in sorted(configs.keys() - known.keys() - damaged.keys()):
        fix = f"`killswitch role create {name} --prod MODEL`, or remove its file"
        yield Check(f"role:{name}", Status.WARNING, "it has a role file and is not in the registry", fix)
    for name, role in sorted(known.items()):
        yield from _role(store, role, configs.get(name), now)
        yield from _watch(role, configs.get(name), rollouts, flags, now)


def _role(store: Store, role: Role, config: RoleConfig | None, now: float) -> Iterator[Check]:
    about = f"role:{role.name}"
    if role.prod is None:
        fix = f"`killswitch role create {role.name} --prod MODEL`"
        yield Check(about, Status.WRONG, "it has no prod: services that ask for it get an error", fix)
    elif role.candidate is None:
        yield Check(about, Status.OK, f"prod is {role.prod}, and there is no candidate")
    else:
        yield _evidence(store, role, config, now)
    if config is None:
        fix = "write its file into the folder of role files (--roles), or name that folder"
        yield Check(about, Status.NOTE, "it has no role file, so its gate cannot run and nothing probes it", fix)
    elif not config.probe:
        yield Check(about, Status.NOTE, "its models are not probed (`probe: false`)", "remove `probe: false`")
    try:
        known = retirements_of(store, role.name)
    except KillswitchError as error:
        yield Check(about, Status.WARNING, f"whether its models are retired is not known: {error}")
        return
    for slot, model in (("prod", role.prod), ("previous", role.previous)):
        why = None if model is None else known.retired(model, now)
        if why is not None:
            then = "a rollback would fail" if slot == "previous" else "services get errors"
            yield Check(about, Status.WRONG, f"{slot}: {why}: {then}", "pin another model through the gate")
    if role.previous is None and role.prod is not None:
        yield Check(about, Status.NOTE, "it has no previous model, so a rollback needs --to")


def _evidence(store: Store, role: Role, config: RoleConfig | None, now: float) -> Check:
    about = f"role:{role.name}"
    try:
        rests_on = evidence_of(store, role, config=config, now=now).sentence
    except Refused as error:
        return Check(about, Status.NOTE, f"its candidate {role.candidate} may have no users yet: {error}")
    except KillswitchError as error:
        return Check(about, Status.WARNING, f"what its candidate rests on is not known: {error}")
    return Check(about, Status.OK, f"its candidate rests on {rests_on}")


def _watch(
    role: Role, config: RoleConfig | None, rollouts: Sequence[Rollout], flags: Mapping[str, Flag], now: float
) -> Iterator[Check]:
    watch = None if config is None else config.watch
    if watch is None:
        return
    about = f"role:{role.name}"
    rules = next((one for one in rollouts if one.name == watch.rollout), None)
    pair = None if rules is None else role_pair(rules.control, rules.canary)
    if pair is None or (pair.role, pair.kind) != (role.name, PairKind.WATCH):
        found = (
            f"its file names {watch.rollout} as its watch, and no rule file compares previous and prod under that name"
        )
        fix = (
            f"write `control: role:{role.name}.previous` and `canary: role:{role.name}.prod` into {watch.rollout}.yaml"
        )
        yield Check(about, Status.WRONG, found, fix)
        return
    promoted = role.change is RoleChange.PROMOTED and now - role.updated_at < RECENT
    flag = flags.get(watch.rollout)
    if promoted and (flag is None or not flag.armed or flag.rollout_canary != role.prod):
        fix = f"`killswitch role watch {role.name}`"
        yield Check(about, Status.WARNING, f"it was promoted, and {watch.rollout} does not watch its new prod", fix)
