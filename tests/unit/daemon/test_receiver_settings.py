"""Settings of the receivers: what is refused, and which receivers they switch on."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from killswitch.daemon.missing_receivers import warn_of_missing_receivers
from killswitch.daemon.settings import load_settings
from killswitch.daemon.wiring import build_pagers
from killswitch.errors import BadSettings
from killswitch.rules.loading import load_text

MAIL = {"smtp_url": "smtp://mail.example.org", "email_from": "k@example.org"}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("KILLSWITCH_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({**MAIL, "smtp_url": "smtp://ann:secret@mail.example.org"}, "smtp_url: write smtp://host:587"),
        ({**MAIL, "smtp_url": "http://mail.example.org"}, "smtp_url: write smtp://host:587"),
        ({**MAIL, "smtp_url": "smtp://mail.example.org:99999"}, "smtp_url: write smtp://host:587"),
        ({"smtp_url": "smtp://mail.example.org"}, "smtp_url needs email_from"),
        ({**MAIL, "email_from": "k@example.org\nBcc: x@y.z"}, "smtp_url needs email_from"),
        ({**MAIL, "email_to": "ann, bob@example.org"}, "write addresses such as oncall@example.org"),
        ({"email_to": "ann@example.org"}, "need smtp_url"),
        ({**MAIL, "smtp_user": "k"}, "smtp_user and smtp_password_file"),
        ({"alertmanager_urls": "http://a:9093, http://ann:secret@b:9093"}, "alertmanager_urls: write http(s)"),
        ({"alertmanager_urls": "http://a:9093", "alertmanager_interval": "10m"}, "write 1s to 3m"),
        ({"alertmanager_user": "k"}, "alertmanager_user and alertmanager_password_file"),
        ({"alertmanager_cert_file": "c"}, "alertmanager_cert_file and alertmanager_key_file"),
        ({"opsgenie_url": "api.opsgenie.com"}, "opsgenie_url: write http(s)"),
        ({"fallback": "opsgenie"}, "fallback opsgenie needs opsgenie_key_file"),
        ({"fallback": "teams"}, "fallback teams needs teams_url_file"),
        ({"fallback": "email", **MAIL}, "fallback email needs smtp_url and email_to"),
        ({"fallback": "alertmanager"}, "fallback"),
    ],
)
def test_a_receivers_setting_that_cannot_work_is_refused(flags: dict[str, str], said: str) -> None:
    with pytest.raises(BadSettings) as refused:
        load_settings(**flags)  # type: ignore[arg-type]  # as the command line gives them
    assert any(said in problem for problem in refused.value.problems), refused.value.problems
    assert "secret" not in "".join(refused.value.problems)


def test_the_settings_switch_each_receiver_on(tmp_path: Path) -> None:
    for name in ("key", "url"):
        (tmp_path / name).write_text("x")
    settings = load_settings(
        **MAIL,  # type: ignore[arg-type]  # as the command line gives them
        opsgenie_key_file=tmp_path / "key",
        teams_url_file=tmp_path / "url",
        alertmanager_urls="http://a:9093,http://b:9093/am",
        email_to="ann@example.org",
        fallback="email",
    )
    pagers, fallback = build_pagers(settings)
    assert [pager.name for pager in pagers] == ["opsgenie", "teams", "alertmanager", "console"]
    assert fallback is not None
    assert fallback.name == "email"


@pytest.mark.parametrize(
    ("url", "user", "encryption", "port"),
    [
        ("smtp://mail.example.org", None, "starttls", 587),
        ("smtps://mail.example.org", None, "tls", 465),
        ("smtp://127.0.0.1:25", None, "none", 25),
        ("smtp://127.0.0.1:25", "k", "starttls", 25),
        ("smtp://[::1]:2525", None, "none", 2525),
    ],
)
def test_only_a_relay_on_this_machine_may_be_without_tls(
    monkeypatch: pytest.MonkeyPatch, url: str, user: str | None, encryption: str, port: int
) -> None:
    """And not with a user: a password is never sent in the open."""
    monkeypatch.setenv("KILLSWITCH_SMTP_PASSWORD", "p")
    settings = load_settings(smtp_url=url, email_from="k@example.org", smtp_user=user)
    server = settings.mail_server()
    assert server is not None
    assert (server.encryption, server.port) == (encryption, port)


def test_a_previous_webhook_secret_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests would go out unsigned, and someone believes that they are signed."""
    monkeypatch.setenv("KILLSWITCH_WEBHOOK_URL", "https://x.example.org")
    monkeypatch.setenv("KILLSWITCH_WEBHOOK_PREVIOUS_SECRET", "whsec_x")
    with pytest.raises(BadSettings, match="no new one: set KILLSWITCH_WEBHOOK_SECRET_FILE"):
        build_pagers(load_settings())


TEXT = """\
rollout: copilot
control: a
canary: b
page:
  teams: search
  email: a@example.org
  receivers: {critical: [teams, slack], warning: [email, console]}
"""
ADDRESS = (
    "copilot: pages for teams search go elsewhere, teams is not set up: set KILLSWITCH_TEAMS_URL_FILE or "
    "KILLSWITCH_TEAMS_URLS_FILE"
)
ROUTE = (
    "copilot: critical pages are routed to teams, slack, not set up here: critical pages and trips go to every "
    "receiver. set KILLSWITCH_TEAMS_URL_FILE or KILLSWITCH_TEAMS_URLS_FILE; set KILLSWITCH_SLACK_TOKEN_FILE"
)


def test_what_a_rule_file_asks_for_in_vain_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    settings = load_settings(**MAIL)  # type: ignore[arg-type]  # as the command line gives them
    pagers, _ = build_pagers(settings)
    warn_of_missing_receivers(settings, load_text(TEXT.encode(), name="f.yaml").rollouts, pagers)
    assert [record.getMessage() for record in caplog.records] == [ADDRESS, ROUTE]
