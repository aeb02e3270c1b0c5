"""What Slack sends is read as values, and whatever else arrives is refused or asks for nothing."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadDocument
from killswitch.interaction.payloads import (
    MAX_METADATA,
    MAX_REASON,
    Caller,
    Place,
    Press,
    Submission,
    from_command,
    from_interaction,
    metadata,
)
from killswitch.pages.receivers.slack_buttons import Button
from tests.doubles.slack_payloads import ANN, CHANNEL, MESSAGE, TEAM, command, press, submission, value

URL = "https://hooks.slack.com/actions/T0DOUBLE1/1/x"


def view(button: Button = Button.REARM) -> dict[str, Any]:
    """As much of a dialog as is sent back."""
    option = {"text": {"type": "plain_text", "text": "ramp_1"}, "value": "ramp_1"}
    return {
        "type": "modal",
        "callback_id": button.action_id,
        "private_metadata": metadata(value(), Place(CHANNEL, MESSAGE, URL), 1000.0),
        "blocks": [
            {
                "type": "input",
                "block_id": "stage",
                "element": {
                    "type": "static_select",
                    "action_id": "stage",
                    "options": [option],
                    "initial_option": option,
                },
            },
            {"type": "input", "block_id": "reason", "element": {"type": "plain_text_input", "action_id": "reason"}},
            {
                "type": "input",
                "block_id": "users",
                "element": {"type": "checkboxes", "action_id": "users", "options": [{"value": "other"}]},
            },
        ],
    }


def test_a_press_says_who_what_and_where() -> None:
    read = from_interaction(press(Button.HOLD, value()))
    assert read == Press(Caller(ANN, TEAM, TEAM), Button.HOLD, value(), Place(CHANNEL, MESSAGE, URL), "1.2.abc")


@pytest.mark.parametrize("user", ["", "u0ann0001", "U", "U0 ANN", "U0ANN0001\n", "*", "U" * 40, "../flags", 7, None])
def test_a_person_without_an_id_of_slacks_form_is_refused(user: object) -> None:
    payload = press(Button.HOLD, value())
    payload["user"]["id"] = user
    with pytest.raises(BadDocument):
        from_interaction(payload)


def test_an_outsiders_home_is_kept() -> None:
    read = from_interaction(press(Button.HOLD, value(), home="T0ELSEWHERE"))
    assert read is not None
    assert read.caller == Caller(ANN, "T0ELSEWHERE", TEAM)


def test_an_app_of_a_whole_organisation_has_no_team() -> None:
    payload = press(Button.HOLD, value()) | {"team": None, "enterprise": {"id": "E0DOUBLE1", "name": "double"}}
    read = from_interaction(payload)
    assert read is not None
    assert read.caller.workspace == "E0DOUBLE1"


def test_a_dialog_brings_reason_stage_and_users() -> None:
    read = from_interaction(submission(view(), reason="fixed", new_users=True))
    assert isinstance(read, Submission)
    assert (read.reason, read.stage, read.new_users, read.opened_at) == ("fixed", "ramp_1", True, 1000)
    assert read.value == value()
    assert read.place == Place(CHANNEL, MESSAGE, URL)


def test_a_reason_is_one_bounded_line() -> None:
    read = from_interaction(submission(view(), reason="a\n\x00b" + "c" * 5000))
    assert isinstance(read, Submission)
    assert "\n" not in read.reason
    assert len(read.reason) <= MAX_REASON


def test_a_blank_reason_is_none() -> None:
    for blank in (None, "", " \n\t "):
        read = from_interaction(submission(view(), reason=blank))
        assert isinstance(read, Submission)
        assert read.reason == ""


def test_a_dialog_of_a_button_that_asks_nothing_is_not_ours() -> None:
    assert from_interaction(submission(view(Button.HOLD))) is None


def test_other_kinds_ask_for_nothing() -> None:
    foreign = press(Button.HOLD, value())
    foreign["actions"][0]["action_id"] = "another.app"
    for payload in (foreign, {"type": "view_closed"}, {"type": "shortcut"}, {}, {"type": ["block_actions"]}):
        assert from_interaction(payload) is None


def test_the_slash_command_is_verb_rollout_and_reason() -> None:
    read = from_command(command("TRIP  `Support-Copilot` answers are  wrong"))
    assert (read.verb, read.rollout, read.reason) == ("trip", "support-copilot", "answers are wrong")
    assert from_command(command("status")).rollout == ""
    assert from_command(command("")).verb == ""


@pytest.mark.parametrize("field", ["user_id", "team_id", "trigger_id"])
def test_a_command_without_its_sender_is_refused(field: str) -> None:
    form = command("status")
    del form[field]
    with pytest.raises(BadDocument):
        from_command(form)


def test_metadata_is_within_slacks_limit_or_refused() -> None:
    assert len(metadata(value("r" * 63), Place(CHANNEL, MESSAGE, URL), 1.0)) <= MAX_METADATA
    with pytest.raises(BadDocument):
        metadata(value(), Place(response_url="x" * 3000), 1.0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
GOOD = [press(Button.REARM, value()), submission(view())]


def paths(node: object, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        found += paths(child, (*at, key))
    return found


@given(st.sampled_from(GOOD).flatmap(lambda good: st.tuples(st.just(good), st.sampled_from(paths(good)))), JSON)
def test_a_spoiled_field_is_refused_or_harmless(spot: tuple[dict[str, Any], tuple[Any, ...]], other: object) -> None:
    """Every field of a payload replaced by anything: a value with bounded, well-formed parts, None, or BadDocument."""
    good, path = spot
    payload = copy.deepcopy(good)
    node: Any = payload
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = other
    try:
        read = from_interaction(payload)
    except BadDocument:
        return
    if read is None:
        return
    assert read.caller.user.isascii()
    assert read.caller.user.isalnum()
    assert len(read.place.response_url) <= 1000
    if isinstance(read, Submission):
        assert len(read.reason) <= MAX_REASON
        assert json.dumps(read.stage).isascii()


@given(JSON)
def test_any_other_json_is_refused_or_nothing(payload: object) -> None:
    try:
        assert from_interaction(payload) is None
    except BadDocument:
        return


@given(st.dictionaries(st.sampled_from(list(command(""))), st.text(max_size=40)))
def test_any_other_form_is_refused_or_bounded(changed: dict[str, str]) -> None:
    try:
        read = from_command(command("trip x why") | changed)
    except BadDocument:
        return
    assert len(read.verb) <= 40
    assert len(read.rollout) <= 100
    assert len(read.reason) <= MAX_REASON
