"""The roles as the status page shows them, read again every few seconds."""

from __future__ import annotations

import logging
from dataclasses import replace

from killswitch.errors import KillswitchError
from killswitch.registry.seen import roles_seen
from killswitch.roles.seen import RolesSeen
from killswitch.stores import Store

log = logging.getLogger(__name__)


class RoleView:
    """`seen` may be called by any thread; one calls `look`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen = RolesSeen()

    def seen(self) -> RolesSeen:
        """As last read; ``problem`` says why not since."""
        return self._seen

    def look(self) -> None:
        try:
            self._seen = roles_seen(self._store)
        except KillswitchError as error:
            problem = f"roles cannot be read, so these may have changed: {error}"
            if self._seen.problem is None:
                log.warning("%s", problem)
            self._seen = replace(self._seen, problem=problem)
