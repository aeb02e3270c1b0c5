"""``killswitch role set-candidate``: name the model that may come next."""

from __future__ import annotations

from typing import Annotated

import typer

from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import fail
from killswitch.cli.role.at_hand import (
    FloatingOption,
    RoleArgument,
    RoleReasonOption,
    check_pinned,
    config_if_readable,
    finish,
    registry_of,
)
from killswitch.cli.role_settings import dates_of
from killswitch.registry.evidence import RoleEvidence
from killswitch.roles.role import Role


@by_hand(rules=False, roles=True)
def command(
    hand: Hand,
    role: RoleArgument,
    model: Annotated[str | None, typer.Argument(help="The model's id.", show_default=False)] = None,
    clear: Annotated[bool, typer.Option("--clear", help="No candidate any more.")] = False,
    reason: RoleReasonOption = "a new candidate",
    even_if_floating: FloatingOption = False,
) -> None:
    """Name the model that may become prod, or with --clear none. No user gets it by this.

    A role that does not exist is created without a prod. A waiver or a gate run of another candidate does not count.
    """
    if (model is None) is not clear:
        fail(f"name one model: `killswitch role set-candidate {role} MODEL`, or --clear for none")

    check_pinned(model, even_if_floating=even_if_floating)

    def agree(before: Role | None, after: Role, _evidence: RoleEvidence | None) -> None:
        was = "" if before is None or before.candidate is None else f" instead of {before.candidate}"
        hand.confirm(f"{role}: the candidate is {after.candidate or 'no model'}{was}.")

    made = registry_of(hand.store).set_candidate(
        role, model, reason=reason, dates=dates_of(config_if_readable(hand.settings, role)), agree=agree
    )
    then = "" if model is None else f"; next: `killswitch gate run {role}`"
    finish(hand, made, f"{role}: the candidate is {made.role.candidate or 'no model'}{then}")
