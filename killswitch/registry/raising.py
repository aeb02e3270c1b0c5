"""What a raise of an armed rollout rests on, and a re-arm: the slots of a role, with their evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from killswitch.flags.flag import Flag
from killswitch.model import Rollout
from killswitch.registry.arming import Armable, armable, as_armed
from killswitch.roles.armed_pair import ArmedPair, gives_more, gives_users
from killswitch.roles.config import RoleConfig
from killswitch.roles.pairs import RolePair, role_pair
from killswitch.stores import Store

# by the name of a rollout or role, None without such a file; both raise BadRules
RolloutFile = Callable[[str], Rollout | None]
RoleFile = Callable[[str], RoleConfig | None]
# what is stored of a flag's generation, None of a rollout of two models
ArmedWith = Callable[[Flag], ArmedPair | None]


def slots_of(rollout: Rollout | None) -> RolePair | None:
    """The slots that a rule file compares; None of two models and without a file."""
    return None if rollout is None else role_pair(rollout.control, rollout.canary)


def armed_pair(flag: Flag, armed_with: ArmedWith, file: RolloutFile) -> ArmedPair | None:
    """What the generation was armed with. A rule file that names slots since then counts as well."""
    found = armed_with(flag)
    slots = slots_of(file(flag.rollout)) if found is None else None
    return as_armed(found, slots, flag)


def pair_to_raise(
    store: Store,
    flag: Flag | None,
    stage: str,
    percent: float,
    *,
    armed_with: ArmedWith,
    file: RolloutFile,
    role: RoleFile,
    now: float,
    by: str,
    again: bool = False,
) -> Armable | None:
    """What a raise of an armed rollout rests on, or its next generation (``again``); None where nothing is asked.

    Nothing is asked of a rollout of two models, and where no more users get the canary than now. ``percent``: 0 to
    100; ``now``: Unix seconds. Raises as `killswitch.registry.arming.armable`.
    """
    if flag is None:
        return None
    before = (flag.stage, flag.canary_percent if flag.armed else 0.0)
    if not again and not gives_more(before, (stage, percent)):
        return None
    armed = armed_pair(flag, armed_with, file)
    if armed is None:
        return None
    # another generation is another decision: a run that is too old by now, or a waiver that has ended, allows none
    known = replace(armed, gate_run=None, waiver=None, waiver_ends=None) if again else armed
    return armable(
        store,
        RolePair(armed.role, armed.kind),
        rollout=flag.rollout,
        users=gives_users(stage, percent),
        config=role(armed.role),
        now=now,
        by=by,
        before=known,
    )
