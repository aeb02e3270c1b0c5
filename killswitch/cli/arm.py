"""``killswitch arm``: give a canary its share of users."""

from __future__ import annotations

from typing import Annotated

import typer

from killswitch.cli.armed_pairs import pair_to_arm
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
from killswitch.model import Rollout
from killswitch.registry.arming import Armable
from killswitch.registry.raising import slots_of

_FROM_FILE = "from the rule file"


@by_hand(rules=True, roles=True)
def command(  # long: its options, and what it says before and after
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
    armable = _pinned(hand, rollout, file, stage, percent, given=(control, canary))
    if armable is not None:
        control, canary = armable.pair.control, armable.pair.canary
    control = control or (file.control if file else "")
    canary = canary or (file.canary if file else "")

    def agree(_: Flag | None, after: Flag) -> None:
        hand.warn_if_unwatched()
        if stage == flags.AA:
            change = f"{after.canary_percent:g}% of users become the canary cohort, and still get {control}"
        else:
            change = served_in_words(after, control, canary)
        rests_on = "" if armable is None else f"; {armable.pair.sentence}"
        hand.confirm(f"{rollout}: {change} (stage {stage}){rests_on}.")

    armed = hand.switch.arm(
        rollout,
        control=control,
        canary=canary,
        percent=percent,
        stage=stage,
        salt=salt,
        shadow=share or NO_SHADOW,
        pair=None if armable is None else armable.pair,
        also=() if armable is None else armable.compares,
        agree=agree,
    )
    rests_on = "" if armable is None else f"; {armable.pair.sentence}"
    share_of = f"{armed.canary_percent:g}% canary{shadowed_in_words(armed)}"
    hand.answer(armed, f"{rollout}: armed, generation {armed.generation}, {share_of}{rests_on}")


def _pinned(
    hand: Hand, rollout: str, file: Rollout | None, stage: str, percent: float, *, given: tuple[str | None, str | None]
) -> Armable | None:
    """What the slots of a role pin that the rule file names; None of two models. Ends the command for both at once."""
    slots = slots_of(file)
    if slots is None:
        return None
    if given != (None, None):
        named = f"{slots.control} and {slots.canary}"
        fail(f"the rule file of {rollout} names {named}, so --control and --canary cannot name models; leave them out")
    return pair_to_arm(hand, rollout, slots, stage, percent)
