"""``killswitch role approve``: a person approves a gate run that asks for it."""

from __future__ import annotations

from typing import Annotated

import typer

from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import ReasonOption
from killswitch.cli.role.at_hand import RoleArgument, config_if_readable, registry_of
from killswitch.cli.terminal import one_line
from killswitch.roles.gate_record import GateRecord, as_json


@by_hand(rules=False, roles=True)
def command(
    hand: Hand,
    role: RoleArgument,
    run: Annotated[str, typer.Argument(help="The run's id.", show_default=False)],
    reason: ReasonOption,
) -> None:
    """Approve a gate run that needs it: a higher price, or a PASS after a FAIL. Who and why are kept with the run.

    It must be the newest run of the role's prod and candidate. A FAIL cannot be approved; see `role waive`.
    """

    def agree(record: GateRecord) -> None:
        models = f"{record.candidate} may replace {record.prod}"
        hand.confirm(
            one_line(f"{role}: {models} on run {record.run}, {record.verdict}: {record.why}. Because: {reason}")
        )

    config = config_if_readable(hand.settings, role)
    approved = registry_of(hand.store).approve(role, run, reason=reason, config=config, agree=agree)
    hand.answer(
        as_json(approved), f'{role}: run {run} is approved; next: `killswitch role promote {role} --reason "why"`'
    )
