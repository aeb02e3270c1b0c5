"""People press buttons on the page of a real fleet: two processes, etcd, Prometheus, and a Slack with its socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from killswitch.flags.change import Deed
from killswitch.pages.receivers.slack_buttons import Button, ButtonValue, button_of, from_value
from killswitch.trips.flag_history import changes_in, history_of
from tests.doubles.slack import Message, bad_gateway
from tests.doubles.slack_payloads import ANN, BOB, EVE, command, press, submission
from tests.doubles.slack_socket import SlackSocketDouble
from tests.doubles.slack_workspace import APP_TOKEN, SlackWorkspace
from tests.faults.fleet import ROLLOUT, Fleet, rules_of
from tests.faults.service import HEALTHY
from tests.servers.etcd import wait_until


class Pressed:
    """A fleet whose canary was tripped, and people in its Slack."""

    def __init__(self, fleet: Fleet, slack: SlackWorkspace, socket: SlackSocketDouble) -> None:
        self.fleet = fleet
        self.slack = slack
        self.socket = socket

    @property
    def message(self) -> Message:
        """The message of the newest incident."""
        return self.slack.in_channel[-1]

    def buttons(self) -> dict[Button, ButtonValue]:
        """Those on the newest message, with what they are bound to."""
        elements = [one for block in self.message.blocks if block["type"] == "actions" for one in block["elements"]]
        found = {button_of(one["action_id"]): from_value(one["value"]) for one in elements}
        return {button: value for button, value in found.items() if button is not None}

    def press(self, button: Button, value: ButtonValue, *, user: str = ANN, to: int = 0) -> None:
        answers = self.slack.response_url().replace(self.slack.url, self.origin(to))
        payload = press(button, value, user=user, trigger=self.slack.trigger(), response_url=answers)
        assert self.socket.deliver("interactive", payload, to=to).wait()

    def origin(self, number: int) -> str:
        """Slack as one replica reaches it. Which replica has which connection is not known, so both may answer."""
        base = urlsplit(self.fleet.replicas[number].environment["KILLSWITCH_SLACK_BASE_URL"])
        return f"{base.scheme}://{base.netloc}"

    def deeds(self) -> list[tuple[Deed, str]]:
        lines = changes_in(history_of(self.fleet.store, ROLLOUT))
        return [(one.deed, one.by) for one in lines if one.origin == "Slack"]

    def said(self, text: str) -> bool:
        return any(text in one for one in (*self.slack.said(), *(given["text"] for _, given in self.slack.posts)))


@pytest.fixture
def pressed(tmp_path: Path) -> Iterator[Pressed]:
    (tmp_path / "app-token").write_text(APP_TOKEN)

    def rules(name: str) -> str:
        return rules_of(name).replace("page: {", f"page: {{slack_allow: [{ANN}, {BOB}], ")

    settings = {"SLACK_APP_TOKEN_FILE": str(tmp_path / "app-token")}
    with ExitStack() as stack:
        socket = stack.enter_context(SlackSocketDouble())
        fleet = Fleet(tmp_path / "fleet", rules=rules, settings=settings)
        fleet.slack = slack = SlackWorkspace(socket_url=socket.url)
        stack.enter_context(fleet)
        fleet.start()
        assert socket.wait_for(2)
        fleet.fail()
        fleet.until_tripped()
        scene = Pressed(fleet, slack, socket)
        wait_until(lambda: bool(slack.in_channel) and len(scene.buttons()) == 4, "a page with buttons", 60)
        yield scene


def test_people_acknowledge_rearm_and_trip_from_slack(pressed: Pressed) -> None:
    """The whole way: page, acknowledge, dialog, re-arm, an old button, a person who may not, and a trip by command."""
    fleet, slack = pressed.fleet, pressed.slack
    old = pressed.buttons()

    pressed.press(Button.END, old[Button.END], user=EVE)
    wait_until(lambda: pressed.said("you may not press buttons of copilot"), "Eve is refused", 30)
    assert slack.views == []

    pressed.press(Button.ACKNOWLEDGE, old[Button.ACKNOWLEDGE])
    wait_until(lambda: "Ann Lee" in str(pressed.message.blocks), "the message names who looks after it", 60)
    wait_until(lambda: Button.ACKNOWLEDGE not in pressed.buttons(), "one button less", 60)
    pressed.press(Button.ACKNOWLEDGE, old[Button.ACKNOWLEDGE], user=BOB, to=1)
    wait_until(lambda: pressed.said(f"this was done by Ann Lee ({ANN})"), "Bob reads who was first", 30)

    fleet.service.set(HEALTHY)
    pressed.press(Button.REARM, pressed.buttons()[Button.REARM], to=1)
    wait_until(lambda: len(slack.views) == 1, "the dialog", 30)
    assert pressed.socket.deliver("interactive", submission(slack.views[0], reason="prompt fixed"), to=0).wait()
    wait_until(fleet.armed, "armed again", 30)
    assert fleet.flag().generation == 2
    assert fleet.flag().updated_by == f"Ann Lee ({ANN})"
    wait_until(lambda: not _actions(slack.in_channel[0]), "the old message has no buttons any more", 60)

    pressed.press(Button.REARM, old[Button.REARM], user=BOB)
    wait_until(lambda: pressed.said("about generation 1 of copilot, and it is in generation 2 now"), "refused", 30)
    assert fleet.armed()

    asked = command(f"trip {ROLLOUT} answers are wrong", user=BOB, trigger=slack.trigger())
    assert pressed.socket.deliver("slash_commands", asked, to=1).wait()
    wait_until(lambda: not fleet.armed(), "tripped by command", 30)
    assert pressed.deeds() == [
        (Deed.ACKNOWLEDGE, f"Ann Lee ({ANN})"),
        (Deed.REARM, f"Ann Lee ({ANN})"),
        (Deed.TRIP, f"Bob ({BOB})"),
    ]
    fleet.check()


def test_a_dead_socket_holds_up_no_trip_and_is_told_by_the_metric(pressed: Pressed) -> None:
    """Slack hangs, its socket is cut; a person's trip and the pages' state go on, and the metric says 0, then 1."""
    fleet, slack = pressed.fleet, pressed.slack

    def connected() -> float:
        return fleet.replicas[0].metric("killswitch_slack_socket_connected")

    wait_until(lambda: connected() == 1.0, "connected", 30)
    slack.failing["apps.connections.open"] = bad_gateway()
    for left in (1, 0):
        pressed.socket.cut()
        assert pressed.socket.wait_for(left)
    wait_until(lambda: connected() == 0.0, "the metric says that it is gone", 60)
    fleet.service.set(HEALTHY)
    fleet.rearm()
    fleet.until_healthy(*fleet.replicas)
    fleet.fail()
    fleet.until_tripped()
    del slack.failing["apps.connections.open"]
    wait_until(lambda: connected() == 1.0, "connected again", 90)
    fleet.check()


def test_a_replica_with_presses_that_hang_ends_in_time(pressed: Pressed) -> None:
    """Slack hangs while presses wait; SIGTERM ends the replica as it does without them."""
    value = pressed.buttons()[Button.HOLD]
    pressed.slack.hang()
    for to in (0, 1):
        pressed.press(Button.HOLD, value, to=to)
    for replica in pressed.fleet.replicas:
        replica.terminate()
    codes = [replica.wait(15) for replica in pressed.fleet.replicas]
    pressed.slack.release()
    assert codes == [0, 0]


def _actions(message: Message) -> list[dict[str, Any]]:
    return [block for block in message.blocks if block["type"] == "actions"]
