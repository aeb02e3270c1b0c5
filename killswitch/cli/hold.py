"""``killswitch hold``: keep a rollout's plan from going on, until someone resumes it."""

from __future__ import annotations

from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import ReasonOption, RolloutArgument


@by_hand(rules=False)
def command(hand: Hand, rollout: RolloutArgument, reason: ReasonOption) -> None:
    """Keep a rollout's plan from going on, until someone resumes it. The canary's share stays as it is.

    A step that a controller is taking at this moment is refused by the store. The hold outlives a trip and a re-arm;
    `killswitch end` ends it with the rollout.
    """
    stored = hand.switch.required(rollout)
    hand.confirm(f"{rollout}: its plan is held; no step up until `killswitch resume {rollout}`.")
    held = hand.holding.hold(rollout, stored, reason=reason)
    hand.answer({"rollout": rollout, "held_by": held.by, "reason": reason}, f"{rollout}: held")
