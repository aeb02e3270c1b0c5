"""Where a rollout's pages go besides Slack and PagerDuty, and which receivers get pages of which severity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

Routes = tuple[tuple[str, tuple[str, ...]], ...]

# every receiver by the name that rule files, settings and metrics use
RECEIVERS: Final = ("slack", "pagerduty", "opsgenie", "teams", "email", "alertmanager", "webhook", "console")
# which setting switches each on
SETTINGS_OF: Final[Mapping[str, str]] = MappingProxyType(
    {
        "slack": "KILLSWITCH_SLACK_TOKEN_FILE",
        "pagerduty": "KILLSWITCH_PAGERDUTY_KEY_FILE or KILLSWITCH_PAGERDUTY_TEAM_KEYS_FILE",
        "opsgenie": "KILLSWITCH_OPSGENIE_KEY_FILE or KILLSWITCH_OPSGENIE_TEAM_KEYS_FILE",
        "teams": "KILLSWITCH_TEAMS_URL_FILE or KILLSWITCH_TEAMS_URLS_FILE",
        "email": "KILLSWITCH_SMTP_URL",
        "alertmanager": "KILLSWITCH_ALERTMANAGER_URLS",
        "webhook": "KILLSWITCH_WEBHOOK_URL_FILE",
        "console": "KILLSWITCH_CONSOLE_PAGES=true",
    }
)
# printed or logged: no one is paged by it
SILENT: Final = frozenset({"console"})


@dataclass(frozen=True, slots=True)
class PageAddresses:
    """``email``: mail addresses; ``teams`` and ``opsgenie``: the names of a channel's URL and of an API key.

    ``receivers``: by severity, the receivers that get such pages. A severity that is not named goes to all.
    """

    email: tuple[str, ...] = ()
    teams: str | None = None
    opsgenie: str | None = None
    receivers: Routes = ()

    @property
    def named(self) -> bool:
        """Whether the rule file names one of these addresses."""
        return bool(self.email) or self.teams is not None or self.opsgenie is not None

    def route(self, severity: str) -> tuple[str, ...] | None:
        """The receivers of pages of this severity; None: all."""
        return dict(self.receivers).get(severity)

    def any_route(self) -> frozenset[str] | None:
        """Every receiver that gets pages of some severity; None: all."""
        if {severity for severity, _ in self.receivers} < {"critical", "error", "warning", "info"}:
            return None
        return frozenset(name for _, names in self.receivers for name in names)


NO_ADDRESSES: Final = PageAddresses()
