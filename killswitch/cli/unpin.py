"""``killswitch unpin``: lift a pin. The canary stays at 0 % until someone re-arms it."""

from __future__ import annotations

from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import ReasonOption, RolloutArgument, page_settings, person
from killswitch.cli.trip import deliver_if_alone
from killswitch.flags.flag import Flag
from killswitch.pages import pin_events
from killswitch.pages.page import Page


@by_hand(rules=True)
def command(hand: Hand, rollout: RolloutArgument, reason: ReasonOption) -> None:
    """Lift a pin, with a reason. The canary stays at 0 % until it is re-armed."""
    page_as = page_settings(hand.settings, rollout)

    def page(flag: Flag) -> Page:
        return pin_events.unpinned(flag, reason=reason, by=person(), settings=page_as)

    def agree(before: Flag | None, _: Flag) -> None:
        pinned = "" if before is None or before.pin is None else f", which {before.pin.by} pinned: {before.pin.reason}"
        hand.confirm(f"{rollout}: may be re-armed again{pinned}; because: {reason}")

    flag = hand.switch.unpin(rollout, reason=reason, page=page, agree=agree)
    said = deliver_if_alone(hand, page(flag).id)
    again = f'give it users again with `killswitch rearm {rollout} --reason "what was fixed"`'
    hand.answer(flag, f"{rollout}: unpinned, still 0% canary; {said}; {again}")
