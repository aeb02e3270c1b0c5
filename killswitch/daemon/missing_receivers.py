"""Pages that rule files ask for and that this daemon cannot deliver as asked; said at start."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from killswitch.daemon.secrets_of_settings import unreadable_secrets
from killswitch.daemon.settings import Settings
from killswitch.model import Rollout
from killswitch.page_addresses import SETTINGS_OF, SILENT
from killswitch.pages.receivers import Pager

log = logging.getLogger(__name__)


def warn_of_missing_receivers(settings: Settings, rollouts: Sequence[Rollout], pagers: Sequence[Pager | None]) -> None:
    """Log what rule files ask for in vain, and which secrets of receivers cannot be read."""
    names = {pager.name for pager in pagers if pager is not None}
    for rollout in rollouts:
        for receiver, address in _addresses(rollout):
            if receiver not in names:
                log.warning(
                    "%s: pages for %s %s go elsewhere, %s is not set up: set %s",
                    rollout.name, receiver, address, receiver, SETTINGS_OF[receiver],
                )  # fmt: skip
        for problem in _lost_routes(rollout, names):
            log.warning("%s: %s", rollout.name, problem)
    for problem in unreadable_secrets(settings):
        log.warning("%s: nothing reaches its receiver until the file is there", problem)


def _addresses(rollout: Rollout) -> Iterator[tuple[str, str]]:
    page = rollout.page
    named = {
        "slack": page.slack,
        "pagerduty": page.pagerduty,
        "opsgenie": page.addresses.opsgenie,
        "teams": page.addresses.teams,
        "email": ", ".join(page.addresses.email) or None,
    }
    for receiver, address in named.items():
        if address is not None:
            yield receiver, address


def _lost_routes(rollout: Rollout, names: set[str]) -> Iterator[str]:
    """Routes whose receivers are not all set up here."""
    for severity, routed in rollout.page.addresses.receivers:
        missing = [name for name in routed if name not in names]
        if not missing:
            continue
        left = [name for name in routed if name in names and name not in SILENT]
        instead = f"they go to {' and '.join(left)} only" if left else "critical pages and trips go to every receiver"
        where = "; ".join(f"set {SETTINGS_OF[name]}" for name in missing)
        yield f"{severity} pages are routed to {', '.join(missing)}, not set up here: {instead}. {where}"
