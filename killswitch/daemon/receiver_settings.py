"""The settings of the receivers of pages besides Slack, PagerDuty and the webhook's address."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from killswitch.daemon.setting_values import Seconds, given, is_plain_address, pair
from killswitch.net.mail_server import MailServer
from killswitch.rules.page_keys import MAIL_PATTERN

_SMTP = re.compile(r"(?P<scheme>smtps?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}))?/?\Z")
_PORTS = {"smtp": 587, "smtps": 465}
_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})
_SHORTEST_INTERVAL, _LONGEST_INTERVAL = 1.0, 180.0  # seconds


class ReceiverSettings(BaseModel):
    """A part of `killswitch.daemon.settings.Settings`."""

    model_config = ConfigDict(extra="ignore", frozen=True, validate_default=True)

    opsgenie_key_file: Path | None = Field(
        default=None, description="a file with the Opsgenie API key of pages that name no other"
    )
    opsgenie_team_keys_file: Path | None = Field(
        default=None, description="a file with teams' Opsgenie keys, one `name: key` a line"
    )
    opsgenie_url: str = Field(
        default="https://api.opsgenie.com", description="Opsgenie's Alert API (EU: https://api.eu.opsgenie.com)"
    )
    teams_url_file: Path | None = Field(
        default=None, description="a file with the URL of the Teams Workflow of pages that name no channel"
    )
    teams_urls_file: Path | None = Field(
        default=None, description="a file with the URLs of channels' Workflows, one `name: URL` a line"
    )
    smtp_url: str = Field(
        default="",
        description="the mail server: smtp://host:587 (STARTTLS is demanded) or smtps://host:465; empty, no mail",
    )
    smtp_user: str | None = Field(default=None, description="the mail server's user")
    smtp_password_file: Path | None = Field(default=None, description="a file with that user's password")
    smtp_ca_file: Path | None = Field(default=None, description="the mail server's certificate authority")
    email_from: str = Field(default="", description="the sender of mails, such as killswitch@example.org")
    email_to: str = Field(default="", description="who gets mail of pages that name no one, comma-separated")
    webhook_secret_file: Path | None = Field(
        default=None, description="a file with the secret that signs webhook requests: `whsec_` and base64"
    )
    webhook_previous_secret_file: Path | None = Field(
        default=None, description="a file with the secret before, which signs as well while receivers change"
    )
    alertmanager_urls: str = Field(
        default="", description="every peer of an Alertmanager cluster, comma-separated; no load balancer"
    )
    alertmanager_interval: Seconds = Field(
        default=60.0, description="how often open incidents are sent to Alertmanager again; at most 3m"
    )
    alertmanager_user: str | None = Field(default=None, description="Alertmanager's user (basic auth)")
    alertmanager_password_file: Path | None = Field(default=None, description="a file with that user's password")
    alertmanager_bearer_file: Path | None = Field(
        default=None, description="a file with a bearer token, for a proxy before Alertmanager"
    )
    alertmanager_ca_file: Path | None = Field(default=None, description="Alertmanager's certificate authority")
    alertmanager_cert_file: Path | None = Field(default=None, description="our certificate for Alertmanager")
    alertmanager_key_file: Path | None = Field(default=None, description="its key")

    @property
    def mail_recipients(self) -> tuple[str, ...]:
        return _listed(self.email_to)

    @property
    def alertmanager_peers(self) -> tuple[str, ...]:
        return _listed(self.alertmanager_urls)

    def mail_server(self) -> MailServer | None:
        """The mail server without its password; None without mail, or for an address that is refused."""
        match = _SMTP.match(self.smtp_url)
        if match is None:
            return None
        scheme, host = match["scheme"], match["host"].strip("[]")
        port = int(match["port"]) if match["port"] else _PORTS[scheme]
        plain = scheme == "smtp" and host in _THIS_MACHINE and self.smtp_user is None
        return MailServer(host, port, "tls" if scheme == "smtps" else "none" if plain else "starttls", self.smtp_user)


def receiver_rows(one: ReceiverSettings) -> tuple[tuple[bool, str], ...]:
    """What must hold of these settings, each with what to say if it does not."""
    return (*_mail_rows(one), *_alertmanager_rows(one), *_other_rows(one))


def _mail_rows(one: ReceiverSettings) -> tuple[tuple[bool, str], ...]:
    server = one.mail_server()
    return (
        (
            not one.smtp_url or (server is not None and 0 < server.port < 65536),
            "smtp_url: write smtp://host:587 or smtps://host:465, without user and path",
        ),
        (
            not one.smtp_url or re.fullmatch(MAIL_PATTERN, one.email_from, re.ASCII) is not None,
            "smtp_url needs email_from, an address such as killswitch@example.org",
        ),
        (
            all(re.fullmatch(MAIL_PATTERN, address, re.ASCII) for address in one.mail_recipients),
            f"email_to {one.email_to!r}: write addresses such as oncall@example.org, comma-separated",
        ),
        (
            bool(one.smtp_url) or not (one.email_to or one.email_from or one.smtp_user),
            "email_from, email_to and smtp_user need smtp_url",
        ),
        (
            pair(one.smtp_user, one.smtp_password_file, "smtp_password"),
            "smtp_user and smtp_password_file (or KILLSWITCH_SMTP_PASSWORD) go together",
        ),
    )


def _alertmanager_rows(one: ReceiverSettings) -> tuple[tuple[bool, str], ...]:
    return (
        (
            all(map(is_plain_address, one.alertmanager_peers)),
            "alertmanager_urls: write http(s)://host:9093, comma-separated, without user, query and fragment",
        ),
        (
            _SHORTEST_INTERVAL <= one.alertmanager_interval <= _LONGEST_INTERVAL,
            "alertmanager_interval: write 1s to 3m",
        ),
        (
            pair(one.alertmanager_user, one.alertmanager_password_file, "alertmanager_password"),
            "alertmanager_user and alertmanager_password_file (or KILLSWITCH_ALERTMANAGER_PASSWORD) go together",
        ),
        (
            one.alertmanager_bearer_file is None or one.alertmanager_user is None,
            "alertmanager_bearer_file and alertmanager_user exclude each other",
        ),
        (
            (one.alertmanager_cert_file is None) == (one.alertmanager_key_file is None),
            "alertmanager_cert_file and alertmanager_key_file go together",
        ),
    )


def _other_rows(one: ReceiverSettings) -> tuple[tuple[bool, str], ...]:
    fallback = getattr(one, "fallback", None)
    return (
        (
            is_plain_address(one.opsgenie_url),
            "opsgenie_url: write http(s)://host, without user, query and fragment",
        ),
        (
            one.webhook_previous_secret_file is None or given(one.webhook_secret_file, "webhook_secret"),
            "webhook_previous_secret_file needs webhook_secret_file (or KILLSWITCH_WEBHOOK_SECRET)",
        ),
        (
            fallback != "opsgenie" or given(one.opsgenie_key_file, "opsgenie_key"),
            "fallback opsgenie needs opsgenie_key_file (or KILLSWITCH_OPSGENIE_KEY)",
        ),
        (
            fallback != "teams" or given(one.teams_url_file, "teams_url"),
            "fallback teams needs teams_url_file (or KILLSWITCH_TEAMS_URL)",
        ),
        (fallback != "email" or bool(one.smtp_url and one.email_to), "fallback email needs smtp_url and email_to"),
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
