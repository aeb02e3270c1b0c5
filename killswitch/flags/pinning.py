"""Pinning: 0 % until a person lifts it, whatever else is typed or planned. No I/O and no clock, as in `flag`."""

from __future__ import annotations

from dataclasses import replace

from killswitch.flags.flag import MAX_NAME, MAX_REASON, Flag, Pin, drilled, state_of, trip
from killswitch.flags.transitions import Action, Actor, State, check_reason, required


def pin(
    flag: Flag | None,
    *,
    rollout: str,
    reason: str,
    rules: tuple[str, ...],
    incident: str,
    now: float,
    by: str,
    actor: Actor,
) -> Flag:
    """Armed or tripped -> pinned. An armed flag is tripped by it: ``rules`` and ``incident`` are of that trip."""
    required(state_of(flag), Action.PIN, actor, rollout)
    assert flag is not None
    check_reason(reason, Action.PIN, rollout)
    if flag.armed:
        flag = trip(
            flag, rollout=rollout, reason=reason, rules=rules, incident=incident, now=now, by=by, actor=actor
        )  # fmt: skip
    if flag.trip is not None:
        flag = replace(
            flag, trip=replace(flag.trip, drill=None)
        )  # no drill undoes it, nor what is left once it is lifted
    at = max(now, flag.updated_at)
    return replace(
        flag,
        state=State.PINNED,
        pin=Pin(now, by[:MAX_NAME], reason[:MAX_REASON]),
        updated_at=at,
        updated_by=by[:MAX_NAME],
    )


def unpin(flag: Flag | None, *, rollout: str, reason: str, now: float, by: str, actor: Actor) -> Flag:
    """Pinned -> tripped by a person, with a reason: 0 % until someone re-arms."""
    required(state_of(flag), Action.UNPIN, actor, rollout)
    assert flag is not None
    check_reason(reason, Action.UNPIN, rollout)
    assert flag.pin is not None
    return replace(
        flag,
        state=State.TRIPPED,
        pin=None,
        # not `updated_at`: once a clock was ahead, that is in the future, and nothing would be judged until then
        unpinned_at=max(now, flag.pin.at),
        updated_at=max(now, flag.updated_at),
        updated_by=by[:MAX_NAME],
    )


def stopped_in_words(flag: Flag) -> str:
    """Why a flag that is not armed is as it is, and who did it; a pin's words before those of a trip."""
    if flag.completion is not None:
        done = flag.completion
        why = f": {done.reason}" if done.reason else ""
        return (
            f"completed by {done.by}{why}; everyone gets {flag.control}, and nothing is compared; to send users "
            f"back to {done.control_before} use `killswitch trip {flag.rollout} --reason …`"
        )
    if flag.pin is not None:
        return f"pinned by {flag.pin.by}: {flag.pin.reason}"
    if drilled(flag):
        assert flag.trip is not None
        return f"a live drill ({flag.trip.drill}) sends everyone to control for about a minute, then it is armed again"
    return "tripped" if flag.trip is None else f"tripped by {flag.trip.by}: {flag.trip.reason}"
