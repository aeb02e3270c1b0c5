"""``killswitch stage``: change the canary's share in an armed rollout."""

from __future__ import annotations

from typing import Annotated

import typer

from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import PercentOption, RolloutArgument, StageOption, fail
from killswitch.flags import flag as flags
from killswitch.flags.flag import Flag


@by_hand(rules=False)
def command(
    hand: Hand,
    rollout: RolloutArgument,
    to: Annotated[
        str | None, typer.Argument(metavar="[STAGE]", help="The same as --stage.", show_default=False)
    ] = None,
    percent: PercentOption = None,
    stage: StageOption = None,
) -> None:
    """Raise or lower the canary's share of an armed rollout, for example `killswitch stage support-copilot ramp_25`."""
    if to is not None and stage not in (None, to):
        fail(f"two stages are given, {to} and {stage}; name one")
    stage = stage if to is None else to
    stage, percent = flags.resolve_stage(stage, percent)

    def agree(before: Flag | None, after: Flag) -> None:
        if before is None or after.canary_percent > before.canary_percent:
            hand.warn_if_unwatched()
        now = f"{before.canary_percent:g}%" if before is not None else "nothing"
        hand.confirm(f"{rollout}: the canary's share goes from {now} to {after.canary_percent:g}% (stage {stage}).")

    changed = hand.switch.set_stage(rollout, percent=percent, stage=stage, agree=agree)
    hand.answer(changed, f"{rollout}: stage {stage}, {changed.canary_percent:g}% canary")
