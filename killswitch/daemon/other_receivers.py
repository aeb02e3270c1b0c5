"""Builds the receivers of pages that `ReceiverSettings` switches on. Each is imported only if it is."""

from __future__ import annotations

from dataclasses import replace

from killswitch.daemon.secrets_of_settings import secret, tls_of
from killswitch.daemon.settings import Settings
from killswitch.errors import BadSettings
from killswitch.net.credentials import HttpCredentials
from killswitch.pages.receivers import Pager
from killswitch.pages.receivers.webhook_signature import Signer


def build_others(settings: Settings) -> dict[str, Pager]:
    """The receivers besides Slack, PagerDuty, the webhook and the console, by name. Raises BadSettings."""
    built = (_opsgenie(settings), _teams(settings), _email(settings), _alertmanager(settings))
    return {pager.name: pager for pager in built if pager is not None}


def webhook_signer(settings: Settings) -> Signer | None:
    """What signs webhook requests; None without a secret. Raises BadSettings."""
    new, previous = secret(settings, "webhook_secret"), secret(settings, "webhook_previous_secret")
    if new is None and previous is not None:
        raise BadSettings(["there is a previous webhook secret and no new one: set KILLSWITCH_WEBHOOK_SECRET_FILE"])
    return None if new is None else Signer(new, previous)


def _opsgenie(settings: Settings) -> Pager | None:
    key = secret(settings, "opsgenie_key")
    if key is None and settings.opsgenie_team_keys_file is None:
        return None
    from killswitch.pages.receivers.named_secrets import OPSGENIE_KEYS, NamedSecrets  # noqa: PLC0415
    from killswitch.pages.receivers.opsgenie import OpsgeniePager  # noqa: PLC0415

    keys = NamedSecrets(OPSGENIE_KEYS, key, settings.opsgenie_team_keys_file)
    return OpsgeniePager(keys, url=settings.opsgenie_url)


def _teams(settings: Settings) -> Pager | None:
    url = secret(settings, "teams_url")
    if url is None and settings.teams_urls_file is None:
        return None
    from killswitch.pages.receivers.named_secrets import TEAMS_URLS, NamedSecrets  # noqa: PLC0415
    from killswitch.pages.receivers.teams import TeamsPager  # noqa: PLC0415

    return TeamsPager(NamedSecrets(TEAMS_URLS, url, settings.teams_urls_file))


def _email(settings: Settings) -> Pager | None:
    server = settings.mail_server()
    if server is None:
        return None
    from killswitch.net.bounded_smtp import BoundedMail  # noqa: PLC0415
    from killswitch.pages.receivers.email import EmailPager  # noqa: PLC0415

    server = replace(server, password=secret(settings, "smtp_password"))
    mail = BoundedMail(server, tls_of(settings.smtp_ca_file, None, None))
    return EmailPager(mail, sender=settings.email_from, default_to=settings.mail_recipients)


def _alertmanager(settings: Settings) -> Pager | None:
    if not settings.alertmanager_peers:
        return None
    from killswitch.pages.receivers.alertmanager import AlertmanagerPager  # noqa: PLC0415

    bearer, password = secret(settings, "alertmanager_bearer"), secret(settings, "alertmanager_password")
    user = settings.alertmanager_user
    basic = (user, password) if user is not None and password is not None else None
    return AlertmanagerPager(
        settings.alertmanager_peers,
        interval=settings.alertmanager_interval,
        credentials=HttpCredentials(bearer=bearer, basic=basic) if bearer is not None or basic is not None else None,
        tls=tls_of(settings.alertmanager_ca_file, settings.alertmanager_cert_file, settings.alertmanager_key_file),
    )
