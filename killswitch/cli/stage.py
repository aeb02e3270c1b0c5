"""``killswitch stage``: change the canary's share in an armed rollout."""

from __future__ import annotations

from typing import Annotated

import typer

from killswitch.cli.armed_pairs import pair_to_raise
from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import (
    PercentOption,
    RolloutArgument,
    ShadowClassOption,
    ShadowOption,
    StageOption,
    fail,
    shadow_asked,
    shadowed_in_words,
    stage_asked,
    stage_of_plan,
)
from killswitch.flags.flag import SHADOW, Flag


@by_hand(rules=True, roles=True)
def command(
    hand: Hand,
    rollout: RolloutArgument,
    to: Annotated[
        str | None, typer.Argument(metavar="[STAGE]", help="The same as --stage.", show_default=False)
    ] = None,
    percent: PercentOption = None,
    stage: StageOption = None,
    shadow: ShadowOption = None,
    shadow_class: ShadowClassOption = None,
) -> None:
    """Raise or lower the canary's share of an armed rollout, for example `killswitch stage support-copilot ramp_25`.

    With --shadow, change what is shadowed, for example `killswitch stage support-copilot --shadow 25`.
    """
    if to is not None and stage not in (None, to):
        fail(f"two stages are given, {to} and {stage}; name one")
    stage = stage if to is None else to
    share = shadow_asked(shadow, shadow_class)
    only_shadow = share is not None and stage is None and percent is None
    stage, percent = stage_asked(*stage_of_plan(hand.settings, rollout, stage, percent), share)

    def agree(before: Flag | None, after: Flag) -> None:
        if only_shadow and before is not None and before.stage != SHADOW and after.shadow_share.nothing:
            fail(f"{rollout} is in stage {before.stage}, so nothing is shadowed; for no users write --stage {SHADOW}")
        if before is None or _raises(before, after):
            hand.warn_if_unwatched()
        shadowed = "" if before is None else _shadow_change(before, after)
        hand.confirm(f"{rollout}: the canary's share {_share_change(before, after)}{shadowed} (stage {stage}).")

    rests_on = pair_to_raise(hand, hand.switch.stored(rollout).flag, stage, percent)
    changed = hand.switch.set_stage(
        rollout,
        percent=percent,
        stage=stage,
        shadow=share,
        pair=None if rests_on is None else rests_on.pair,
        also=() if rests_on is None else rests_on.compares,
        agree=agree,
    )
    hand.answer(changed, f"{rollout}: stage {stage}, {changed.canary_percent:g}% canary{shadowed_in_words(changed)}")


def _raises(before: Flag, after: Flag) -> bool:
    return after.canary_percent > before.canary_percent or after.shadow_share.exceeds(before.shadow_share)


def _share_change(before: Flag | None, after: Flag) -> str:
    now, then = f"{before.canary_percent:g}%" if before is not None else "nothing", f"{after.canary_percent:g}%"
    return f"stays {then}" if now == then else f"goes from {now} to {then}"


def _shadow_change(before: Flag, after: Flag) -> str:
    """``, and the shadow's goes from 5% to 25% of requests``; empty where it stays nothing."""
    if before.shadow_share.nothing and after.shadow_share.nothing:
        return ""
    return f", and the shadow's goes from {before.shadow_share} to {after.shadow_share} of requests"
