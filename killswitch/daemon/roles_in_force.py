"""The role files in force. A set that is refused is logged, and the last good one stays."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from killswitch.daemon.rules_in_force import folder_state
from killswitch.errors import BadRules
from killswitch.model import PageSettings, Rollout
from killswitch.roles.config import RoleConfig
from killswitch.rules.role_files import load_roles

log = logging.getLogger(__name__)


class RolesInForce:
    """`current` may be called by any thread; one calls `look`. ``required``: a setting names the folder."""

    def __init__(self, folder: Path, *, required: bool) -> None:
        self._folder = folder
        self._required = required
        self._seen: tuple[object, ...] = ()
        self._roles: Mapping[str, RoleConfig] = {}
        self.look()

    def current(self) -> Mapping[str, RoleConfig]:
        """Role files, by role; none without the folder."""
        return self._roles

    def page_settings(self, role: str, rollouts: Mapping[str, Rollout]) -> PageSettings:
        """As the role file says; without one, as a rule file says that names a receiver."""
        config = self._roles.get(role)
        pages = [one.page for one in rollouts.values()]
        named = [page for page in pages if page.slack or page.pagerduty or page.addresses.named]
        return config.page if config is not None else next(iter([*named, *pages]), PageSettings())

    def look(self) -> None:
        """Read the files again if anything in the folder has changed."""
        state = folder_state(self._folder)
        if state == self._seen:
            return
        self._seen = state
        if not self._required and not self._folder.exists():
            self._roles = {}
            return
        try:
            self._roles = load_roles(self._folder)
        except BadRules as error:
            log.error("role files refused, the last good ones stay in force:\n%s", "\n".join(error.problems))  # noqa: TRY400  the problems say all
