"""What the daily evaluation of slow signals has found last, read in each cycle for the status."""

from __future__ import annotations

from collections.abc import Mapping

from killswitch.controller.store_health import StoreHealth
from killswitch.errors import AccessDenied, BadDocument, KillswitchError
from killswitch.flags.flag import Flag
from killswitch.model import Rollout
from killswitch.slow.shown import SignalShown, signals_shown
from killswitch.slow.standing import SlowStanding, from_document
from killswitch.stores import Item, Store, keys


class SlowStandings:
    """The standings as of the last `look`. Nothing is read where no rule file has slow signals."""

    def __init__(self, store: Store, *, health: StoreHealth) -> None:
        self._store = store
        self._health = health
        self._items: Mapping[str, Item] = {}
        self._problem = ""

    def look(self, rollouts: Mapping[str, Rollout]) -> None:
        """Errors are noted, and shown in place of verdicts."""
        self._items, self._problem = {}, ""
        if all(rollout.slow is None for rollout in rollouts.values()):
            return
        try:
            self._items = {item.key: item for item in self._store.list(keys.SLOW_STANDINGS).items}
        except KillswitchError as error:
            self._problem = f"the newest evaluation could not be read: {error}"
            if not isinstance(error, AccessDenied):
                self._health.failed(error)

    def of(self, rollout: Rollout, flag: Flag | None, now: float) -> tuple[SignalShown, ...]:
        """The signals of its rule file; none without a flag, since no user has its canary. ``now``: Unix seconds."""
        if rollout.slow is None or flag is None:
            return ()
        found: SlowStanding | None = None
        problem = self._problem
        item = self._items.get(keys.slow_standing(rollout.name))
        if item is not None:
            try:
                found = from_document(item.value, rollout=rollout.name)
            except BadDocument as error:
                problem = f"the newest evaluation could not be read: {error}"
        return signals_shown(rollout.slow, found, flag.generation, now, problem)
