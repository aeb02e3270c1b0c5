"""``killswitch rearm``: arm a tripped rollout again, the only way out of `tripped`."""

from __future__ import annotations

from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import (
    PercentOption,
    ReasonOption,
    RolloutArgument,
    StageOption,
    page_settings,
    person,
)
from killswitch.cli.trip import deliver_if_alone
from killswitch.flags import flag as flags
from killswitch.flags.flag import Flag
from killswitch.pages import events
from killswitch.pages.page import Page


@by_hand(rules=True)
def command(
    hand: Hand,
    rollout: RolloutArgument,
    reason: ReasonOption,
    percent: PercentOption = None,
    stage: StageOption = None,
) -> None:
    """Arm a tripped rollout again, with a reason. The stage is ramp_1 unless another is given."""
    if stage is None and percent is None:
        stage = "ramp_1"
    stage, percent = flags.resolve_stage(stage, percent)
    page_as = page_settings(hand.settings, rollout)

    def page(flag: Flag) -> Page:
        return events.re_armed(flag, reason=reason, by=person(), settings=page_as)

    def agree(_: Flag | None, after: Flag) -> None:
        hand.warn_if_unwatched()
        share = f"{after.canary_percent:g}% of users will get the canary again (stage {stage})"
        hand.confirm(f"{rollout}: {share}, because: {reason}")

    armed = hand.switch.rearm(rollout, reason=reason, percent=percent, stage=stage, page=page, agree=agree)
    said = deliver_if_alone(hand.settings, hand.store, page(armed).id)
    hand.answer(
        armed, f"{rollout}: armed again, generation {armed.generation}, {armed.canary_percent:g}% canary; {said}"
    )
