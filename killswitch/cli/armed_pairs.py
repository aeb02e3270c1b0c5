"""Rollouts of two slots of a role, at the doors where a person gives users a canary."""

from __future__ import annotations

import time
from dataclasses import replace

from killswitch.cli.by_hand import Hand
from killswitch.cli.invocation import person, rollout_of
from killswitch.cli.role_settings import role_config
from killswitch.flags.flag import Flag
from killswitch.model import Rollout
from killswitch.registry.arming import Armable, armable, as_armed
from killswitch.roles.armed_pair import ArmedPair, gives_more, gives_users
from killswitch.roles.pairs import RolePair, role_pair
from killswitch.trips.armed_pairs import stored_pair


def slots_of(rollout: Rollout | None) -> RolePair | None:
    """The slots that a rule file compares; None of two models and without a file."""
    return None if rollout is None else role_pair(rollout.control, rollout.canary)


def pair_to_arm(hand: Hand, rollout: str, slots: RolePair, stage: str, percent: float) -> Armable:
    """What the rollout would be armed with now. Raises Refused where its users would get a candidate too early."""
    config = role_config(hand.settings, slots.role)
    users = gives_users(stage, percent)
    return armable(hand.store, slots, rollout=rollout, users=users, config=config, now=time.time(), by=person())


def pair_to_raise(hand: Hand, flag: Flag | None, stage: str, percent: float, *, again: bool = False) -> Armable | None:
    """What a raise of an armed rollout rests on, or its next generation (``again``); None where nothing is asked.

    Nothing is asked of a rollout of two models, and where no more users get the canary than now.
    """
    if flag is None:
        return None
    before = (flag.stage, flag.canary_percent if flag.armed else 0.0)
    if not again and not gives_more(before, (stage, percent)):
        return None
    armed = armed_pair(hand, flag)
    if armed is None:
        return None
    slots = RolePair(armed.role, armed.kind)
    config = role_config(hand.settings, armed.role)
    # another generation is another decision: a run that is too old by now, or a waiver that has ended, allows none
    known = replace(armed, gate_run=None, waiver=None, waiver_ends=None) if again else armed
    return armable(
        hand.store,
        slots,
        rollout=flag.rollout,
        users=gives_users(stage, percent),
        config=config,
        now=time.time(),
        by=person(),
        before=known,
    )


def armed_pair(hand: Hand, flag: Flag) -> ArmedPair | None:
    """What the generation was armed with. A rule file that names slots since then counts as well."""
    found = stored_pair(hand.store, flag.rollout, flag.generation)
    slots = slots_of(rollout_of(hand.settings, flag.rollout, required=False)) if found is None else None
    return as_armed(found, slots, flag)
