"""``killswitch role create``: name the model that serves users already."""

from __future__ import annotations

from typing import Annotated

import typer

from killswitch.cli.by_hand import Hand, by_hand
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
    prod: Annotated[str, typer.Option("--prod", help="The model that users have now.", show_default=False)],
    reason: RoleReasonOption = "it serves users already",
    even_if_floating: FloatingOption = False,
) -> None:
    """Create a role, with the model that serves users already as its prod.

    Once a role has a prod, another model becomes prod through its gate alone (`role promote`), or by a rollback.
    """
    check_pinned(prod, even_if_floating=even_if_floating)

    def agree(_before: Role | None, after: Role, _evidence: RoleEvidence | None) -> None:
        hand.confirm(f"{role}: services that ask for this role get {after.prod}. No gate has looked at it.")

    dates = dates_of(config_if_readable(hand.settings, role))
    made = registry_of(hand.store).create(role, prod, reason=reason, dates=dates, agree=agree)
    finish(hand, made, f"{role}: prod is {made.role.prod}")
