"""The slash command over real HTTP and a real etcd: who may type what, and what they read."""

from __future__ import annotations

from killswitch.flags.change import Deed
from killswitch.interaction.payloads import OTHER_USERS
from killswitch.pages.receivers.slack_buttons import Button
from tests.doubles.slack_payloads import ANN, EVE
from tests.doubles.slack_workspace import SlackWorkspace
from tests.integration.interaction.pressing import changes, commanded, pressed, refused, submitted
from tests.integration.interaction.replicas import Replica
from tests.unit.interaction.pressed import ROLLOUT, Scene


def test_status_needs_no_list_but_a_person_of_this_workspace(one: Replica, slack: SlackWorkspace) -> None:
    assert commanded(one, f"status {ROLLOUT}", user=EVE).startswith(f"{ROLLOUT}: [tripped")
    assert "another workspace" in commanded(one, "status", team="T0FOREIGN")
    slack.people[EVE]["is_stranger"] = True
    one.scene.clock.advance(61.0)
    assert "another organisation" in commanded(one, "status", user=EVE)


def test_status_of_an_unknown_rollout_names_those_that_there_are(one: Replica) -> None:
    assert commanded(one, "status nope").startswith("no rollout is called 'nope'; known rollouts: support-copilot")


def test_trip_by_command(one: Replica, scene: Scene, slack: SlackWorkspace) -> None:
    pressed(one, Button.REARM)
    submitted(one, slack.views[-1])
    said = commanded(one, f"trip {ROLLOUT} answers are wrong")
    assert said.startswith(f"{ROLLOUT} is tripped: all traffic goes to control")
    flag = scene.flag()
    assert flag is not None
    assert flag.trip is not None
    assert flag.trip.reason == "answers are wrong"
    assert changes(scene)[-1] == (Deed.TRIP, f"Ann Lee ({ANN})")


def test_trip_and_hold_and_rearm_by_command_need_the_list(one: Replica, scene: Scene) -> None:
    for verb in ("trip", "hold", "rearm"):
        refused(one, scene, commanded(one, f"{verb} {ROLLOUT} why", user=EVE))


def test_a_command_that_slack_repeats_is_done_once(two: tuple[Replica, Replica], scene: Scene) -> None:
    trigger = two[0].slack.trigger()
    assert commanded(two[0], f"hold {ROLLOUT} why", trigger=trigger).startswith("held")
    assert "this was done by Ann" in commanded(two[1], f"hold {ROLLOUT} why", trigger=trigger)
    assert len(changes(scene)) == 1


def test_rearm_by_command_opens_the_same_dialog(one: Replica, scene: Scene, slack: SlackWorkspace) -> None:
    assert commanded(one, f"rearm {ROLLOUT}") == ""
    view = slack.views[-1]
    users = next(block for block in view["blocks"] if block.get("block_id") == "users")
    assert users["element"]["options"][0]["value"] == OTHER_USERS
    assert "is armed again" in submitted(one, view)
    assert len(changes(scene)) == 1


def test_help_and_anything_else_say_what_there_is(one: Replica, slack: SlackWorkspace) -> None:
    """Without asking anyone."""
    for text in ("", "help", "selfdestruct now"):
        assert "`/killswitch trip ROLLOUT why`" in commanded(one, text)
    assert slack.received == []
    assert "name a rollout" in commanded(one, "trip")


def test_a_command_about_an_unknown_rollout_names_those_that_there_are(one: Replica) -> None:
    assert "no rollout is called 'nope'; known rollouts: support-copilot" in commanded(one, "trip nope why")
