"""The Slack double refuses what Slack refuses, with Slack's codes: else our tests against it prove nothing.

Each rule is in Slack's public reference of its Web API, or in an issue of one of its SDKs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import requests

from tests.doubles.clock import VirtualClock
from tests.doubles.slack import TOKEN, TRIGGER_LIVES, SlackDouble

VIEW: dict[str, Any] = {
    "type": "modal",
    "title": {"type": "plain_text", "text": "Re-arm"},
    "submit": {"type": "plain_text", "text": "Re-arm"},
    "blocks": [
        {
            "type": "input",
            "block_id": "reason",
            "label": {"type": "plain_text", "text": "Why"},
            "element": {"type": "plain_text_input", "action_id": "reason"},
        }
    ],
}


class Caller:
    """Calls the double as a client would, and knows what it answered."""

    def __init__(self, slack: SlackDouble, clock: VirtualClock) -> None:
        self.slack = slack
        self.clock = clock

    def call(self, method: str, body: Mapping[str, Any], *, token: str | None = TOKEN, form: bool = False) -> Any:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        address = f"{self.slack.base_url}{method}"
        if form:
            return requests.post(address, data=dict(body), headers=headers, timeout=10).json()
        return requests.post(address, json=dict(body), headers=headers, timeout=10).json()

    def error(self, method: str, body: Mapping[str, Any], **options: Any) -> str:
        answer = self.call(method, body, **options)
        assert answer["ok"] is False
        return str(answer["error"])

    def post(self, **body: Any) -> Any:
        self.clock.advance(1.0)
        return self.call("chat.postMessage", {"channel": "#llm-oncall", "text": "x", **body})


@pytest.fixture
def caller() -> Iterator[Caller]:
    clock = VirtualClock()
    with SlackDouble(channels=["#llm-oncall"], outside=["#elsewhere"], now=clock.monotonic) as slack:
        yield Caller(slack, clock)


def test_tokens_and_scopes(caller: Caller) -> None:
    assert caller.error("auth.test", {}, token=None) == "not_authed"
    assert caller.error("auth.test", {}, token="xoxb-other") == "invalid_auth"
    caller.slack.scopes = {"files:write"}
    answer = caller.call("chat.postMessage", {"channel": "#llm-oncall", "text": "x"})
    assert (answer["error"], answer["needed"], answer["provided"]) == ("missing_scope", "chat:write", "files:write")
    said = requests.post(f"{caller.slack.base_url}auth.test", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10)
    assert said.headers["x-oauth-scopes"] == "files:write"


def test_channels(caller: Caller) -> None:
    assert caller.error("chat.postMessage", {"channel": "#nowhere", "text": "x"}) == "channel_not_found"
    assert caller.error("chat.postMessage", {"channel": "#elsewhere", "text": "x"}) == "not_in_channel"
    caller.slack.scopes.add("chat:write.public")
    assert caller.post(channel="#elsewhere")["ok"]


def test_one_message_a_second_in_each_channel(caller: Caller) -> None:
    assert caller.post()["ok"]
    body = {"channel": "#llm-oncall", "text": "x"}
    address = f"{caller.slack.base_url}chat.postMessage"
    answer = requests.post(address, json=body, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1
    caller.clock.advance(1.0)
    assert caller.call("chat.postMessage", body)["ok"]


def test_fifty_changes_a_minute(caller: Caller) -> None:
    sent = caller.post()
    body = {"channel": sent["channel"], "ts": sent["ts"], "text": "y"}
    assert all(caller.call("chat.update", body)["ok"] for _ in range(50))
    assert caller.error("chat.update", body) == "ratelimited"


def test_only_own_messages_are_changed(caller: Caller) -> None:
    sent = caller.post()
    place = {"channel": sent["channel"], "ts": sent["ts"], "text": "y"}
    assert caller.call("chat.update", place)["ok"]
    assert caller.error("chat.update", {**place, "channel": "#llm-oncall"}) == "channel_not_found"  # an id is needed
    assert caller.error("chat.update", {**place, "ts": "1.2"}) == "message_not_found"
    assert caller.error("chat.update", {**place, "ts": caller.slack.say("hello")}) == "cant_update_message"
    caller.slack.edit_window_closed = True
    assert caller.error("chat.update", place) == "edit_window_closed"


def test_a_reply_to_a_deleted_message_comes_into_the_channel(caller: Caller) -> None:
    """Slack takes it, and its answer has no ``thread_ts``; a parent with replies leaves a placeholder instead."""
    alone, parent = caller.post(), caller.post()
    assert caller.post(thread_ts=parent["ts"])["message"]["thread_ts"] == parent["ts"]
    caller.slack.delete(alone["ts"])
    caller.slack.delete(parent["ts"])
    assert "thread_ts" not in caller.post(thread_ts=alone["ts"])["message"]
    assert caller.post(thread_ts=parent["ts"])["message"]["thread_ts"] == parent["ts"]


def section(length: int) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": "x" * length}}


def button(**changes: Any) -> dict[str, Any]:
    return {"type": "button", "action_id": "a", "text": {"type": "plain_text", "text": "Go"}, "value": "v", **changes}


def actions(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"type": "actions", "elements": list(elements)}


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        (section(3001), "must be less than 3001 characters [json-pointer:/blocks/0/text/text]"),
        (section(0), "must be more than 0 characters [json-pointer:/blocks/0/text/text]"),
        ({"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}, "less than 151 characters"),
        ({"type": "header", "text": {"type": "mrkdwn", "text": "x"}}, "unsupported type: mrkdwn"),
        ({"type": "context", "elements": [section(1)["text"]] * 11}, "no more than 10 items"),
        (actions(*[button(action_id=str(n)) for n in range(26)]), "no more than 25 items"),
        (actions(button(), button()), "`action_id` `a` already exists"),
        (actions(button(action_id="x" * 256)), "less than 256 characters"),
        (actions(button(value="x" * 2001)), "less than 2001 characters"),
        (actions(button(text={"type": "plain_text", "text": "x" * 76})), "less than 76 characters"),
        (actions(button(style="loud")), "valid enum value"),
        (actions(button(accessibility_label="x" * 76)), "less than 76 characters"),
        ({**section(1), "block_id": "x" * 256}, "less than 256 characters"),
        ({"type": "video"}, "unsupported type: video"),
    ],
)
def test_blocks_beyond_their_limits(caller: Caller, block: dict[str, Any], complaint: str) -> None:
    answer = caller.post(blocks=[block])
    assert answer["error"] == "invalid_blocks"
    assert any(complaint in one for one in answer["response_metadata"]["messages"])
    assert all(one.startswith("[ERROR] ") for one in answer["response_metadata"]["messages"])


def test_messages_beyond_their_limits(caller: Caller) -> None:
    assert caller.post(text="")["error"] == "no_text"
    assert caller.post(text="x" * 40_001)["error"] == "msg_too_long"
    assert caller.post(blocks={"type": "section"})["error"] == "invalid_blocks_format"
    assert caller.post(blocks=[section(1)] * 51)["error"] == "invalid_blocks"
    assert caller.post(blocks=[section(2900)] * 5)["error"] == "msg_blocks_too_long"
    same = {**section(1), "block_id": "b"}
    assert caller.post(blocks=[same, same])["error"] == "invalid_blocks"


def test_a_trigger_opens_one_dialog_within_three_seconds(caller: Caller) -> None:
    trigger, late = caller.slack.new_trigger(), caller.slack.new_trigger()
    assert caller.error("views.open", {"trigger_id": "1.2.x", "view": VIEW}) == "invalid_trigger_id"
    assert caller.call("views.open", {"trigger_id": trigger, "view": VIEW})["view"]["id"].startswith("V")
    assert caller.error("views.open", {"trigger_id": trigger, "view": VIEW}) == "exchanged_trigger_id"
    caller.clock.advance(TRIGGER_LIVES + 0.1)
    assert caller.error("views.open", {"trigger_id": late, "view": VIEW}) == "expired_trigger_id"


@pytest.mark.parametrize(
    "changes",
    [
        {"title": {"type": "plain_text", "text": "x" * 25}},
        {"submit": {"type": "plain_text", "text": "x" * 25}},
        {"private_metadata": "x" * 3001},
        {"callback_id": "x" * 256},
        {"blocks": [{"type": "divider"}] * 101},
        {"blocks": [{**VIEW["blocks"][0], "element": button()}]},
    ],
)
def test_dialogs_beyond_their_limits(caller: Caller, changes: dict[str, Any]) -> None:
    view = {**VIEW, **changes}
    assert caller.error("views.open", {"trigger_id": caller.slack.new_trigger(), "view": view}) == "invalid_arguments"


def test_an_input_needs_a_submit_button(caller: Caller) -> None:
    view = {name: value for name, value in VIEW.items() if name != "submit"}
    assert caller.error("views.open", {"trigger_id": caller.slack.new_trigger(), "view": view}) == "invalid_arguments"
    huge = {**VIEW, "state": "x" * 250_000}
    assert caller.error("views.open", {"trigger_id": caller.slack.new_trigger(), "view": huge}) == "view_too_large"


def test_an_upload_takes_three_calls(caller: Caller) -> None:
    asked = {"filename": "a.png", "length": 4, "alt_txt": "a picture"}
    assert caller.error("files.getUploadURLExternal", asked) == "invalid_arguments"  # it takes a form, no JSON
    ticket = caller.call("files.getUploadURLExternal", asked, form=True)
    share = {"files": [{"id": ticket["file_id"]}], "channel_id": "C00000001"}
    assert caller.error("files.completeUploadExternal", share) == "file_not_found"  # its bytes have not come
    with_token = {"Authorization": f"Bearer {TOKEN}"}
    assert requests.post(ticket["upload_url"], data=b"1234", headers=with_token, timeout=10).status_code == 400
    assert requests.post(ticket["upload_url"], data=b"12345", timeout=10).status_code == 400
    assert requests.post(ticket["upload_url"], data=b"1234", timeout=10).status_code == 200
    assert caller.error("files.completeUploadExternal", {**share, "channel_id": "#llm-oncall"}) == "invalid_channel"
    assert caller.call("files.completeUploadExternal", share)["ok"]
    assert caller.error("files.completeUploadExternal", share) == "file_not_found"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"filename": "a.png", "length": 0}, "missing_argument"),
        ({"length": 4}, "missing_argument"),
        ({"filename": "a.png", "length": 4, "alt_txt": "x" * 1001}, "alt_txt_too_large"),
    ],
)
def test_uploads_that_are_refused(caller: Caller, asked: dict[str, Any], code: str) -> None:
    assert caller.error("files.getUploadURLExternal", asked, form=True) == code
    caller.slack.scopes = {"chat:write"}
    assert caller.error("files.getUploadURLExternal", asked, form=True) == "missing_scope"
