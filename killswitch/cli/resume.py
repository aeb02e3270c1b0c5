"""``killswitch resume``: let a plan that a person holds go on."""

from __future__ import annotations

from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import RolloutArgument
from killswitch.cli.terminal import one_line


@by_hand(rules=False)
def command(hand: Hand, rollout: RolloutArgument) -> None:
    """Let a plan go on that `killswitch hold` keeps. The gate of its stage must still pass."""
    stored = hand.switch.stored(rollout)

    def agree(who: str) -> None:
        hand.confirm(f"{rollout}: {one_line(who)}. The plan goes on once its gate passes.")

    hand.holding.resume(rollout, stored, agree=agree)
    hand.answer({"rollout": rollout, "held_by": None}, f"{rollout}: resumed")
