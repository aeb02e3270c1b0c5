"""Where a page's dashboard link leads: to the rollout and the time of the event, not to whatever was last looked at."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

BEFORE: Final = 3600.0  # seconds that the dashboard shows before the event, and after it
AFTER: Final = 600.0
PLACEHOLDERS: Final = ("{rollout}", "{from}", "{to}")


def dashboard_at(template: str | None, rollout: str, at: float) -> str | None:
    """The address with its placeholders filled in; ``{from}`` and ``{to}`` are in milliseconds, as Grafana takes them.

    ``at``: Unix seconds of the event.
    """
    if template is None:
        return None
    values = (quote(rollout, safe="", errors="replace"), f"{(at - BEFORE) * 1000:.0f}", f"{(at + AFTER) * 1000:.0f}")
    for placeholder, value in zip(PLACEHOLDERS, values, strict=True):
        template = template.replace(placeholder, value)
    return template


def of_grafana(grafana_url: str | None) -> str | None:
    """The address of our own Grafana dashboard, with placeholders; None where there is none."""
    return None if grafana_url is None else f"{grafana_url}?var-rollout={{rollout}}&from={{from}}&to={{to}}"
