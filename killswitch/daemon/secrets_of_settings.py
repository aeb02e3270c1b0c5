"""The secrets and TLS files that settings name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from killswitch.daemon.settings import Settings
from killswitch.errors import AccessDenied, BadSettings
from killswitch.net.credentials import TLS, Secret

_OF_RECEIVERS = (
    *("slack_token", "slack_app_token", "slack_signing_secret"),
    *("pagerduty_key", "opsgenie_key", "teams_url", "smtp_password", "webhook_url", "webhook_secret"),
    *("webhook_previous_secret", "alertmanager_password", "alertmanager_bearer", "heartbeat_url"),
)


def secret(settings: Settings, name: str) -> Secret | None:
    """The secret called ``name``: in the file of setting ``<name>_file``, or in ``KILLSWITCH_<NAME>`` itself.

    Raises BadSettings when both are given: it would not be clear which one counts.
    """
    file: Path | None = getattr(settings, f"{name}_file")
    variable = f"KILLSWITCH_{name.upper()}"
    if file is not None and variable in os.environ:
        raise BadSettings([f"{name}_file and {variable} are both set; keep one"])
    if file is not None:
        return Secret.from_file(file)
    return Secret.from_environment(variable) if variable in os.environ else None


def unreadable_secrets(settings: Settings) -> Iterator[str]:
    """Why secrets of receivers cannot be read now; they are read again at each use, so they may be put there later."""
    for name in _OF_RECEIVERS:
        found = secret(settings, name)
        if found is not None:
            try:
                found.reveal()
            except AccessDenied as error:
                yield f"KILLSWITCH_{name.upper()}{'_FILE' if found.place == 'file' else ''}: {error}"


def tls_of(ca: Path | None, cert: Path | None, key: Path | None) -> TLS | None:
    return None if ca is None and cert is None else TLS(ca_file=ca, cert_file=cert, key_file=key)
