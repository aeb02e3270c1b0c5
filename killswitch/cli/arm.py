"""``killswitch arm``: give a canary its share of users."""

from __future__ import annotations

from typing import Annotated

import typer

from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import (
    PercentOption,
    RolloutArgument,
    ShadowClassOption,
    ShadowOption,
    StageOption,
    fail,
    rollout_of,
    served_in_words,
    shadow_asked,
    shadowed_in_words,
    stage_asked,
    stage_of_plan,
)
from killswitch.flags import flag as flags
from killswitch.flags.flag import Flag
from killswitch.flags.shadow_share import NO_SHADOW

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
    shadow: ShadowOption = None,
    shadow_class: ShadowClassOption = None,
) -> None:
    """Arm a rollout: give the canary its share of users, or with --shadow none but a share of requests, unseen.

    Without --stage, --percent and --shadow, it begins at the first stage of the plan in its rule file.
    """
    share = shadow_asked(shadow, shadow_class)
    file = rollout_of(hand.settings, rollout, required=control is None or canary is None)
    if file is not None and file.plan is not None and (stage, percent, share) == (None, None, None):
        stage = file.plan.stages[0].stage
        if stage == flags.SHADOW:
            fail(
                f"the plan of {rollout} begins in stage shadow; say how many requests are shadowed, such as --shadow 5"
            )
    stage, percent = stage_asked(*stage_of_plan(hand.settings, rollout, stage, percent), share)
    control = control or (file.control if file else "")
    canary = canary or (file.canary if file else "")

    def agree(_: Flag | None, after: Flag) -> None:
        hand.warn_if_unwatched()
        if stage == flags.AA:
            change = f"{after.canary_percent:g}% of users become the canary cohort, and still get {control}"
        else:
            change = served_in_words(after, control, canary)
        hand.confirm(f"{rollout}: {change} (stage {stage}).")

    armed = hand.switch.arm(
        rollout,
        control=control,
        canary=canary,
        percent=percent,
        stage=stage,
        salt=salt,
        shadow=share or NO_SHADOW,
        agree=agree,
    )
    hand.answer(
        armed,
        f"{rollout}: armed, generation {armed.generation}, {armed.canary_percent:g}% canary{shadowed_in_words(armed)}",
    )
