"""What the last good read of the flag store said: flags, documents that cannot be read, stored baselines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

from killswitch.errors import KillswitchError
from killswitch.flags.flag import STAGES, Flag
from killswitch.trips.stored_flags import StoredFlag
from killswitch.trips.switch import Switch
from killswitch.verdicts.baseline import Baseline

log = logging.getLogger(__name__)


class KnownFlags:
    """One replica's knowledge of the flag store. A read that fails leaves it as it was. ``wall`` gives Unix seconds.

    ``stored``: by rollout; ``unreadable``: by rollout, what is wrong with a document that cannot be understood;
    ``read_at``: Unix seconds of the last good read, None before the first.
    """

    def __init__(self, switch: Switch, *, wall: Callable[[], float]) -> None:
        self._switch = switch
        self._wall = wall
        self._baselines: Mapping[tuple[str, int], Baseline] = {}
        self.stored: Mapping[str, StoredFlag] = {}
        self.unreadable: Mapping[str, str] = {}
        self.read_at: float | None = None

    def fetch(self) -> tuple[Mapping[str, StoredFlag], Mapping[str, str]]:
        """Read the store, for `take`. Raises as the store does."""
        stored, unreadable = self._switch.everything()
        self._fetch_baselines(stored.values())
        return stored, unreadable

    def take(self, fetched: tuple[Mapping[str, StoredFlag], Mapping[str, str]]) -> None:
        """What was fetched is what we know from now on."""
        self.stored, self.unreadable = fetched
        self.read_at = self._wall()

    def flag(self, rollout: str) -> Flag | None:
        stored = self.stored.get(rollout)
        return stored.flag if stored is not None else None

    @property
    def flags(self) -> dict[str, Flag]:
        """By rollout."""
        return {rollout: one.flag for rollout, one in self.stored.items() if one.flag is not None}

    def baseline(self, flag: Flag) -> Baseline | None:
        """What replaces control where every user gets the canary; None where control is compared with."""
        return self._baselines.get((flag.rollout, flag.generation)) if _serves_everyone(flag) else None

    def _fetch_baselines(self, stored: Iterable[StoredFlag]) -> None:
        """A person may store another baseline, whatever the percent is then. The same one stays the same object."""
        needed = {
            (one.flag.rollout, one.flag.generation)
            for one in stored
            if one.flag is not None and _serves_everyone(one.flag)
        }
        if not needed:
            self._baselines = {}
            return
        try:
            found, bad = self._switch.baselines()
        except KillswitchError as error:  # a role without this right must not cost all rollouts their flags
            log.warning("baselines cannot be read, the last known ones stay in use: %s", error)
            return
        known = self._baselines
        self._baselines = {of: one for of, one in known.items() if of in needed & bad.keys()} | {
            of: known[of] if known.get(of) == one else one for of, one in found.items() if of in needed
        }
        for of in sorted(needed & bad.keys()):
            log.warning("%s: its baseline cannot be read, and at 100%% there is no control cohort: %s", of[0], bad[of])


def _serves_everyone(flag: Flag) -> bool:
    """Whether every user gets the canary: the stored baseline is then used in place of control."""
    return flag.armed and flag.canary_percent > STAGES["full"]
