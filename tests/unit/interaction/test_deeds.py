"""What a press does to a flag: once, on the flag that its message was about, and with the person's name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from killswitch.errors import IllegalTransition, NoFlag, OutcomeUnknown, Refused, Unavailable
from killswitch.flags.change import Deed
from killswitch.flags.flag import Flag
from killswitch.flags.incident import from_document as incident_from_document
from killswitch.flags.transitions import State
from killswitch.interaction.deeds import ORIGIN, Deeds, Done
from killswitch.interaction.once import GRACE, nonce_of
from killswitch.model import PageSettings
from killswitch.pages import events
from killswitch.pages.page import Page
from killswitch.pages.receivers.slack_buttons import Button, ButtonValue
from killswitch.stores import Delete, keys
from killswitch.trips.flag_history import changes_in, history_of
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import Call, Crash, Fault, MemoryServer, MemoryStore
from tests.unit.interaction.pressed import ROLLOUT, RULES, Scene

ANN, BOB = "Ann Lee (U0ANN0001)", "Bob (U0BOB0001)"
Press = Callable[[Deeds, ButtonValue, str], Done]
PRESSES: dict[Button, Press] = {
    Button.ACKNOWLEDGE: lambda deeds, value, by: deeds.acknowledge(value, by),
    Button.HOLD: lambda deeds, value, by: deeds.hold(value, by, ""),
    Button.REARM: lambda deeds, value, by: deeds.rearm(value, by, reason="fixed", stage="ramp_1", new_users=False),
    Button.END: lambda deeds, value, by: deeds.end(value, by, reason="given up"),
}


@pytest.fixture
def server() -> MemoryServer:
    return MemoryServer(VirtualClock())


@pytest.fixture
def scene(server: MemoryServer) -> Scene:
    scene = Scene(MemoryStore(server), server.clock)
    scene.arm()
    scene.trip()
    return scene


def _re_armed(flag: Flag) -> Page:
    return events.re_armed(flag, reason="x", by="dana", settings=PageSettings())


def written(server: MemoryServer) -> int:
    return len(server.history)


# --- what each does -----------------------------------------------------------------------------


def test_acknowledging_names_the_person_in_the_incident(scene: Scene) -> None:
    done = scene.deeds().acknowledge(scene.value(), ANN)
    item = scene.store.get(keys.incident(ROLLOUT, 1))
    assert item is not None
    taken = incident_from_document(item.value, rollout=ROLLOUT).acknowledged
    assert taken is not None
    assert (taken.by, taken.origin) == (ANN, ORIGIN)
    assert done.said == f"you look after {ROLLOUT}, generation 1"


def test_a_hold_is_kept_with_name_and_reason(scene: Scene) -> None:
    done = scene.deeds().hold(scene.value(), ANN, "waiting for the provider")
    assert ANN in done.told
    assert [(one.by, one.reason) for one in changes_in(history_of(scene.store, ROLLOUT)) if one.deed is Deed.HOLD] == [
        (ANN, "waiting for the provider")
    ]


def test_a_rearm_begins_the_next_generation_at_the_stage(scene: Scene) -> None:
    done = scene.deeds().rearm(scene.value(), ANN, reason="prompt fixed", stage="ramp_1", new_users=False)
    flag = scene.flag()
    assert flag is not None
    assert (flag.state, flag.generation, flag.stage, flag.canary_percent) == (State.ARMED, 2, "ramp_1", 1.0)
    assert flag.updated_by == ANN
    assert "armed again: stage ramp_1, 1% of users, because: prompt fixed" in done.said


def test_a_rearm_may_draw_other_users(scene: Scene) -> None:
    scene.deeds().rearm(scene.value(), ANN, reason="fixed", stage="ramp_1", new_users=True)
    flag = scene.flag()
    assert flag is not None
    assert flag.salt != "salt"


def test_the_rearm_is_in_the_history_with_name_origin_and_reason(scene: Scene) -> None:
    scene.deeds().rearm(scene.value(), ANN, reason="prompt fixed", stage="ramp_1", new_users=False)
    last = changes_in(history_of(scene.store, ROLLOUT))[-1]
    assert (last.deed, last.by, last.origin, last.reason) == (Deed.REARM, ANN, ORIGIN, "prompt fixed")


def test_the_rearm_leaves_a_page(scene: Scene, server: MemoryServer) -> None:
    scene.deeds().rearm(scene.value(), ANN, reason="prompt fixed", stage="ramp_1", new_users=False)
    pages = [item.value.decode() for item in server.list(keys.OUTBOX).items]
    assert any("RE_ARMED" in page and "Ann Lee" in page for page in pages)


def test_an_end_removes_the_flag_and_says_why_in_the_history(scene: Scene) -> None:
    scene.deeds().end(scene.value(), ANN, reason="the model is withdrawn")
    assert scene.flag() is None
    last = changes_in(history_of(scene.store, ROLLOUT))[-1]
    assert (last.deed, last.by, last.origin, last.reason) == (Deed.END, ANN, ORIGIN, "the model is withdrawn")


def test_a_trip_by_command_sends_everyone_to_control(server: MemoryServer) -> None:
    scene = Scene(MemoryStore(server), server.clock)
    scene.arm()
    done = scene.deeds().trip(ROLLOUT, ANN, reason="answers are wrong", trigger_id="1.2.x")
    flag = scene.flag()
    assert flag is not None
    assert flag.trip is not None
    assert (flag.trip.by, flag.trip.reason) == (ANN, "answers are wrong")
    assert done.said.startswith(f"{ROLLOUT} is tripped")


def test_a_trip_without_a_flag_names_those_that_there_are(server: MemoryServer) -> None:
    with pytest.raises(NoFlag):
        Scene(MemoryStore(server), server.clock).deeds().trip(ROLLOUT, ANN, reason="x", trigger_id="1.2.x")


# --- what it is bound to ------------------------------------------------------------------------


@pytest.mark.parametrize("button", list(Button))
def test_a_button_does_something_once(scene: Scene, server: MemoryServer, button: Button) -> None:
    """Also where the flag is as it was, as after an acknowledgement or a hold that someone resumed."""
    value = scene.value()
    PRESSES[button](scene.deeds(), value, ANN)
    before = written(server)
    with pytest.raises(Refused, match=r"this was done by Ann Lee \(U0ANN0001\) at"):
        PRESSES[button](scene.deeds(), value, BOB)
    assert written(server) == before


def test_a_hold_that_was_resumed_is_not_held_again_by_a_replay(scene: Scene, server: MemoryServer) -> None:
    value = scene.value()
    scene.deeds().hold(value, ANN, "")
    scene.store.commit((), [Delete(keys.hold(ROLLOUT))])
    with pytest.raises(Refused, match="a button can be used once"):
        scene.deeds().hold(value, ANN, "")
    assert scene.store.get(keys.hold(ROLLOUT)) is None


def test_one_press_leaves_the_other_buttons_of_the_message(scene: Scene) -> None:
    value = scene.value()
    scene.deeds().acknowledge(value, ANN)
    scene.deeds().hold(value, BOB, "")
    scene.deeds().rearm(value, ANN, reason="fixed", stage="ramp_1", new_users=False)


@pytest.mark.parametrize("button", list(Button))
def test_a_message_of_an_earlier_generation_does_nothing(scene: Scene, server: MemoryServer, button: Button) -> None:
    """Generation 1's button is pressed when generation 2 has tripped as well."""
    old = scene.value()
    scene.by_hand.rearm(ROLLOUT, reason="x", percent=1.0, stage="ramp_1", page=_re_armed)
    scene.trip()
    before = written(server)
    with pytest.raises(Refused, match="about generation 1 of support-copilot, and it is in generation 2 now"):
        PRESSES[button](scene.deeds(), old, ANN)
    assert written(server) == before


