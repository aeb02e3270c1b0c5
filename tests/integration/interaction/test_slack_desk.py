"""Presses, dialogs and commands over real HTTP and a real etcd: who may, what it does, and what the person reads."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from killswitch.flags.change import Deed
from killswitch.interaction.dialogs import LIVE_FOR
from killswitch.interaction.workers import MAX_WAITING_OF_ONE
from killswitch.pages.receivers.slack_buttons import Button, to_value
from tests.doubles.clock import VirtualClock
from tests.doubles.http_double import Answer
from tests.doubles.slack_payloads import ANN, BOB, CHANNEL, EVE, MESSAGE, press, submission
from tests.doubles.slack_workspace import BOT_TOKEN, GROUP, SlackWorkspace
from tests.integration.interaction.pressing import changes, pressed, refused, submitted
from tests.integration.interaction.replicas import Replica
from tests.unit.interaction.pressed import ROLLOUT, Scene, rollouts

# --- buttons ------------------------------------------------------------------------------------


def test_a_person_of_the_list_acknowledges(one: Replica, scene: Scene) -> None:
    assert pressed(one, Button.ACKNOWLEDGE) == f"you look after {ROLLOUT}, generation 1"
    assert changes(scene) == [(Deed.ACKNOWLEDGE, f"Ann Lee ({ANN})")]
    assert one.counted == {("acknowledge", "done"): 1}


def test_a_member_of_a_group_of_the_list_holds(one: Replica, scene: Scene, slack: SlackWorkspace) -> None:
    """And everyone reads it in the message's thread."""
    assert pressed(one, Button.HOLD, user=BOB).startswith("held: no step up of support-copilot")
    assert changes(scene) == [(Deed.HOLD, f"Bob ({BOB})")]
    ((method, given),) = slack.posts
    assert (method, given["channel"], given["thread_ts"]) == ("chat.postMessage", CHANNEL, MESSAGE)
    assert given["text"].startswith(f"Bob ({BOB}) holds the plan")


def test_the_answer_is_for_the_person_alone(one: Replica, slack: SlackWorkspace) -> None:
    pressed(one, Button.ACKNOWLEDGE)
    assert slack.answers[-1]["response_type"] == "ephemeral"
    assert slack.answers[-1]["replace_original"] is False


def test_a_rearm_asks_first_and_then_arms(one: Replica, scene: Scene, slack: SlackWorkspace) -> None:
    assert pressed(one, Button.REARM) == ""
    assert changes(scene) == []
    view = slack.views[-1]
    shown = json.dumps(view["blocks"], ensure_ascii=False)
    assert "Is the breach still visible?" in shown
    assert "It cannot be seen: a tripped canary has no requests to judge" in shown
    assert "Whether routers have followed the trip is UNKNOWN" in shown
    assert "by kill-1: refusal_rate 8.7% over control" in shown
    said = submitted(one, view, reason="prompt fixed", stage="ramp_5", new_users=True)
    assert said == f"{ROLLOUT} is armed again: stage ramp_5, 5% of users, because: prompt fixed"
    flag = scene.flag()
    assert flag is not None
    assert (flag.generation, flag.stage, flag.salt != "salt") == (2, "ramp_5", True)
    assert changes(scene) == [(Deed.REARM, f"Ann Lee ({ANN})")]


def test_an_end_asks_first_and_then_ends(one: Replica, scene: Scene, slack: SlackWorkspace) -> None:
    assert pressed(one, Button.END) == ""
    assert scene.flag() is not None
    assert submitted(one, slack.views[-1], reason="withdrawn").startswith(f"{ROLLOUT} has ended")
    assert scene.flag() is None
    assert "Why: withdrawn" in slack.posts[-1][1]["text"]


def test_a_dialog_without_a_reason_is_not_taken(one: Replica, scene: Scene, slack: SlackWorkspace) -> None:
    """Slack shows what is missing at the input, and nothing was done."""
    pressed(one, Button.REARM)
    taken = one.desk.interaction(submission(slack.views[-1], reason="  "))
    assert taken is not None
    assert taken.payload == {
        "response_action": "errors",
        "errors": {"reason": "Say why. It is kept in the history of the flag."},
    }
    one.settled()
    assert changes(scene) == []


