"""What Slack sends when a person presses a button, submits a dialog or types the slash command, as values.

Everything here comes from outside and is bounded: ids have the form of Slack's, texts are cut. What is not ours, or a
kind that asks for nothing (a dialog that was closed), is None. Fields are named as in Slack's reference of interaction
payloads (https://docs.slack.dev/reference/interaction-payloads) and of slash commands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from killswitch.documents import Fields
from killswitch.errors import BadDocument
from killswitch.pages.receivers.slack_buttons import Button, ButtonValue, button_of, from_value, to_value
from killswitch.wording import plain

MAX_REASON = 500  # characters that a person may type
MAX_METADATA = 3000  # characters in a dialog's `private_metadata`
REASON, STAGE, USERS = "reason", "stage", "users"  # block ids and action ids of a dialog's inputs
OTHER_USERS = "other"
_ID = re.compile(r"[A-Z][A-Z0-9]{1,30}\Z")
_TS = re.compile(r"[0-9]{1,16}\.[0-9]{1,10}\Z")
_STAGE = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}\Z")
_MAX_TRIGGER = 300
_MAX_URL = 1000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who presses: the id of the person, of the person's own workspace (``home``), and of where it was pressed.

    In an Enterprise organisation either may be the id of the organisation, which begins with E.
    """

    user: str
    home: str
    workspace: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where the answer goes: ``response_url`` as Slack gave it, "" for none; the message that has the button."""

    channel: str = ""
    message: str = ""
    response_url: str = ""


@dataclass(frozen=True, slots=True)
class Press:
    """A button was pressed. ``trigger_id`` opens one dialog, for three seconds."""

    caller: Caller
    button: Button
    value: ButtonValue
    place: Place
    trigger_id: str


@dataclass(frozen=True, slots=True)
class Submission:
    """A dialog was submitted. ``opened_at``: when we opened it, Unix seconds. ``stage`` "" where it asks for none."""

    caller: Caller
    button: Button
    value: ButtonValue
    place: Place
    opened_at: int
    reason: str
    stage: str = ""
    new_users: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """``/killswitch verb rollout reason``. ``rollout`` and ``reason`` "" where they are left out."""

    caller: Caller
    verb: str
    rollout: str
    reason: str
    place: Place
    trigger_id: str


def from_interaction(payload: object) -> Press | Submission | None:
    """Raises BadDocument for a payload of a kind that we know and cannot read."""
    fields = Fields(payload, "interaction")
    match fields.raw.get("type"):
        case "block_actions":
            return _press(fields)
        case "view_submission":
            return _submission(fields)
        case _:
            return None


def from_command(form: Mapping[str, object]) -> Command:
    """The slash command from its form, or from an envelope's payload. Raises BadDocument."""
    fields = Fields(dict(form), "slash command")
    workspace = _id(fields.raw.get("team_id") or fields.raw.get("enterprise_id"), "team_id")
    words = str(fields.raw.get("text") or "")[:2000].split(maxsplit=2)
    verb, rollout, reason = (*words, "", "", "")[:3]
    return Command(
        Caller(_id(fields.raw.get("user_id"), "user_id"), workspace, workspace),
        verb.lower()[:40],
        rollout.strip("`'\"").lower()[:100],
        _reason(reason),
        Place(channel=_optional_id(fields.raw.get("channel_id")), response_url=_url(fields.raw.get("response_url"))),
        _trigger(fields),
    )


def metadata(value: ButtonValue, place: Place, opened_at: float) -> str:
    """What a dialog carries along, for `private_metadata`. Raises BadDocument where it is too long for Slack."""
    document = {
        "value": to_value(value),
        "channel": place.channel,
        "message": place.message,
        "url": place.response_url,
        "opened_at": int(opened_at),
    }
    text = json.dumps(document, separators=(",", ":"))
    if len(text) > MAX_METADATA:
        raise BadDocument("dialog: it carries more than Slack takes")
    return text


def _press(fields: Fields) -> Press | None:
    actions = fields.raw.get("actions")
    action = actions[0] if isinstance(actions, list) and actions and isinstance(actions[0], dict) else {}
    button = button_of(action.get("action_id"))
    if button is None:
        return None
    container = _object(fields, "container")
    channel = _optional_id(_object(fields, "channel").get("id") or container.get("channel_id"))
    place = Place(channel, _message(container.get("message_ts")), _url(fields.raw.get("response_url")))
    return Press(_caller(fields), button, from_value(action.get("value")), place, _trigger(fields))


def _submission(fields: Fields) -> Submission | None:
    view = Fields(fields.raw.get("view"), "interaction, view")
    button = button_of(view.raw.get("callback_id"))
    if button is None or not button.asks:
        return None
    text = view.text("private_metadata")
    try:
        carried = Fields(json.loads(text) if len(text) <= MAX_METADATA else None, "interaction, private_metadata")
    except (ValueError, RecursionError) as error:
        raise BadDocument("interaction: its private_metadata is no JSON") from error
    state = _object(view, "state")
    values = state.get("values")
    inputs = values if isinstance(values, dict) else {}
    stage = _input(inputs, STAGE).get("selected_option")
    chosen = str(stage.get("value")) if isinstance(stage, dict) else ""
    if chosen and not _STAGE.match(chosen):
        raise BadDocument("interaction: its stage is none")
    users = _input(inputs, USERS).get("selected_options")
    return Submission(
        _caller(fields),
        button,
        from_value(carried.raw.get("value")),
        Place(
            _optional_id(carried.raw.get("channel")),
            _message(carried.raw.get("message")),
            _url(carried.raw.get("url")),
        ),
        carried.integer("opened_at"),
        _reason(_input(inputs, REASON).get("value")),
        chosen,
        isinstance(users, list) and any(isinstance(one, dict) and one.get("value") == OTHER_USERS for one in users),
    )


def _caller(fields: Fields) -> Caller:
    user = Fields(fields.raw.get("user"), "interaction, user")
    # `team` is null where the app is installed for a whole organisation
    team = _object(fields, "team").get("id") or _object(fields, "enterprise").get("id")
    workspace = _id(team, "team.id")
    return Caller(_id(user.raw.get("id"), "user.id"), _id(user.raw.get("team_id") or workspace, "team_id"), workspace)


def _input(inputs: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    block = inputs.get(name)
    element = block.get(name) if isinstance(block, dict) else None
    return element if isinstance(element, dict) else {}


def _object(fields: Fields, name: str) -> Mapping[str, Any]:
    found = fields.raw.get(name)
    return found if isinstance(found, dict) else {}


def _id(value: object, what: str) -> str:
    if not isinstance(value, str) or not _ID.match(value):
        raise BadDocument(f"interaction: {what} is no id of Slack")
    return value


def _optional_id(value: object) -> str:
    return value if isinstance(value, str) and _ID.match(value) else ""


def _message(value: object) -> str:
    return value if isinstance(value, str) and _TS.match(value) else ""


def _url(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= _MAX_URL else ""


def _trigger(fields: Fields) -> str:
    trigger = fields.raw.get("trigger_id")
    if not isinstance(trigger, str) or not 0 < len(trigger) <= _MAX_TRIGGER:
        raise BadDocument("interaction: it has no trigger_id")
    return trigger


def _reason(value: object) -> str:
    return plain(value, MAX_REASON).strip() if isinstance(value, str) else ""