@pytest.mark.parametrize("button", list(Button))
def test_a_message_from_before_another_change_does_nothing(scene: Scene, server: MemoryServer, button: Button) -> None:
    """The same generation, but pinned since."""
    old = scene.value()
    scene.pin()
    before = written(server)
    with pytest.raises(Refused, match="was changed after this message was sent"):
        PRESSES[button](scene.deeds(), old, ANN)
    assert written(server) == before


@pytest.mark.parametrize("button", list(Button))
def test_a_message_about_an_ended_rollout_does_nothing(scene: Scene, server: MemoryServer, button: Button) -> None:
    old = scene.value()
    scene.by_hand.end(ROLLOUT)
    before = written(server)
    with pytest.raises(Refused, match="has no flag any more"):
        PRESSES[button](scene.deeds(), old, ANN)
    assert written(server) == before


@pytest.mark.parametrize("button", list(Button))
def test_an_expired_button_does_nothing(scene: Scene, server: MemoryServer, button: Button) -> None:
    value = replace(scene.value(), expires_at=int(scene.clock.wall()))
    before = written(server)
    with pytest.raises(Refused, match="too old; use the command line"):
        PRESSES[button](scene.deeds(), value, ANN)
    assert written(server) == before


# --- the store has the last word ----------------------------------------------------------------


@pytest.mark.parametrize("button", list(Button))
def test_the_store_itself_refuses_a_flag_that_changed_in_between(
    scene: Scene, server: MemoryServer, button: Button
) -> None:
    """Everything was checked; then, before the transaction arrives, someone else pins the rollout."""
    store = MemoryStore(server, "slack")
    value = scene.value()
    store.fault = _once_before_commit(scene.pin)
    with pytest.raises(Refused, match="was changed after this message was sent"):
        PRESSES[button](scene.deeds(store), value, ANN)
    flag = scene.flag()
    assert flag is not None
    assert flag.state is State.PINNED
    assert server.list(keys.PRESSES).items == ()