def test_a_dialog_that_was_open_for_long_is_refused(
    one: Replica, scene: Scene, slack: SlackWorkspace, clock: VirtualClock
) -> None:
    pressed(one, Button.REARM)
    clock.advance(LIVE_FOR + 1)
    assert "open for more than 15 minutes" in submitted(one, slack.views[-1])
    assert changes(scene) == []


def test_a_forged_stage_in_a_dialog_is_refused(one: Replica, scene: Scene, slack: SlackWorkspace) -> None:
    pressed(one, Button.REARM)
    payload = submission(slack.views[-1])
    payload["view"]["state"]["values"]["stage"]["stage"]["selected_option"] = {"value": "full"}
    one.desk.interaction(payload)
    one.settled()
    assert "stage full is not one" in slack.said()[-1]
    assert changes(scene) == []


def test_hostile_texts_are_no_markup(one: Replica, slack: SlackWorkspace) -> None:
    slack.people[ANN]["profile"]["display_name"] = "<!channel> & <https://evil.example|Ann>"
    pressed(one, Button.HOLD)
    text = slack.posts[-1][1]["text"]
    assert "<" not in text
    assert "&lt;!channel&gt; &amp; " in text


# --- who may not --------------------------------------------------------------------------------


@pytest.mark.parametrize("button", list(Button))
def test_anyone_else_in_the_channel_may_not(one: Replica, scene: Scene, button: Button) -> None:
    said = pressed(one, button, user=EVE)
    refused(one, scene, said)
    assert "you may not press buttons of support-copilot" in said


@pytest.mark.parametrize("button", list(Button))
@pytest.mark.parametrize("page", ["page: {slack_allow: []}", ""])
def test_without_a_list_no_button_works(one: Replica, scene: Scene, button: Button, page: str) -> None:
    scene.rollouts = rollouts(f"rollout: {ROLLOUT}\ncontrol: model-old\ncanary: model-new\n{page}\n")
    said = pressed(one, button)
    refused(one, scene, said)
    assert "no one may press buttons of support-copilot" in said


def test_without_a_rule_file_no_button_works(one: Replica, scene: Scene) -> None:
    scene.rollouts = rollouts("rollout: another\ncontrol: a\ncanary: b\npage: {slack_allow: U0ANN0001}\n")
    refused(one, scene, pressed(one, Button.HOLD))


def test_another_workspace_may_not(one: Replica, scene: Scene) -> None:
    said = pressed(one, Button.HOLD, team="T0FOREIGN", home="T0FOREIGN")
    refused(one, scene, said)
    assert "another workspace" in said


def test_an_outsider_in_a_shared_channel_may_not(one: Replica, scene: Scene, slack: SlackWorkspace) -> None:
    """Even if the list names the id: by the press, and by the profile."""
    refused(one, scene, pressed(one, Button.HOLD, home="T0FOREIGN"))
    slack.people[ANN] |= {"is_stranger": True, "team_id": "T0FOREIGN"}
    said = pressed(one, Button.HOLD)
    refused(one, scene, said)
    assert "another organisation" in said


@pytest.mark.parametrize("changed", [{"deleted": True}, {"is_bot": True}, {"team_id": "T0FOREIGN"}, {"id": BOB}])
def test_a_profile_that_is_not_of_a_person_here_may_not(
    one: Replica, scene: Scene, slack: SlackWorkspace, changed: dict[str, Any]
) -> None:
    slack.people[ANN] |= changed
    refused(one, scene, pressed(one, Button.HOLD))


@pytest.mark.parametrize("method", ["auth.test", "users.info", "usergroups.users.list"])
@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b'{"ok": false, "error": "missing_scope"}'),
        Answer(429, b"{}", {"Retry-After": "30"}),
        Answer(500, b"oops"),
        Answer(200, b'{"ok": true}'),
        Answer(200, b"[]"),
        Answer(302, b"", {"Location": "https://evil.example/"}),
        Answer(lost=True),
    ],
)
def test_what_slack_does_not_say_allows_no_one(
    one: Replica, scene: Scene, slack: SlackWorkspace, method: str, answer: Answer
) -> None:
    slack.failing[method] = answer
    refused(one, scene, pressed(one, Button.HOLD, user=BOB))


