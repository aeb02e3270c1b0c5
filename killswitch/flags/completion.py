"""Complete: a rollout that is over because its model is everyone's.

The flag then names the new model as its control, with 0 % canary. So a reader that looks at percent and control alone,
a router that has lost the store, and one that has lost the flag again all give it to everyone. The model before is
kept, because a trip still sends everyone back to it. A release of the SDK that does not know the state refuses the
document, and keeps to the control model that it knew.
"""

from __future__ import annotations

from dataclasses import replace

from killswitch.flags.flag import MAX_NAME, MAX_REASON, Completion, Flag, StageEntry, bounded, state_of
from killswitch.flags.transitions import Action, Actor, State, required

COMPLETE = "complete"  # the stage of a complete flag: 100 % of users


def complete(flag: Flag | None, *, rollout: str, reason: str, now: float, by: str, actor: Actor) -> Flag:
    """Armed -> complete, by a person. ``reason`` may be empty: the record of the gate says why."""
    required(state_of(flag), Action.COMPLETE, actor, rollout)
    assert flag is not None
    at = max(now, flag.updated_at)
    by = by[:MAX_NAME]
    return replace(
        flag,
        state=State.COMPLETE,
        stage=COMPLETE,
        canary_percent=0.0,
        control=flag.rollout_canary,
        canary=flag.rollout_canary,
        canary_after_aa=None,
        stages=bounded((*flag.stages, StageEntry(COMPLETE, 100.0, at))),
        completion=Completion(at, by, reason[:MAX_REASON], flag.control, flag.canary_percent, flag.stage),
        updated_at=at,
        updated_by=by,
        shadow_percent=0.0,
        shadow_classes={},
    )
