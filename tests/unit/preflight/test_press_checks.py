"""What the doctor says of buttons in Slack."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from killswitch.errors import AccessDenied, KillswitchError, Refused
from killswitch.preflight.checks import Check, Status
from killswitch.preflight.press_checks import NEEDED, examine_presses
from killswitch.rules.loading import load_text

HEAD = "rollout: r\ncontrol: a\ncanary: b\n"
GROUP = "S0ONCALL1"


class Slack:
    def __init__(
        self,
        scopes: frozenset[str] | None = frozenset(NEEDED),
        *,
        socket: bool | KillswitchError = True,
        groups: Mapping[str, int] | None = None,
    ) -> None:
        self._scopes = scopes
        self._socket = socket
        self._groups = {GROUP: 3} if groups is None else groups

    def scopes(self) -> frozenset[str] | None:
        return self._scopes

    def open_socket(self) -> bool:
        if isinstance(self._socket, KillswitchError):
            raise self._socket
        return self._socket

    def members(self, group: str) -> int:
        if group not in self._groups:
            raise Refused("Slack usergroups.users.list: no_such_subteam")
        return self._groups[group]


def checks(asks: Slack | None, allow: str = f"[U0ANN0001, {GROUP}]") -> list[Check]:
    text = f"{HEAD}page: {{slack_allow: {allow}}}\n"
    return list(examine_presses(load_text(text.encode(), name="f.yaml").rollouts, asks))


def test_everything_there_is_one_line() -> None:
    assert [(one.status, one.found) for one in checks(Slack())] == [(Status.OK, "Slack gives a socket")]


def test_a_list_without_a_way_to_us_is_a_warning() -> None:
    (found,) = checks(None)
    assert found.status is Status.WARNING
    assert "no press can reach us" in found.found
    assert "KILLSWITCH_SLACK_APP_TOKEN_FILE" in found.fix


def test_without_slack_and_without_a_list_nothing_is_said() -> None:
    assert checks(None, "[]") == []


def test_a_way_to_us_without_any_list_is_a_note() -> None:
    (found,) = checks(Slack(), "[]")
    assert found.status is Status.NOTE


def test_a_missing_scope_is_wrong() -> None:
    (found,) = checks(Slack(frozenset({"chat:write", "users:read"})))
    assert (found.status, found.fix) == (Status.WRONG, "add usergroups:read to the app, and install it again")


def test_scopes_that_slack_does_not_tell_are_no_problem() -> None:
    (found,) = checks(Slack(None, socket=False))
    assert found.status is Status.OK
    assert "request URL" in found.found


def test_a_refused_token_is_wrong() -> None:
    found = checks(Slack(socket=AccessDenied("Slack apps.connections.open: invalid_auth")))
    assert (found[0].status, found[0].found) == (Status.WRONG, "Slack apps.connections.open: invalid_auth")


@pytest.mark.parametrize(("groups", "status"), [({}, Status.WRONG), ({GROUP: 0}, Status.WARNING)])
def test_a_group_that_is_not_there_or_empty_is_said(groups: Mapping[str, int], status: Status) -> None:
    found = checks(Slack(groups=groups))
    assert (found[-1].about, found[-1].status) == (f"Slack group {GROUP}", status)
