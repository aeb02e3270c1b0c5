"""What a router shadows: what an armed flag in stage shadow says, and nothing in every other state."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.flags import flag as flags
from killswitch.flags.completion import complete
from killswitch.flags.flag import SHADOW, Flag
from killswitch.flags.shadow_share import shadow_share
from killswitch.flags.transitions import Actor
from killswitch.router import failsafe
from killswitch.router.failsafe import OBEYS_ARMED, LinearizableRead, Memory, RouterState
from killswitch.router.route_types import NOTHING_SHADOWED, RouteReason, ShadowSplit
from killswitch.router.router import Router
from tests.doubles.flags import ROLLOUT, armed
from tests.doubles.held_split import HeldSplit, control_only, router_over, shadowed
from tests.unit.router.read_states import NEW, at, change, item


def shadowing(percent: float = 20.0, generation: int = 1) -> Flag:
    share = shadow_share(percent, {"billing": 100.0})
    flag = armed(generation, percent=0.0, stage=SHADOW)
    return replace(flag, salt="pepper", shadow_percent=share.percent, shadow_classes=share.classes)


def ended(flag: Flag) -> Flag:
    return flags.trip(
        flag, rollout=ROLLOUT, reason="r", rules=(), incident="i", now=1.8e9, by="test", actor=Actor.CONTROLLER
    )


def over(flag: Flag) -> Flag:
    return complete(flag, rollout=ROLLOUT, reason="r", now=1.8e9, by="test", actor=Actor.PERSON)


def read(memory: Memory, flag: Flag | None, *, revision: int = 7, sent_at: float = 0.0) -> Memory:
    found = None if flag is None else item(flag, revision)
    return failsafe.after_read(memory, LinearizableRead(sent_at, memory.revision, found, revision, 1))


ARMED = read(NEW, shadowing())
# the memory and the seconds after its read in each state
STATES: dict[RouterState, tuple[Memory, float]] = {
    RouterState.ARMED: (ARMED, 1.0),
    RouterState.HELD: (ARMED, 30.0),
    RouterState.TRIPPED: (read(ARMED, ended(shadowing()), revision=8), 1.0),
    RouterState.COMPLETE: (read(ARMED, over(shadowing()), revision=8), 1.0),
    RouterState.OUTDATED: (read(read(ARMED, ended(shadowing()), revision=8), shadowing(), revision=9), 1.0),
    RouterState.NO_FLAG: (read(ARMED, None, revision=8), 1.0),
    RouterState.CORRUPT: (failsafe.after_garbage(ARMED, "babble"), 1.0),
    RouterState.CUT_OFF: (ARMED, 80.0),
    RouterState.UNWATCHED: (
        failsafe.after_read(ARMED, LinearizableRead(400.0, 7, item(shadowing(), 7), 7, 0)),
        401.0,
    ),
    RouterState.UNREAD: (replace(ARMED, fresh_at=None), 1.0),
    RouterState.CLOSED: (failsafe.after_close(ARMED, "closed"), 1.0),
}


@pytest.mark.parametrize("state", RouterState)
def test_only_an_armed_flag_that_is_obeyed_shadows(state: RouterState) -> None:
    """The document that was read last shadows requests; only ARMED and HELD obey it."""
    memory, now = STATES[state]
    snapshot = at(memory, now)
    assert snapshot.standing is state
    if state in OBEYS_ARMED:
        assert snapshot.shadow == ShadowSplit(20.0, {"billing": 100.0}, "shadow/pepper", "model-old", "model-new", 1)
    else:
        assert snapshot.shadow is NOTHING_SHADOWED


@given(
    st.sampled_from(sorted(STATES)), st.floats(0.0, 2000.0), st.sampled_from([shadowing(), armed(), armed(stage="aa")])
)
def test_in_any_state_at_any_time_nothing_else_is_shadowed(state: RouterState, now: float, flag: Flag) -> None:
    """Whatever happened before, and however long ago: a shadow means that an armed flag in stage shadow is obeyed."""
    memory = change(STATES[state][0], item(flag, 20), 20)
    snapshot = at(memory, now)
    if snapshot.shadow != NOTHING_SHADOWED:
        assert snapshot.standing in OBEYS_ARMED
        assert flag.stage == SHADOW
        assert snapshot.shadow.generation > memory.tripped_generation


def test_no_route_names_the_canary_in_stage_shadow() -> None:
    """Pins and testers get control as well: the canary's name is in the shadow's split alone."""
    snapshot = at(ARMED, 1.0)
    assert snapshot.canary_route is snapshot.control_route
    assert "model-new" not in snapshot.control_route
    router = Router(ROLLOUT, following=_Held(snapshot), always_canary=["tester"])
    assert router.routes() == (snapshot.control_route,)
    for key, pin in (("tester", None), ("user", "canary"), (None, None)):
        assert router.route(key, pin) is snapshot.control_route
    assert router.shadow_split() is snapshot.shadow


def test_a_routers_sentence_says_what_it_shadows() -> None:
    assert at(ARMED, 1.0).sentence == (
        f"{ROLLOUT}: armed, generation 1, stage 'shadow': everyone to control 'model-old', "
        "20% (billing 100%) of requests shadowed to 'model-new'"
    )


def test_a_document_that_shadows_nothing_names_no_canary() -> None:
    assert at(read(NEW, armed(percent=0.0, stage=SHADOW)), 1.0).shadow is NOTHING_SHADOWED


def test_a_change_of_the_shadow_alone_is_a_new_snapshot() -> None:
    """The follower replaces what it holds only where something differs."""
    more = change(ARMED, item(replace(shadowing(), shadow_percent=50.0), 9), 9)
    assert at(more, 1.0) != at(ARMED, 1.0)
    assert at(ARMED, 1.0) == at(ARMED, 2.0)


def test_the_router_reads_the_newest_split() -> None:
    router, held = router_over(shadowed(20.0, billing=100.0))
    before = router.shadow_split()
    assert router.shadow_split() is before
    assert (before.percent, before.classes) == (20.0, {"billing": 100.0})
    held.current = control_only(RouteReason.DISABLED)
    assert router.shadow_split() == NOTHING_SHADOWED


class _Held(HeldSplit):
    def __init__(self, snapshot: object) -> None:
        self.current = snapshot  # type: ignore[assignment]