@pytest.mark.parametrize("button", [Button.HOLD, Button.REARM, Button.END])
def test_of_two_who_press_at_once_one_does_it(scene: Scene, server: MemoryServer, button: Button) -> None:
    """Bob's press is carried out while Ann's is on its way to the store."""
    store = MemoryStore(server, "ann")
    value = scene.value()
    store.fault = _once_before_commit(lambda: PRESSES[button](scene.deeds(), value, BOB))
    with pytest.raises(Refused, match=r"this was done by Bob"):
        PRESSES[button](scene.deeds(store), value, ANN)
    assert [one.by for one in changes_in(history_of(scene.store, ROLLOUT)) if one.origin == ORIGIN] == [BOB]


def test_a_hold_that_was_resumed_in_between_is_not_held_again(scene: Scene, server: MemoryServer) -> None:
    """The same press on two replicas: one has done it, and someone has resumed, before the other's transaction."""
    store = MemoryStore(server, "second replica")
    value = scene.value()

    def held_and_resumed() -> None:
        scene.deeds().hold(value, ANN, "")
        scene.store.commit((), [Delete(keys.hold(ROLLOUT))])

    store.fault = _once_before_commit(held_and_resumed)
    with pytest.raises(Refused, match="this was done by Ann"):
        scene.deeds(store).hold(value, ANN, "")
    assert scene.store.get(keys.hold(ROLLOUT)) is None


def test_of_two_who_acknowledge_at_once_the_first_has_it(scene: Scene, server: MemoryServer) -> None:
    store = MemoryStore(server, "ann")
    value = scene.value()
    store.fault = _once_before_commit(lambda: scene.deeds().acknowledge(value, BOB))
    assert scene.deeds(store).acknowledge(value, ANN).said.startswith(f"{BOB} looks after")


@pytest.mark.parametrize("button", list(Button))
def test_a_lost_answer_is_read_again(scene: Scene, server: MemoryServer, button: Button) -> None:
    """The store has done it, and its answer did not arrive: it is reported as done."""
    store = MemoryStore(server, "ann")
    store.fault = lambda call: Fault.LOSE_ANSWER if _changes_flag(call) else None
    done = PRESSES[button](scene.deeds(store), scene.value(), ANN)
    assert done.said
    assert len(server.list(keys.PRESSES).items) == 1


