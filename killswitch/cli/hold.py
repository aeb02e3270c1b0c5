"""``killswitch hold``: keep a rollout's plan from going on, until someone resumes it."""

from __future__ import annotations

import time

from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import ReasonOption, RolloutArgument, fail, person
from killswitch.ramps.gate_inputs import Hold
from killswitch.ramps.records import hold_document
from killswitch.stores import Committed, Compare, Put, keys


@by_hand(rules=False)
def command(hand: Hand, rollout: RolloutArgument, reason: ReasonOption) -> None:
    """Keep a rollout's plan from going on, until someone resumes it. The canary's share stays as it is.

    A step that a controller is taking at this moment is refused by the store. The hold outlives a trip and a re-arm;
    `killswitch end` ends it with the rollout.
    """
    hand.switch.required(rollout)
    hand.confirm(f"{rollout}: its plan is held; no step up until `killswitch resume {rollout}`.")
    held = Hold(reason, person())
    put = Put(keys.hold(rollout), hold_document(held, rollout=rollout, at=time.time()))
    outcome = hand.store.commit((Compare(put.key, 0),), (put,))
    if not isinstance(outcome, Committed):
        fail(f"{rollout} is held already; see who holds it with `killswitch ready {rollout}`")
    hand.answer({"rollout": rollout, "held_by": held.by, "reason": reason}, f"{rollout}: held")
