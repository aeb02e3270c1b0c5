"""What Slack's refusals mean to those who press: set up the token, try again later, or refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, Unavailable
from killswitch.interaction.slack_api import SlackApi, SlackRefusal
from killswitch.net.credentials import Secret
from tests.doubles.http_double import Answer
from tests.doubles.slack_workspace import BOT_TOKEN, SlackWorkspace


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> Secret:
    monkeypatch.setenv("SLACK_TOKEN", BOT_TOKEN)
    return Secret.from_environment("SLACK_TOKEN")


@pytest.fixture
def api(slack: SlackWorkspace) -> Iterator[SlackApi]:
    api = SlackApi(base_url=slack.base_url)
    yield api
    api.close()


@pytest.mark.parametrize(
    ("code", "status", "meaning"),
    [
        ("token_revoked", 200, AccessDenied),
        ("team_access_not_granted", 200, AccessDenied),
        ("invalid_auth", 401, AccessDenied),
        ("ratelimited", 200, Unavailable),
        ("internal_error", 200, Unavailable),
        ("service_unavailable", 503, Unavailable),
        ("expired_trigger_id", 200, SlackRefusal),
    ],
)
def test_a_code_says_what_to_do(
    api: SlackApi, token: Secret, slack: SlackWorkspace, code: str, status: int, meaning: type[Exception]
) -> None:
    slack.failing["users.info"] = Answer(status, f'{{"ok": false, "error": "{code}"}}'.encode())
    with pytest.raises(meaning, match=code):
        api.call("users.info", token, Deadline(5.0), user="U1")


def test_what_is_no_answer_of_slack_is_tried_again(api: SlackApi, token: Secret, slack: SlackWorkspace) -> None:
    """A proxy's page and a refusal without a code say nothing about a person."""
    slack.failing["users.info"] = Answer(502, b"<html>bad gateway</html>")
    with pytest.raises(Unavailable, match="502"):
        api.call("users.info", token, Deadline(5.0), user="U1")