def test_a_member_who_was_removed_may_not_after_a_minute(
    one: Replica, scene: Scene, slack: SlackWorkspace, clock: VirtualClock
) -> None:
    pressed(one, Button.ACKNOWLEDGE, user=BOB)
    slack.groups[GROUP] = []
    clock.advance(61.0)
    assert "you may not press" in pressed(one, Button.HOLD, user=BOB)


def test_someone_removed_while_the_dialog_is_open_may_not(one: Replica, scene: Scene, slack: SlackWorkspace) -> None:
    pressed(one, Button.REARM)
    scene.rollouts = rollouts(
        f"rollout: {ROLLOUT}\ncontrol: model-old\ncanary: model-new\npage: {{slack_allow: {BOB}}}\n"
    )
    assert "you may not press" in submitted(one, slack.views[-1])
    assert changes(scene) == []


def test_another_person_cannot_submit_ones_dialog(one: Replica, scene: Scene, slack: SlackWorkspace) -> None:
    pressed(one, Button.REARM)
    assert "you may not press" in submitted(one, slack.views[-1], user=EVE)
    assert changes(scene) == []


# --- old, twice, at once ------------------------------------------------------------------------


def test_two_replicas_get_one_press_and_one_does_it(two: tuple[Replica, Replica], scene: Scene) -> None:
    """Slack delivers it to both: one effect, and the second answer says who did it."""
    value = scene.value()
    assert pressed(two[0], Button.HOLD, value=value).startswith("held")
    assert f"this was done by Ann Lee ({ANN})" in pressed(two[1], Button.HOLD, value=value)
    assert len(changes(scene)) == 1


def test_two_people_submit_a_rearm_at_once(two: tuple[Replica, Replica], scene: Scene, slack: SlackWorkspace) -> None:
    """On two replicas, in real threads: one is armed again, and the other reads by whom."""
    for replica, user in zip(two, (ANN, BOB), strict=True):
        pressed(replica, Button.REARM, user=user)
    first, second = slack.views
    assert two[0].desk.interaction(submission(first, reason="by ann")) is not None
    assert two[1].desk.interaction(submission(second, reason="by bob", user=BOB)) is not None
    for replica in two:
        replica.settled()
    assert [deed for deed, _ in changes(scene)] == [Deed.REARM]
    said = sorted(slack.said())
    assert sum(one.startswith("Nothing was changed") for one in said) == 1
    assert sum("is armed again" in one for one in said) == 1
    flag = scene.flag()
    assert flag is not None
    assert flag.generation == 2


def test_the_button_of_an_old_message_does_nothing(one: Replica, scene: Scene, slack: SlackWorkspace) -> None:
    old = scene.value()
    pressed(one, Button.REARM)
    submitted(one, slack.views[-1])
    scene.trip()
    said = pressed(one, Button.ACKNOWLEDGE, value=old)
    assert "about generation 1 of support-copilot, and it is in generation 2 now" in said


def test_a_forged_generation_is_refused(one: Replica, scene: Scene) -> None:
    value = scene.value()
    for forged in (
        replace(value, generation=2),
        replace(value, revision=value.revision - 1),
        replace(value, revision=value.revision + 1),
        replace(value, expires_at=1),
    ):
        refused(one, scene, pressed(one, Button.HOLD, value=forged))


def test_a_value_of_another_rollout_asks_its_own_list(one: Replica, scene: Scene) -> None:
    refused(one, scene, pressed(one, Button.HOLD, value=replace(scene.value(), rollout="another")))


def test_a_payload_that_cannot_be_read_is_acknowledged_and_left(one: Replica, scene: Scene) -> None:
    payload = press(Button.HOLD, scene.value())
    payload["actions"][0]["value"] = to_value(scene.value())[:-5]
    assert one.desk.interaction(payload) is not None
    assert one.desk.interaction("[" * 10) is not None
    one.settled()
    assert changes(scene) == []
    assert one.counted[("unreadable", "refused")] == 2


