"""``killswitch role watch``: arm the rollouts that compare the new prod of a role with the model before."""

from __future__ import annotations

import typer

from killswitch.cli.after_promotion import arm_watches
from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import EXIT_UNWANTED, fail
from killswitch.cli.role.at_hand import RoleArgument, as_json, registry_of
from killswitch.cli.role_settings import role_config
from killswitch.cli.terminal import one_line


@by_hand(rules=True, roles=True)
def command(hand: Hand, role: RoleArgument) -> None:
    """Arm the rollouts that watch a role's prod, as `role promote` and `complete` do by themselves.

    They are those that `watch` in the role's file names. An earlier life of them ends; a pinned one is left alone.
    While one is armed, its trip rolls the role back.
    """
    found = registry_of(hand.store).required(role).role
    assert found is not None
    config = role_config(hand.settings, role)
    if config is None or config.watch is None:
        fail(f"the role file of {role} names no rollout to watch it; write `watch: {{rollout: NAME}}` into it")
    if found.previous is None:
        fail(f"role {role} has no previous model to compare {found.prod} with; there is one after a promotion")
    share = f"{config.watch.percent:g}% of users keep {found.prod}, the others get {found.previous} again"
    hand.confirm(one_line(f"{role}: {config.watch.rollout} is armed: {share}."))
    if not arm_watches(hand, found):
        raise typer.Exit(EXIT_UNWANTED)
    hand.answer(as_json(found), f"{role}: {found.prod} is watched against {found.previous}")
