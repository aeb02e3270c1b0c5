"""The socket to Slack: envelopes are acknowledged in time and carried out once, and a dead socket comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from killswitch.errors import Refused
from killswitch.flags.change import Deed
from killswitch.interaction.socket_mode import MAX_ENVELOPE, checked_address
from killswitch.pages.receivers.slack_buttons import Button
from killswitch.trips.flag_history import changes_in, history_of
from tests.doubles.http_double import Answer
from tests.doubles.slack_payloads import command, press, submission
from tests.doubles.slack_socket import SlackSocketDouble
from tests.doubles.slack_workspace import SlackWorkspace
from tests.integration.interaction.replicas import Replica
from tests.servers.etcd import wait_until
from tests.unit.interaction.pressed import ROLLOUT, Scene

SLACK = "https://slack.com/api/"


@pytest.fixture
def connected(one: Replica, socket: SlackSocketDouble) -> Replica:
    one.socket.start()
    assert socket.wait_for(1)
    return one


def changes(scene: Scene) -> list[Deed]:
    return [one.deed for one in changes_in(history_of(scene.store, ROLLOUT)) if one.origin == "Slack"]


def pressed(replica: Replica, button: Button, **given: Any) -> dict[str, Any]:
    slack = replica.slack
    return press(button, replica.scene.value(), trigger=slack.trigger(), response_url=slack.response_url(), **given)


def test_a_press_is_acknowledged_and_carried_out(connected: Replica, socket: SlackSocketDouble, scene: Scene) -> None:
    assert socket.deliver("interactive", pressed(connected, Button.ACKNOWLEDGE)).wait()
    connected.settled()
    assert changes(scene) == [Deed.ACKNOWLEDGE]


def test_the_acknowledgement_waits_for_no_server(
    connected: Replica, socket: SlackSocketDouble, slack: SlackWorkspace
) -> None:
    """Slack's Web API hangs, and the acknowledgement comes within its three seconds all the same."""
    payload = pressed(connected, Button.HOLD)
    slack.hang()
    assert socket.deliver("interactive", payload).wait()
    slack.release()
    connected.settled()


def test_a_dialog_and_its_problems_go_over_the_socket(
    connected: Replica, socket: SlackSocketDouble, slack: SlackWorkspace, scene: Scene
) -> None:
    assert socket.deliver("interactive", pressed(connected, Button.REARM)).wait()
    connected.settled()
    bare = socket.deliver("interactive", submission(slack.views[-1], reason=""))
    assert bare.wait()
    assert bare.payload is not None
    assert bare.payload["response_action"] == "errors"
    whole = socket.deliver("interactive", submission(slack.views[-1]))
    assert whole.wait()
    assert whole.payload is None
    connected.settled()
    assert changes(scene) == [Deed.REARM]


def test_a_command_and_its_help(connected: Replica, socket: SlackSocketDouble, slack: SlackWorkspace) -> None:
    helped = socket.deliver("slash_commands", command("help"))
    assert helped.wait()
    assert helped.payload is not None
    assert "/killswitch trip" in helped.payload["text"]
    asked = socket.deliver("slash_commands", command("status", response_url=slack.response_url()))
    assert asked.wait()
    connected.settled()
    assert slack.said()[-1].startswith(f"{ROLLOUT}: [tripped")


def test_an_envelope_twice_on_one_socket_is_carried_out_once(
    connected: Replica, socket: SlackSocketDouble, scene: Scene, slack: SlackWorkspace
) -> None:
    payload = pressed(connected, Button.HOLD)
    first = socket.deliver("interactive", payload)
    assert first.wait()
    socket.deliver("interactive", payload, again=first)
    last = socket.deliver("events_api", {"event": {}})
    assert last.wait()
    connected.settled()
    assert changes(scene) == [Deed.HOLD]
    assert len(slack.said()) == 1


def test_an_envelope_on_two_sockets_is_carried_out_once(
    two: tuple[Replica, Replica], socket: SlackSocketDouble, scene: Scene, slack: SlackWorkspace
) -> None:
    """Both replicas get it: both acknowledge, one does it, and the person reads both."""
    for number, replica in enumerate(two, 1):
        replica.socket.start()
        assert socket.wait_for(number)
    payload = pressed(two[0], Button.HOLD)
    envelopes = [socket.deliver("interactive", payload, to=number) for number in (0, 1)]
    assert all(envelope.wait() for envelope in envelopes)
    for replica in two:
        replica.settled()
    assert changes(scene) == [Deed.HOLD]
    assert sorted(one.partition(":")[0] for one in slack.said()) == ["Nothing was changed", "held"]


