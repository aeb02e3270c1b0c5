"""``killswitch rearm``: arm a tripped rollout again, the only way out of `tripped`."""

from __future__ import annotations

from typing import Annotated

import typer

from killswitch.cli.armed_pairs import pair_to_raise
from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import (
    PercentOption,
    ReasonOption,
    RolloutArgument,
    ShadowClassOption,
    ShadowOption,
    StageOption,
    page_settings,
    person,
    print_problems,
    rollout_of,
    served_in_words,
    shadow_asked,
    shadowed_in_words,
    stage_asked,
    stage_of_plan,
)
from killswitch.cli.trip import deliver_if_alone
from killswitch.flags.flag import SHADOW, Flag
from killswitch.flags.shadow_share import NO_SHADOW
from killswitch.pages import events
from killswitch.pages.page import Page
from killswitch.ramps.rearming import first_stage
from killswitch.stores import keys

NewUsersOption = Annotated[
    bool,
    typer.Option(
        "--new-users",
        help="Give the canary to other users than before, so that the same people do not suffer twice.",
    ),
]


@by_hand(rules=True, roles=True)
def command(  # long: its options, and what it says before and after
    hand: Hand,
    rollout: RolloutArgument,
    reason: ReasonOption,
    percent: PercentOption = None,
    stage: StageOption = None,
    shadow: ShadowOption = None,
    shadow_class: ShadowClassOption = None,
    new_users: NewUsersOption = False,
) -> None:
    """Arm a tripped rollout again, with a reason. The stage is ramp_1 unless another is given, or --shadow.

    With a plan without ramp_1, it is the plan's first stage that gives users the canary.
    """
    share = shadow_asked(shadow, shadow_class)
    if stage is None and percent is None and share is None:
        stage = _first_stage(hand, rollout)
    stage, percent = stage_asked(*stage_of_plan(hand.settings, rollout, stage, percent), share)
    page_as = page_settings(hand.settings, rollout)

    def page(flag: Flag) -> Page:
        return events.re_armed(flag, reason=reason, by=person(), settings=page_as)

    def agree(_: Flag | None, after: Flag) -> None:
        hand.warn_if_unwatched()
        if hand.store.get(keys.hold(rollout)) is not None:
            said = f"{rollout}: someone holds its plan, and it stays held; `killswitch resume {rollout}` ends that"
            print_problems([said], style="yellow")
        served = f"{after.canary_percent:g}% of users will get the canary again"
        if stage == SHADOW:
            served = served_in_words(after, after.control, after.canary)
        whose = "other users than before" if new_users else "the same users as before"
        hand.confirm(f"{rollout}: {served} (stage {stage}; {whose}), because: {reason}")

    rests_on = pair_to_raise(hand, hand.switch.stored(rollout).flag, stage, percent, again=True)
    armed = hand.switch.rearm(
        rollout,
        reason=reason,
        percent=percent,
        stage=stage,
        shadow=share or NO_SHADOW,
        new_users=new_users,
        page=page,
        pair=None if rests_on is None else rests_on.pair,
        also=() if rests_on is None else rests_on.compares,
        agree=agree,
    )
    said = deliver_if_alone(hand, page(armed).id)
    hand.answer(
        armed,
        f"{rollout}: armed again, generation {armed.generation}, {armed.canary_percent:g}% canary"
        f"{shadowed_in_words(armed)}{_whose(new_users)}; {said}",
    )


def _first_stage(hand: Hand, rollout: str) -> str:
    file = rollout_of(hand.settings, rollout, required=False)
    return first_stage(None if file is None else file.plan)


def _whose(new_users: bool) -> str:
    return ", other users than before" if new_users else ", the same users as before (--new-users chooses others)"