# --- three seconds ------------------------------------------------------------------------------


def test_a_trigger_that_has_expired_is_said_in_words(
    one: Replica, scene: Scene, slack: SlackWorkspace, clock: VirtualClock
) -> None:
    trigger = slack.trigger()
    clock.advance(3.5)
    assert "could not be opened within Slack's three seconds; press again" in pressed(
        one, Button.REARM, trigger=trigger
    )


def test_a_dialog_that_waited_too_long_asks_slack_for_nothing(one: Replica, slack: SlackWorkspace) -> None:
    """The press waited for three seconds behind others."""
    payload = press(Button.REARM, one.scene.value(), trigger=slack.trigger(), response_url=slack.response_url())
    one.workers.submit(lambda: one.scene.clock.advance(3.0))
    one.desk.interaction(payload)
    one.settled()
    assert slack.calls("views.open") == []
    assert slack.said()[-1].startswith("Nothing was changed: ")


def test_one_person_does_not_take_every_place(one: Replica, scene: Scene, slack: SlackWorkspace) -> None:
    """Eve presses again and again while Slack is slow; Ann's press is taken all the same."""
    slack.hang()
    of_eve = press(Button.HOLD, scene.value(), user=EVE, response_url=slack.response_url())
    taken = [one.desk.interaction(of_eve) for _ in range(40)]
    of_ann = one.desk.interaction(press(Button.HOLD, scene.value(), response_url=slack.response_url()))
    slack.release()
    assert sum(one is not None for one in taken) == MAX_WAITING_OF_ONE
    assert of_ann is not None
    one.settled()
    assert changes(scene) == [(Deed.HOLD, f"Ann Lee ({ANN})")]


def test_too_many_presses_are_not_taken(one: Replica, scene: Scene, slack: SlackWorkspace) -> None:
    """So Slack shows that they failed, and nothing was done."""
    slack.hang()
    people = [ANN, *(f"U{number:08d}" for number in range(50))]
    url = slack.response_url()
    taken = [one.desk.interaction(press(Button.HOLD, scene.value(), user=user, response_url=url)) for user in people]
    slack.release()
    assert None in taken
    assert one.counted[("hold", "busy")] >= 1
    one.settled()
    assert len(changes(scene)) == 1


def test_an_answer_that_slack_does_not_take_is_posted_in_the_channel(one: Replica, slack: SlackWorkspace) -> None:
    slack.failing["hooks"] = Answer(404, b"used_url")
    pressed(one, Button.ACKNOWLEDGE)
    method, given = slack.posts[-1]
    assert (method, given["user"]) == ("chat.postEphemeral", ANN)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/hooks/1",
        "http://169.254.169.254/latest/meta-data/",
        "https://hooks.slack.com.evil.example/x",
        "https://hooks.slack.com@evil.example/x",
        "https://user:pw@hooks.slack.com/x",
        "http://hooks.slack.com/x",
        "https://hooks.slack.com:8443/x",
        "file:///etc/passwd",
        "https://hooks.slack.com\n.evil.example/",
        "",
    ],
)
def test_answers_go_to_no_address_but_slacks(one: Replica, slack: SlackWorkspace, url: str) -> None:
    assert not one.api.may_answer(url)
    payload = press(Button.ACKNOWLEDGE, one.scene.value(), response_url=url)
    one.desk.interaction(payload)
    one.settled()
    assert slack.answers == []
    assert slack.posts[-1][0] == "chat.postEphemeral"


def test_no_answer_or_log_holds_a_token(one: Replica, slack: SlackWorkspace, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    slack.failing["users.info"] = Answer(500, BOT_TOKEN.encode())
    pressed(one, Button.HOLD)
    assert "xoxb" not in caplog.text + "".join(slack.said())


def test_a_bug_is_answered_and_ends_no_thread(one: Replica, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one.people, "allowed", lambda *_: 1 / 0)
    assert "Unexpected error" in pressed(one, Button.HOLD)
    assert one.counted == {("hold", "bug"): 1}
    monkeypatch.undo()
    assert pressed(one, Button.HOLD).startswith("held")
