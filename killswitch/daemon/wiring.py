"""Builds the adapters that settings name: shared by the daemon and the command line.

Each kind is imported when one is built: `killswitch trip` needs a flag store and no metric source.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from killswitch.daemon.secrets_of_settings import secret, tls_of
from killswitch.daemon.settings import Settings
from killswitch.errors import BadSettings
from killswitch.model import PageSettings
from killswitch.net.credentials import TLS, HttpCredentials, Secret
from killswitch.pages.dashboards import of_grafana
from killswitch.pages.page import Page
from killswitch.pages.receivers import Pager
from killswitch.sources import Source
from killswitch.stores import Store
from killswitch.stores.access import Access
from killswitch.stores.opening import open_store


def store_access(settings: Settings) -> Access:
    """How the flag store lets a router in that this package runs itself. Raises BadSettings."""
    tls = tls_of(settings.store_ca_file, settings.store_cert_file, settings.store_key_file) or TLS()
    return Access(user=settings.store_user, password=secret(settings, "store_password"), tls=tls)


def build_store(settings: Settings, *, timeout: float | None = None) -> Store:
    """The flag store. Raises BadSettings."""
    return open_store(
        settings.store,
        tls=tls_of(settings.store_ca_file, settings.store_cert_file, settings.store_key_file),
        user=settings.store_user,
        password=secret(settings, "store_password"),
        timeout=settings.store_timeout if timeout is None else timeout,
    )


def build_source(settings: Settings, *, timeout: float | None = None) -> Source:
    """The metric source; ``timeout`` of one request in seconds. Raises BadSettings."""
    from killswitch.sources.opening import open_source  # noqa: PLC0415

    return open_source(
        settings.source,
        scrape_interval=settings.scrape_interval,
        tls=tls_of(settings.source_ca_file, settings.source_cert_file, settings.source_key_file),
        credentials=_source_credentials(settings),
        timeout=settings.cycle_deadline if timeout is None else timeout,
        samples=settings.scrape_file,
    )


def page_links(settings: Settings) -> PageSettings:
    """What every page links to, whatever its rule file says: our own pages, and our own dashboard by default."""
    return PageSettings(public_url=settings.public_url, dashboard=of_grafana(settings.grafana_url))


def build_chart_source(settings: Settings, source: Source) -> Source:
    """The source that charts of the past are read from: one of its own on Prometheus, so that no cycle waits for it.

    Other sources answer from what they have gathered themselves, for several threads at once.
    """
    return build_source(settings) if settings.source.startswith("prometheus+") else source


def slack_may_press(settings: Settings) -> bool:
    """Whether presses in Slack reach this daemon: by its socket, or by a request URL."""
    return secret(settings, "slack_app_token") is not None or secret(settings, "slack_signing_secret") is not None


def build_pagers(
    settings: Settings, *, console: TextIO | None = None, buttons: Callable[[Page], bool] | None = None
) -> tuple[tuple[Pager, ...], Pager | None]:
    """The receivers of pages, and the fallback among them that is asked only when the others fail.

    ``console``: where pages are printed that are printed (default: standard output). ``buttons``: whether someone may
    press buttons on the message of this page in Slack; None: no one.
    """
    from killswitch.daemon.other_receivers import build_others, webhook_signer  # noqa: PLC0415

    # Only the receivers that are set up are loaded, all of them now: the SDK of Slack alone is 2 MB.
    available: dict[str, Pager] = {}
    token = secret(settings, "slack_token")
    if token is not None:
        from killswitch.pages.receivers.slack import SlackPager  # noqa: PLC0415

        available["slack"] = SlackPager(
            token, base_url=settings.slack_base_url, buttons=buttons if slack_may_press(settings) else None
        )
    pagerduty_key = secret(settings, "pagerduty_key")
    if pagerduty_key is not None or settings.pagerduty_team_keys_file is not None:
        from killswitch.pages.receivers.named_secrets import PAGERDUTY_KEYS, NamedSecrets  # noqa: PLC0415
        from killswitch.pages.receivers.pagerduty import PagerDutyPager  # noqa: PLC0415

        keys = NamedSecrets(PAGERDUTY_KEYS, pagerduty_key, settings.pagerduty_team_keys_file)
        available["pagerduty"] = PagerDutyPager(keys, url=settings.pagerduty_url)
    address = secret(settings, "webhook_url")
    if address is not None:
        from killswitch.pages.receivers.webhook import WebhookPager  # noqa: PLC0415

        available["webhook"] = WebhookPager(address, signer=webhook_signer(settings))
    available |= build_others(settings)
    if settings.console_pages or not available:
        from killswitch.pages.receivers.console import ConsolePager  # noqa: PLC0415

        available["console"] = ConsolePager(console)
    fallback = available.pop(settings.fallback) if settings.fallback is not None else None
    if not available:
        raise BadSettings([f"the only receiver of pages is the fallback {settings.fallback}; name another one"])
    return tuple(available.values()), fallback


def _source_credentials(settings: Settings) -> HttpCredentials | None:
    bearer = secret(settings, "source_bearer")
    password = secret(settings, "source_password")
    extra = _headers(settings.source_headers_file) if settings.source_headers_file is not None else {}
    if bearer is None and password is None and not extra:
        return None
    basic = (settings.source_user, password) if settings.source_user is not None and password is not None else None
    return HttpCredentials(bearer=bearer, basic=basic, extra=extra)


def _headers(file: Path) -> dict[str, Secret | str]:
    """One ``Name: value`` a line; a value ``file:/path`` or ``env:NAME`` is a secret kept there."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings([f"source_headers_file {file}: {error}"]) from error
    headers: dict[str, Secret | str] = {}
    for number, line in enumerate(lines, 1):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not line.strip():
            continue
        if not colon or not name or not value:
            raise BadSettings([f"source_headers_file {file}:{number}: write `Name: value`"])
        headers[name] = Secret.parse(value) if value.startswith(("file:", "env:")) else value
    return headers
