"""``killswitch role rollback``: prod becomes a model that was prod before. It needs no gate and no role file."""

from __future__ import annotations

from typing import Annotated

import typer

from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import ReasonOption, print_problems
from killswitch.cli.role.at_hand import (
    RoleArgument,
    config_if_readable,
    dates_if_readable,
    finish,
    pages_of,
    registry_of,
)
from killswitch.cli.terminal import one_line
from killswitch.errors import KillswitchError
from killswitch.registry.evidence import RoleEvidence
from killswitch.roles.role import Role
from killswitch.trips.armed_pairs import stored_pair


@by_hand(rules=False, roles=True)
def command(
    hand: Hand,
    role: RoleArgument,
    reason: ReasonOption,
    to: Annotated[
        str | None, typer.Option("--to", help="A model that was prod before.", show_default="the previous one")
    ] = None,
    even_if_retired: Annotated[
        bool, typer.Option("--even-if-retired", help="Also to a model that is said to be retired.")
    ] = False,
) -> None:
    """Give all users the previous model again, within seconds, and page.

    It works without role files, without a controller, and without the gate. The model that is left is in no slot
    afterwards, so that a second rollback cannot bring it back; --to names it where it was right after all.
    """
    config = config_if_readable(hand.settings, role)

    left: list[str] = []

    def agree(before: Role | None, after: Role, _evidence: RoleEvidence | None) -> None:
        assert before is not None
        left[:] = [] if before.prod is None else [before.prod]
        hand.confirm(one_line(f"{role}: all users will get {after.prod} (now {before.prod}), because: {reason}"))

    made = registry_of(hand.store).rollback(
        role,
        reason=reason,
        settings=pages_of(hand.settings, config),
        to=to,
        dates=dates_if_readable(config),
        even_if_retired=even_if_retired,
        agree=agree,
    )
    finish(hand, made, f"{role}: rolled back, prod is {made.role.prod}")
    for model in left:
        _name_flags(hand, role, model)


def _name_flags(hand: Hand, role: str, left: str) -> None:
    """Name armed rollouts of the role that still give users the model that was left. The rollback is made already."""
    try:
        flags, _ = hand.switch.everything()
        armed = [stored.flag for stored in flags.values() if stored.flag is not None and stored.flag.armed]
        for flag in armed:
            pair = stored_pair(hand.store, flag.rollout, flag.generation)
            if flag.canary == left and flag.canary_percent > 0.0 and pair is not None and pair.role == role:
                share = f"{flag.canary_percent:g}%"
                still = f"{flag.rollout} is armed: routers without role_route still give {share} {left}"
                fix = f'`killswitch trip {flag.rollout} --reason "rolled back"`'
                print_problems([one_line(f"{still}; stop it: {fix}")], style="yellow")
    except KillswitchError as error:
        print_problems([one_line(f"whether a rollout still gives {left} to users is not known: {error}")])
