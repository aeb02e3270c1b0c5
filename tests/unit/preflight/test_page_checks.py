"""What the doctor says of mail, Opsgenie, Teams and routes. It sends nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from killswitch.deadline import Deadline
from killswitch.model import Rollout
from killswitch.net.credentials import Secret
from killswitch.pages.page import Page
from killswitch.pages.receivers.named_secrets import OPSGENIE_KEYS, NamedSecrets
from killswitch.pages.receivers.opsgenie import OpsgeniePager
from killswitch.preflight.checks import Check
from killswitch.preflight.page_checks import examine_pages
from killswitch.rules.loading import load_text


class Plain:
    """A receiver that cannot be asked."""

    def __init__(self, name: str) -> None:
        self.name = name

    def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:
        raise AssertionError("the doctor pages no one")


def rollout_with(page: str) -> Rollout:
    text = f"rollout: copilot\ncontrol: a\ncanary: b\npage: {page}\n"
    (rollout,) = load_text(text.encode(), name="f.yaml").rollouts
    return rollout


def problems(page: str, *names: str) -> list[Check]:
    found = examine_pages([rollout_with(page)], [Plain(name) for name in names])
    return [check for check in found if check.about == "copilot"]


@pytest.mark.parametrize(
    ("page", "names", "status", "fix"),
    [
        ("{email: a@example.org}", ("webhook",), "warning", "set KILLSWITCH_SMTP_URL and KILLSWITCH_EMAIL_FROM"),
        ("{teams: x}", ("webhook",), "warning", "set KILLSWITCH_TEAMS_URLS_FILE, or remove `teams`"),
        ("{opsgenie: x}", ("webhook",), "warning", "set KILLSWITCH_OPSGENIE_TEAM_KEYS_FILE, or remove `opsgenie`"),
        ("{receivers: {critical: [email]}}", ("webhook", "console"), "wrong", "set KILLSWITCH_SMTP_URL; or change"),
        ("{receivers: {critical: [email, webhook]}}", ("webhook",), "warning", "or change `page.receivers.critical`"),
        ("{receivers: {critical: [email, console]}}", ("console", "webhook"), "wrong", "set KILLSWITCH_SMTP_URL"),
    ],
)
def test_what_a_rule_file_names_in_vain_is_found(page: str, names: tuple[str, ...], status: str, fix: str) -> None:
    (check,) = problems(page, *names)
    assert (check.status.value, fix in check.fix) == (status, True), check


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("{receivers: {info: []}}", ("webhook",)),
        ("{email: a@example.org, receivers: {critical: [email], warning: [email]}}", ("email",)),
        ("{receivers: {critical: [webhook], error: [], warning: [], info: []}}", ("webhook", "slack")),
    ],
)
def test_what_reaches_someone_is_in_order(page: str, names: tuple[str, ...]) -> None:
    """A rollout whose routes leave Slack out needs no channel."""
    assert problems(page, *names) == []


def test_a_missing_opsgenie_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("search: k\n")
    without = OpsgeniePager(NamedSecrets(OPSGENIE_KEYS, None, tmp_path / "keys"))
    (tmp_path / "default").write_text("k")
    default = Secret.from_file(tmp_path / "default")
    having = OpsgeniePager(NamedSecrets(OPSGENIE_KEYS, default, tmp_path / "keys"))
    page = "{opsgenie: typo}"
    (wrong,) = [one for one in examine_pages([rollout_with(page)], [without]) if one.about == "copilot"]
    (warning,) = [one for one in examine_pages([rollout_with(page)], [having]) if one.about == "copilot"]
    assert (wrong.status.value, warning.status.value) == ("wrong", "warning")
    assert "Opsgenie gets none of its pages: " in wrong.found
    assert "has no Opsgenie key called 'typo'" in warning.found
