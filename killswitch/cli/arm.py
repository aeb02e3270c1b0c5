"""``killswitch arm``: give a canary its share of users."""

from __future__ import annotations

from typing import Annotated

import typer

from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import PercentOption, RolloutArgument, StageOption, rollout_of
from killswitch.flags import flag as flags
from killswitch.flags.flag import Flag

_FROM_FILE = "from the rule file"


@by_hand(rules=True)
def command(
    hand: Hand,
    rollout: RolloutArgument,
    percent: PercentOption = None,
    stage: StageOption = None,
    control: Annotated[str | None, typer.Option(help="Control model.", show_default=_FROM_FILE)] = None,
    canary: Annotated[str | None, typer.Option(help="Canary model.", show_default=_FROM_FILE)] = None,
    salt: Annotated[str, typer.Option(help="Any text. Another salt puts other users in the canary.")] = "",
) -> None:
    """Arm a rollout: give the canary its share of users, and let the kill switch watch it."""
    stage, percent = flags.resolve_stage(stage, percent)
    file = rollout_of(hand.settings, rollout, required=control is None or canary is None)
    control = control or (file.control if file else "")
    canary = canary or (file.canary if file else "")

    def agree(_: Flag | None, after: Flag) -> None:
        hand.warn_if_unwatched()
        share = f"{after.canary_percent:g}% of users"
        if stage == flags.AA:
            change = f"{share} become the canary cohort, and still get {control}"
        else:
            change = f"{share} will get {canary} instead of {control}"
        hand.confirm(f"{rollout}: {change} (stage {stage}).")

    armed = hand.switch.arm(
        rollout, control=control, canary=canary, percent=percent, stage=stage, salt=salt, agree=agree
    )
    hand.answer(armed, f"{rollout}: armed, generation {armed.generation}, {armed.canary_percent:g}% canary")
