"""``killswitch end``: remove a rollout's flag."""

from __future__ import annotations

from killswitch.cli.after_promotion import warn_of_lost_rollback
from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import RolloutArgument
from killswitch.errors import BadDocument, NoFlag


@by_hand(rules=False)
def command(hand: Hand, rollout: RolloutArgument) -> None:
    """End a rollout: remove its flag, so that routers send everyone to control.

    To give everyone the canary's model instead, use `complete`.
    """
    then = "everyone gets the control model"
    try:
        flag = hand.switch.stored(rollout).flag
        if flag is None:
            raise NoFlag(rollout, hand.switch.everything()[0])
        now = f"{flag.state} at {flag.canary_percent:g}%"
        if flag.completion is not None:
            now = flag.state.value
            then = (
                f"a router that starts after that gives everyone the control model that its service names: see first "
                f"that no service names {flag.completion.control_before}"
            )
        warn_of_lost_rollback(hand, flag)
    except BadDocument:
        now = "unreadable"
    hand.confirm(f"{rollout}: its flag ({now}) will be removed, and {then}. No one is paged.")
    hand.switch.end(rollout)
    hand.answer({"rollout": rollout, "state": "absent"}, f"{rollout}: ended")
