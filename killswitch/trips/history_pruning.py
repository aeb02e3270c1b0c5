"""Removes what is older than 400 days of flags' histories, of incidents, and of the cohorts around trips: any replica.

A few rollouts at a time. The newest incident of a rollout stays, however old it is: its flag may still rest on it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator

from killswitch.errors import BadDocument, KillswitchError
from killswitch.stores import Delete, Store, TellsTime, keys
from killswitch.stores.limits import Part, portions
from killswitch.timestamps import DAY
from killswitch.trends.document import from_document as trend_from_document
from killswitch.trips.incidents import incidents_of
from killswitch.wording import counted

log = logging.getLogger(__name__)
KEPT_DAYS = 400
AT_ONCE = 20  # rollouts whose history is read at one look: 1,000 take a day at a look every half hour
MOST_DELETED = 500  # lines at one look
_LINE = re.compile(r"([0-9]{14})\.")


class HistoryPruning:
    """``wall`` gives Unix seconds. Two replicas that prune at once delete the same lines, which is no harm."""

    def __init__(self, store: Store, *, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall
        self._after = ""  # the rollout that was looked at last

    def look(self) -> int:
        """Prune the next rollouts; how many lines were removed. Errors are logged: the next look goes on."""
        try:
            return self._prune()
        except KillswitchError as error:
            log.warning("old lines of flags' histories are not removed now: %s", error)
            return 0

    def _prune(self) -> int:
        # rollouts are known by their counted generations, which outlive their flags
        names = [item.key.removeprefix(keys.GENERATIONS) for item in self._store.list(keys.GENERATIONS).items]
        turn = sorted(names, key=lambda name: (name <= self._after, name))[:AT_ONCE]
        old: list[str] = []
        for name in turn:
            before = self._now() - KEPT_DAYS * DAY
            old += [key for key, at in (*self._lines(name), *self._trends(name), *self._incidents(name)) if at < before]
            self._after = name
            if len(old) >= MOST_DELETED:
                break
        del old[MOST_DELETED:]
        for portion in portions([Part(key, writes=(Delete(key),)) for key in old]):
            self._store.commit((), [write for part in portion for write in part.writes])
        if old:
            log.info("%s over %d days old removed from flags' histories", counted(len(old), "record"), KEPT_DAYS)
        return len(old)

    def _lines(self, rollout: str) -> Iterator[tuple[str, float]]:
        """The key of each line, and its time in Unix seconds."""
        for item in self._store.list(keys.flag_history(rollout)).items:
            line = _LINE.match(item.key.rpartition("/")[2])
            if line is not None:
                yield item.key, int(line[1]) / 1000

    def _trends(self, rollout: str) -> Iterator[tuple[str, float]]:
        """The key of what is kept around each trip, and when that ended."""
        for item in self._store.list(keys.incident_trends(rollout)).items:
            try:
                yield item.key, trend_from_document(item.value, rollout=rollout).until
            except BadDocument:
                continue  # another version may read it

    def _incidents(self, rollout: str) -> Iterator[tuple[str, float]]:
        """The key of each incident but the newest, and when it was decided."""
        for record in incidents_of(self._store, rollout)[1:]:
            if record.incident is not None:  # else another version may read it
                yield f"{keys.incidents(rollout)}{record.id.removeprefix(f'{rollout}.')}", record.incident.decided_at

    def _now(self) -> float:
        """The earlier of two clocks: one that is a year ahead must not cost a year of history."""
        told = self._store.told_time() if isinstance(self._store, TellsTime) else None
        return self._wall() if told is None else min(self._wall(), told.latest)
