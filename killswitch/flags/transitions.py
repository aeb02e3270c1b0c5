"""What a flag may become, and who may change it: `TRANSITIONS` is the whole law.

States: absent, armed, tripped, pinned, complete. Asymmetry: lowering exposure is always allowed; raising it needs a
person or a stage plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from killswitch.errors import IllegalTransition


class State(StrEnum):
    ABSENT = "absent"  # no document; never written
    ARMED = "armed"
    TRIPPED = "tripped"
    PINNED = "pinned"  # tripped, and arming it is refused until a person unpins it with a reason
    COMPLETE = "complete"  # everyone has the new model, and nothing is compared


STOPPED = frozenset({State.TRIPPED, State.PINNED})  # the states that have a trip


class Action(StrEnum):
    ARM = "arm"
    TRIP = "trip"
    REARM = "rearm"
    RAISE = "raise"
    LOWER = "lower"
    PIN = "pin"
    UNPIN = "unpin"
    COMPLETE = "complete"
    END = "end"


class Actor(StrEnum):
    PERSON = "person"
    CONTROLLER = "controller"
    STAGE_PLAN = "stage_plan"


# (state, action) -> (next state, who may). Anything not listed is illegal.
TRANSITIONS: Mapping[tuple[State, Action], tuple[State, frozenset[Actor]]] = {
    (State.ABSENT, Action.ARM): (State.ARMED, frozenset({Actor.PERSON})),
    (State.ARMED, Action.TRIP): (State.TRIPPED, frozenset({Actor.PERSON, Actor.CONTROLLER})),
    (State.TRIPPED, Action.REARM): (State.ARMED, frozenset({Actor.PERSON})),
    (State.ARMED, Action.RAISE): (State.ARMED, frozenset({Actor.PERSON, Actor.STAGE_PLAN})),
    (State.ARMED, Action.LOWER): (State.ARMED, frozenset(Actor)),
    (State.ARMED, Action.PIN): (State.PINNED, frozenset({Actor.PERSON, Actor.CONTROLLER})),
    (State.TRIPPED, Action.PIN): (State.PINNED, frozenset({Actor.PERSON, Actor.CONTROLLER})),
    # tripped, not armed: lifting a pin does not give the canary users again
    (State.PINNED, Action.UNPIN): (State.TRIPPED, frozenset({Actor.PERSON})),
    (State.ARMED, Action.END): (State.ABSENT, frozenset({Actor.PERSON})),
    (State.TRIPPED, Action.END): (State.ABSENT, frozenset({Actor.PERSON})),
    (State.ARMED, Action.COMPLETE): (State.COMPLETE, frozenset({Actor.PERSON})),
    # controllers: a breach that was proven just before must not be lost to a completion
    (State.COMPLETE, Action.TRIP): (State.TRIPPED, frozenset({Actor.PERSON, Actor.CONTROLLER})),
    (State.COMPLETE, Action.END): (State.ABSENT, frozenset({Actor.PERSON})),
}

_IS_OVER = (
    "it is complete: everyone has the new model. To send users back use `killswitch trip {name} --reason …`; to begin "
    "another rollout under this name use `killswitch end {name}` first"
)
_UNPIN_FIRST = "it is pinned at 0 %; look at `killswitch status {name}`, then `killswitch unpin {name} --reason …`"
# what a person should do instead
_HINTS: Mapping[tuple[State, Action], str] = {
    (
        State.TRIPPED,
        Action.ARM,
    ): "it is tripped; look at `killswitch explain`, then use `killswitch rearm {name} --reason …`",
    (State.ARMED, Action.ARM): "it is armed already; use `killswitch stage {name} …` to change its percent",
    (State.ARMED, Action.REARM): "it is armed already; nothing to re-arm",
    (State.ABSENT, Action.REARM): "it has no flag; use `killswitch arm {name} --stage ramp_1`",
    (State.TRIPPED, Action.TRIP): "it is tripped already; all traffic goes to control",
    (State.ABSENT, Action.TRIP): "it has no flag, so routers already send everything to control",
    (State.TRIPPED, Action.RAISE): "it is tripped; use `killswitch rearm {name} --reason …`",
    (State.TRIPPED, Action.LOWER): "it is tripped; its percent is 0 already",
    (State.ABSENT, Action.END): "it has no flag; nothing to end",
    (State.ABSENT, Action.PIN): "it has no flag, so no user has its canary and there is nothing to pin",
    (State.ABSENT, Action.UNPIN): "it has no flag; nothing to unpin",
    (State.ARMED, Action.UNPIN): "it is armed, not pinned",
    (State.TRIPPED, Action.UNPIN): "it is tripped, not pinned; use `killswitch rearm {name} --reason …`",
    (State.PINNED, Action.PIN): "it is pinned already; all traffic goes to control",
    (State.PINNED, Action.TRIP): "it is pinned already; all traffic goes to control",
    (State.ABSENT, Action.COMPLETE): "it has no flag; nothing to complete",
    (State.TRIPPED, Action.COMPLETE): "it is tripped: its canary has not shown itself; look at `killswitch explain`",
    (State.COMPLETE, Action.COMPLETE): "it is complete already: everyone has the new model",
    (State.COMPLETE, Action.UNPIN): "it is complete, not pinned",
    **dict.fromkeys(
        [(State.PINNED, action) for action in (Action.ARM, Action.REARM, Action.RAISE, Action.LOWER, Action.END)],
        _UNPIN_FIRST,
    ),
    (State.PINNED, Action.COMPLETE): _UNPIN_FIRST,
    **dict.fromkeys(
        [(State.COMPLETE, action) for action in (Action.ARM, Action.REARM, Action.RAISE, Action.LOWER, Action.PIN)],
        _IS_OVER,
    ),
}


def required(state: State, action: Action, actor: Actor, name: str) -> State:
    """The state that ``action`` leads to. Raises IllegalTransition, with what to do instead."""
    row = TRANSITIONS.get((state, action))
    if row is None:
        hint = _HINTS.get((state, action), "the state table has no such change")
        raise IllegalTransition(f"cannot {action.value} {name}: {hint.format(name=name)}")
    next_state, allowed = row
    if actor not in allowed:
        raise IllegalTransition(
            f"cannot {action.value} {name}: a {actor.value.replace('_', ' ')} may not; "
            f"only {' or '.join(sorted(a.value.replace('_', ' ') for a in allowed))}"
        )
    return next_state


def says_nothing(text: str) -> bool:
    """Whether nothing can be read in ``text``: it is empty, or has only spaces and characters that are not shown."""
    return not any(letter.isprintable() and not letter.isspace() for letter in text)


def check_reason(reason: str, action: Action, name: str) -> None:
    """Raises IllegalTransition for a reason that says nothing."""
    if says_nothing(reason):
        raise IllegalTransition(f"cannot {action.value} {name}: say why with --reason")