@pytest.mark.parametrize("button", list(Button))
@pytest.mark.parametrize("when", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
def test_a_replica_that_dies_as_it_does_it_leaves_one_effect(
    scene: Scene, server: MemoryServer, button: Button, when: Fault
) -> None:
    """The person presses again, on another replica: it is done then, or it had been."""
    dying = MemoryStore(server, "dying")
    dying.fault = lambda call: when if _changes_flag(call) else None
    value = scene.value()
    with pytest.raises(Crash):
        PRESSES[button](scene.deeds(dying), value, ANN)
    if when is Fault.CRASH_BEFORE:
        PRESSES[button](scene.deeds(), value, ANN)
    else:
        with pytest.raises(Refused, match="this was done by Ann"):
            PRESSES[button](scene.deeds(), value, ANN)
    assert len([one for one in changes_in(history_of(scene.store, ROLLOUT)) if one.origin == ORIGIN]) == 1


@pytest.mark.parametrize("button", [Button.ACKNOWLEDGE, Button.HOLD])
def test_an_unknown_outcome_is_not_reported_as_done(scene: Scene, server: MemoryServer, button: Button) -> None:
    store = MemoryStore(server, "ann")
    store.fault = lambda call: Fault.APPLY_LATER if _changes_flag(call) else None
    with pytest.raises(OutcomeUnknown):
        PRESSES[button](scene.deeds(store), scene.value(), ANN)


@pytest.mark.parametrize("button", list(Button))
def test_a_store_that_is_down_changes_nothing(scene: Scene, server: MemoryServer, button: Button) -> None:
    store = MemoryStore(server, "ann")
    value = scene.value()
    store.fault = lambda _: Fault.FAIL_BEFORE
    with pytest.raises(Unavailable):
        PRESSES[button](scene.deeds(store), value, ANN)


def _changes_flag(call: Call) -> bool:
    return call.name == "commit"


def _once_before_commit(do: Callable[[], object]) -> Callable[[Call], Fault | None]:
    left = [do]

    def fault(call: Call) -> Fault | None:
        if call.name == "commit" and left:
            left.pop()()
        return None

    return fault


# --- slash commands -----------------------------------------------------------------------------


def test_a_command_that_is_delivered_twice_trips_once(server: MemoryServer) -> None:
    """Re-armed in between: the second delivery must not trip the next generation."""
    scene = Scene(MemoryStore(server), server.clock)
    scene.arm()
    scene.deeds().trip(ROLLOUT, ANN, reason="x", trigger_id="1.2.x")
    scene.deeds().rearm(scene.value(), ANN, reason="fixed", stage="ramp_1", new_users=False)
    with pytest.raises(Refused, match=r"was carried out by Ann Lee"):
        scene.deeds().trip(ROLLOUT, ANN, reason="x", trigger_id="1.2.x")
    flag = scene.flag()
    assert flag is not None
    assert flag.armed


def test_another_command_may_trip_again(server: MemoryServer) -> None:
    scene = Scene(MemoryStore(server), server.clock)
    scene.arm()
    scene.deeds().trip(ROLLOUT, ANN, reason="x", trigger_id="1.2.x")
    scene.deeds().rearm(scene.value(), ANN, reason="fixed", stage="ramp_1", new_users=False)
    assert "is tripped" in scene.deeds().trip(ROLLOUT, ANN, reason="x", trigger_id="3.4.y").said


def test_a_second_trip_says_that_it_was_tripped(scene: Scene) -> None:
    said = scene.deeds().trip(ROLLOUT, ANN, reason="x", trigger_id="1.2.x").said
    assert "already tripped (incident support-copilot.1); nothing was changed" in said


def test_a_hold_by_command_is_done_once(scene: Scene) -> None:
    scene.deeds().hold_now(ROLLOUT, ANN, reason="x", trigger_id="1.2.x")
    with pytest.raises(Refused, match="this was done by Ann"):
        scene.deeds().hold_now(ROLLOUT, ANN, reason="x", trigger_id="1.2.x")


def test_the_dialog_of_a_command_is_bound_to_the_flag_of_now(scene: Scene) -> None:
    stored, value = scene.deeds().binding(ROLLOUT, "1.2.x")
    assert (value.generation, value.revision, value.nonce) == (1, stored.revision, nonce_of("1.2.x"))
    assert value.expires_at > scene.clock.wall()


# --- a re-arm gives no more than the command line, and less --------------------------------------


def test_no_stage_above_the_one_before_the_trip(scene: Scene) -> None:
    flag = scene.flag()
    assert flag is not None
    assert scene.deeds().stages(flag) == {"ramp_1": 1.0, "ramp_5": 5.0}
    with pytest.raises(Refused, match="stage ramp_25 is not one"):
        scene.deeds().rearm(scene.value(), ANN, reason="x", stage="ramp_25", new_users=False)


def test_a_pinned_rollout_is_not_rearmed(server: MemoryServer) -> None:
    scene = Scene(MemoryStore(server), server.clock)
    scene.arm()
    scene.pin()
    with pytest.raises(Refused, match="is pinned at 0 %"):
        scene.deeds().rearm(scene.value(), ANN, reason="x", stage="ramp_1", new_users=False)
    with pytest.raises(IllegalTransition):
        scene.deeds().end(scene.value(), ANN, reason="x")


def test_a_rollout_tripped_in_shadow_needs_the_command_line(server: MemoryServer) -> None:
    """A dialog begins with users; in shadow no user had the canary."""
    scene = Scene(MemoryStore(server), server.clock)
    scene.arm("shadow", 0.0)
    scene.trip()
    with pytest.raises(Refused, match="tripped in stage shadow"):
        scene.deeds().rearm(scene.value(), ANN, reason="x", stage="ramp_1", new_users=False)


def test_a_plans_own_stage_has_the_plans_percent(server: MemoryServer) -> None:
    plan = "plan:\n  stages:\n    - {stage: tiny, percent: 2%, for: 1h}\n    - {stage: ramp_5, for: 1h}\n"
    scene = Scene(MemoryStore(server), server.clock, rules=RULES + plan)
    scene.arm()
    scene.trip()
    scene.deeds().rearm(scene.value(), ANN, reason="x", stage="tiny", new_users=False)
    flag = scene.flag()
    assert flag is not None
    assert (flag.stage, flag.canary_percent) == ("tiny", 2.0)


def test_a_reason_that_says_nothing_is_refused(scene: Scene) -> None:
    with pytest.raises(IllegalTransition, match="say why"):
        scene.deeds().rearm(scene.value(), ANN, reason=" \u200b", stage="ramp_1", new_users=False)


def test_the_note_of_a_press_outlives_its_button(scene: Scene, server: MemoryServer) -> None:
    value = replace(scene.value(), expires_at=int(scene.clock.wall()) + 1000)
    scene.deeds().acknowledge(value, ANN)
    scene.clock.advance(1000.0 + GRACE - 1)
    assert len(server.list(keys.PRESSES).items) == 1
    scene.clock.advance(2.0)
    assert server.list(keys.PRESSES).items == ()