def test_what_is_not_taken_is_not_acknowledged(
    connected: Replica, socket: SlackSocketDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slack shows the person that it failed."""
    monkeypatch.setattr(connected.workers, "submit", lambda _: False)
    envelope = socket.deliver("interactive", pressed(connected, Button.HOLD))
    _until(lambda: connected.counted == {("hold", "busy"): 1})
    assert socket.deliver("events_api", {"event": {}}).wait()
    assert envelope.count == 0


def test_other_kinds_are_acknowledged_and_left(connected: Replica, socket: SlackSocketDouble, scene: Scene) -> None:
    assert socket.deliver("events_api", {"event": {"type": "message"}}).wait()
    assert socket.deliver("interactive", {"type": "shortcut"}).wait()
    assert changes(scene) == []


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "{",
        '{"type": "interactive"}',
        '{"type": "interactive", "envelope_id": "x", "payload": []}',
        '{"type": "interactive", "envelope_id": "x", "payload": {"type": "block_actions"}}',
        '{"type": "interactive", "envelope_id": "x", "payload": {"type": "view_submission"}}',
        "[" * 5000,
        '{"type":"x","pad":"' + "y" * (MAX_ENVELOPE + 10) + '"}',
    ],
)
def test_hostile_frames_leave_the_socket_working(
    connected: Replica, socket: SlackSocketDouble, scene: Scene, text: str
) -> None:
    socket.raw(text)
    assert socket.deliver("interactive", pressed(connected, Button.ACKNOWLEDGE)).wait()
    connected.settled()
    assert changes(scene) == [Deed.ACKNOWLEDGE]


# --- staying connected --------------------------------------------------------------------------


def test_slack_asks_for_another_connection(
    connected: Replica, socket: SlackSocketDouble, slack: SlackWorkspace
) -> None:
    """As it does every few hours: a new one is opened with a new address, and the old one is closed."""
    socket.ask_to_reconnect()
    assert socket.wait_for(2)
    assert socket.wait_for(1)
    assert slack.opened == 2
    assert socket.deliver("interactive", pressed(connected, Button.HOLD)).wait()


def test_a_socket_that_ends_without_a_word_comes_back(
    connected: Replica, socket: SlackSocketDouble, slack: SlackWorkspace
) -> None:
    socket.cut()
    assert socket.wait_for(0)
    assert socket.wait_for(1)
    assert slack.opened == 2
    assert socket.deliver("interactive", pressed(connected, Button.HOLD)).wait()


def test_failures_are_waited_out_and_said(
    one: Replica, socket: SlackSocketDouble, slack: SlackWorkspace, caplog: pytest.LogCaptureFixture
) -> None:
    """Too many requests, a proxy's page, a refused token; then it is connected, and the metric says so."""
    slack.failing["apps.connections.open"] = Answer(429, b"{}", {"Retry-After": "0"})
    one.socket.start()
    _until(lambda: len(slack.calls("apps.connections.open")) >= 2)
    slack.failing["apps.connections.open"] = Answer(200, b'{"ok": false, "error": "invalid_auth"}')
    _until(lambda: "invalid_auth; check the token" in caplog.text)
    assert True not in one.connected
    del slack.failing["apps.connections.open"]
    assert socket.wait_for(1)
    _until(lambda: one.connected[-1:] == [True])
    assert one.connected == [False, True]
    socket.cut()
    _until(lambda: one.connected[-2:] == [False, True] and len(one.connected) == 4)


def test_an_address_that_is_used_up_is_asked_for_again(
    one: Replica, socket: SlackSocketDouble, slack: SlackWorkspace
) -> None:
    """Tickets are for one connection."""
    used = socket.url()
    slack.socket_url = lambda: used
    one.socket.start()
    assert socket.wait_for(1)
    socket.cut()
    _until(lambda: socket.refused >= 1)
    slack.socket_url = socket.url
    assert socket.wait_for(1)


def test_a_stopped_socket_stays_closed(connected: Replica, socket: SlackSocketDouble) -> None:
    connected.socket.stop()
    assert socket.wait_for(0)
    _until(lambda: connected.connected[-1:] == [False])
    connected.socket._thread.join(20.0)
    assert not connected.socket._thread.is_alive()
    assert socket.wait_for(0)


def test_neither_log_nor_message_holds_the_token_or_the_ticket(
    connected: Replica, socket: SlackSocketDouble, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    socket.deliver("interactive", pressed(connected, Button.HOLD)).wait()
    socket.ask_to_reconnect()
    assert socket.wait_for(2)
    connected.settled()
    assert "xapp" not in caplog.text
    assert "ticket" not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "ws://wss-primary.slack.com/link",
        "wss://evil.example/link",
        "wss://slack.com.evil.example/link",
        "wss://wss-primary.slack.com:8443/link",
        "http://wss-primary.slack.com/",
        "wss://[::1",
        "",
        None,
        7,
    ],
)
def test_an_address_that_is_not_slacks_or_not_encrypted_is_refused(url: object) -> None:
    """slack-sdk would speak in the clear to any port but 443."""
    with pytest.raises(Refused):
        checked_address(url, SLACK)


def test_slacks_own_addresses_are_taken() -> None:
    for url in ("wss://wss-primary.slack.com/link/?ticket=x", "wss://wss.slack-gov.com:443/link/"):
        assert checked_address(url, SLACK) == url


def _until(holds: Callable[[], bool]) -> None:
    wait_until(holds, "what the test waits for", 20.0)
