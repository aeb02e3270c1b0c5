"""What Slack sends for a press, a dialog and a slash command, as its reference of payloads has it."""

from __future__ import annotations

from typing import Any

from killswitch.pages.receivers.slack_buttons import Button, ButtonValue, to_value

TEAM = "T0DOUBLE1"
ANN, BOB, EVE = "U0ANN0001", "U0BOB0001", "U0EVE0001"
CHANNEL = "C00000001"
MESSAGE = "1776608532.000001"
NONCE = "0f" * 16
NEVER = 4_000_000_000  # Unix seconds


def value(
    rollout: str = "support-copilot",
    generation: int = 1,
    revision: int = 7,
    *,
    nonce: str = NONCE,
    expires_at: int = NEVER,
) -> ButtonValue:
    return ButtonValue(rollout, generation, revision, nonce, expires_at)


def press(
    button: Button,
    bound: ButtonValue,
    *,
    user: str = ANN,
    home: str = TEAM,
    team: str = TEAM,
    trigger: str = "1.2.abc",
    response_url: str = "https://hooks.slack.com/actions/T0DOUBLE1/1/x",
) -> dict[str, Any]:
    """A `block_actions` payload."""
    return {
        "type": "block_actions",
        "user": {"id": user, "username": user.lower(), "name": user.lower(), "team_id": home},
        "api_app_id": "A0DOUBLE1",
        "token": "deprecated",
        "container": {"type": "message", "message_ts": MESSAGE, "channel_id": CHANNEL, "is_ephemeral": False},
        "trigger_id": trigger,
        "team": {"id": team, "domain": "double"},
        "enterprise": None,
        "is_enterprise_install": False,
        "channel": {"id": CHANNEL, "name": "llm-oncall"},
        "message": {"type": "message", "ts": MESSAGE},
        "state": {"values": {}},
        "response_url": response_url,
        "actions": [
            {
                "action_id": button.action_id,
                "block_id": f"killswitch.{bound.nonce}",
                "text": {"type": "plain_text", "text": button.value},
                "value": to_value(bound),
                "type": "button",
                "action_ts": "1776608599.000001",
            }
        ],
    }


def submission(
    view: dict[str, Any],
    *,
    reason: str | None = "fixed the prompt",
    stage: str | None = None,
    new_users: bool = False,
    user: str = ANN,
    home: str = TEAM,
    team: str = TEAM,
) -> dict[str, Any]:
    """A `view_submission` payload for a view that was opened; ``stage`` None: as it was chosen at first."""
    values: dict[str, Any] = {}
    for block in view["blocks"]:
        if block["type"] != "input":
            continue
        element = block["element"]
        given: dict[str, Any] = {"type": element["type"]}
        match element["type"]:
            case "plain_text_input":
                given["value"] = reason
            case "static_select":
                chosen = next((one for one in element["options"] if one["value"] == stage), element["initial_option"])
                given["selected_option"] = chosen
            case "checkboxes":
                given["selected_options"] = element["options"] if new_users else []
        values[block["block_id"]] = {element["action_id"]: given}
    return {
        "type": "view_submission",
        "team": {"id": team, "domain": "double"},
        "user": {"id": user, "username": user.lower(), "name": user.lower(), "team_id": home},
        "api_app_id": "A0DOUBLE1",
        "token": "deprecated",
        "trigger_id": "3.4.def",
        "view": {**view, "id": "V00000001", "team_id": team, "hash": "1.x", "state": {"values": values}},
        "response_urls": [],
        "is_enterprise_install": False,
        "enterprise": None,
    }


def command(
    text: str,
    *,
    user: str = ANN,
    team: str = TEAM,
    trigger: str = "5.6.ghi",
    response_url: str = "https://hooks.slack.com/commands/T0DOUBLE1/1/x",
) -> dict[str, str]:
    """The form of a slash command."""
    return {
        "token": "deprecated",
        "team_id": team,
        "team_domain": "double",
        "channel_id": CHANNEL,
        "channel_name": "llm-oncall",
        "user_id": user,
        "user_name": user.lower(),
        "command": "/killswitch",
        "text": text,
        "api_app_id": "A0DOUBLE1",
        "is_enterprise_install": "false",
        "response_url": response_url,
        "trigger_id": trigger,
    }
