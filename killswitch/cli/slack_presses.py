"""What the doctor asks Slack about buttons, with the tokens that settings name."""

from __future__ import annotations

from killswitch.daemon.secrets_of_settings import secret
from killswitch.daemon.settings import Settings
from killswitch.daemon.wiring import slack_may_press
from killswitch.deadline import Deadline
from killswitch.net.credentials import Secret
from killswitch.preflight.press_checks import AsksSlack

_PATIENCE = 10.0


def asks_slack(settings: Settings) -> AsksSlack | None:
    """None where no press can reach a daemon with these settings. Raises BadSettings."""
    token = secret(settings, "slack_token")
    if token is None or not slack_may_press(settings):
        return None
    return _Slack(token, secret(settings, "slack_app_token"), settings.slack_base_url)


class _Slack:
    def __init__(self, token: Secret, app_token: Secret | None, base_url: str) -> None:
        from killswitch.interaction.slack_api import SlackApi  # noqa: PLC0415  only where Slack may press
        from killswitch.pages.receivers.slack_calls import SlackCalls  # noqa: PLC0415

        self._token = token
        self._app_token = app_token
        self._base_url = base_url
        self._api = SlackApi(base_url=base_url)
        self._calls = SlackCalls(token, base_url=base_url)

    def scopes(self) -> frozenset[str] | None:
        return self._calls.scopes(Deadline(_PATIENCE))

    def open_socket(self) -> bool:
        from killswitch.interaction.socket_mode import checked_address  # noqa: PLC0415

        if self._app_token is None:
            return False
        answer = self._api.call("apps.connections.open", self._app_token, Deadline(_PATIENCE))
        checked_address(answer.get("url"), self._base_url)
        return True

    def members(self, group: str) -> int:
        answer = self._api.call("usergroups.users.list", self._token, Deadline(_PATIENCE), usergroup=group)
        users = answer.get("users")
        return len(users) if isinstance(users, list) else 0
