"""Warns at the start of pages that a rule file asks for and that cannot be delivered as asked."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from killswitch.daemon.settings import Settings
from killswitch.daemon.wiring import secret, unreadable_secrets
from killswitch.model import Rollout
from killswitch.pages.receivers import Pager

log = logging.getLogger(__name__)


def warn_of_missing_receivers(settings: Settings, rollouts: Sequence[Rollout], pagers: Sequence[Pager | None]) -> None:
    """Pages that a rule file asks for and that cannot be delivered as asked."""
    names = {pager.name for pager in pagers if pager is not None}
    for rollout in rollouts:
        if rollout.page.slack and secret(settings, "slack_token") is None:
            log.warning(
                "%s: pages for Slack %s go elsewhere, there is no Slack token: set KILLSWITCH_SLACK_TOKEN_FILE",
                rollout.name, rollout.page.slack,
            )  # fmt: skip
        if rollout.page.pagerduty and "pagerduty" not in names:
            log.warning(
                "%s: pages for PagerDuty key %s go elsewhere, there are no keys: set "
                "KILLSWITCH_PAGERDUTY_TEAM_KEYS_FILE",
                rollout.name, rollout.page.pagerduty,
            )  # fmt: skip
    for problem in unreadable_secrets(settings):
        log.warning("%s: nothing reaches its receiver until the file is there", problem)
