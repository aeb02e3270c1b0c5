"""Rollouts of two slots of a role, at the doors where a person gives users a canary."""

from __future__ import annotations

import time
from functools import partial

from killswitch.cli.by_hand import Hand
from killswitch.cli.invocation import person, rollout_of
from killswitch.cli.role_settings import role_config
from killswitch.flags.flag import Flag
from killswitch.registry import raising
from killswitch.registry.arming import Armable, armable
from killswitch.roles.armed_pair import ArmedPair, gives_users
from killswitch.roles.pairs import RolePair
from killswitch.trips.armed_pairs import pair_of


def pair_to_arm(hand: Hand, rollout: str, slots: RolePair, stage: str, percent: float) -> Armable:
    """What the rollout would be armed with now. Raises Refused where its users would get a candidate too early."""
    config = role_config(hand.settings, slots.role)
    users = gives_users(stage, percent)
    return armable(hand.store, slots, rollout=rollout, users=users, config=config, now=time.time(), by=person())


def pair_to_raise(hand: Hand, flag: Flag | None, stage: str, percent: float, *, again: bool = False) -> Armable | None:
    """As `killswitch.registry.raising.pair_to_raise`, by the person at this terminal."""
    return raising.pair_to_raise(
        hand.store,
        flag,
        stage,
        percent,
        armed_with=partial(pair_of, hand.store),
        file=partial(rollout_of, hand.settings, required=False),
        role=partial(role_config, hand.settings),
        now=time.time(),
        by=person(),
        again=again,
    )


def armed_pair(hand: Hand, flag: Flag) -> ArmedPair | None:
    """What the generation was armed with. A rule file that names slots since then counts as well."""
    return raising.armed_pair(flag, partial(pair_of, hand.store), partial(rollout_of, hand.settings, required=False))
