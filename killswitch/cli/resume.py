"""``killswitch resume``: let a plan that a person holds go on."""

from __future__ import annotations

from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import RolloutArgument, fail
from killswitch.cli.terminal import one_line
from killswitch.errors import BadDocument
from killswitch.ramps.records import hold_from_document
from killswitch.stores import Committed, Compare, Delete, keys


@by_hand(rules=False)
def command(hand: Hand, rollout: RolloutArgument) -> None:
    """Let a plan go on that `killswitch hold` keeps. The gate of its stage must still pass."""
    key = keys.hold(rollout)
    item = hand.store.get(key)
    if item is None:
        fail(f"{rollout} is not held")
    try:
        hold = hold_from_document(item.value, rollout=rollout)
        who = one_line(f"{hold.by} holds it: {hold.reason}")
    except BadDocument as error:
        who = one_line(f"the hold cannot be read: {error}")
    hand.confirm(f"{rollout}: {who}. The plan goes on once its gate passes.")
    if not isinstance(hand.store.commit((Compare(key, item.mod_revision),), (Delete(key),)), Committed):
        fail(f"the hold of {rollout} was changed just now; look at `killswitch ready {rollout}`, then repeat")
    hand.answer({"rollout": rollout, "held_by": None}, f"{rollout}: resumed")
