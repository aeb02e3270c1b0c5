"""After a trip: how far have the routers followed? The answer goes into the incident and the page's thread.

The flip is long done; this only reports. Each trip is looked at until every router that reports has acted on it, or
patience ends. Then what is known is written once. If the store fails then, writing is retried for as long again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from killswitch.errors import BadDocument, KillswitchError
from killswitch.flags.flag import Flag, drilled
from killswitch.flags.incident import RoutersFollowed
from killswitch.flags.incident import from_document as incident_from_document
from killswitch.flags.incident import to_document as incident_document
from killswitch.model import PageSettings
from killswitch.pages import events
from killswitch.pages.outbox_entry import into_outbox
from killswitch.stores import Committed, Compare, Put, Store, keys
from killswitch.trips.router_progress import routers_followed
from killswitch.trips.switch import Switch

log = logging.getLogger(__name__)
PATIENCE = 60.0
HEIRS_AFTER = 10.0  # seconds after patience has ended: the replica that tripped has reported by then, or has died
RECENT = 600.0  # seconds after which a replica that has just started leaves a trip alone


@dataclass(frozen=True, slots=True)
class _Trip:
    rollout: str
    generation: int
    revision: int | None  # of the flip; None: as the store has it, because a tripped flag no longer changes
    until: float  # monotonic; then it is reported, however many have followed
    look_from: float = 0.0  # monotonic


class Propagation:
    """Thread-safe. ``settings`` gives a rollout's page settings; times in seconds."""

    def __init__(
        self,
        store: Store,
        switch: Switch,
        *,
        settings: Callable[[str], PageSettings],
        monotonic: Callable[[], float],
        wall: Callable[[], float],
        patience: float = PATIENCE,
    ) -> None:
        self._store = store
        self._switch = switch
        self._settings = settings
        self._monotonic = monotonic
        self._wall = wall
        self._patience = patience
        self._lock = threading.Lock()
        self._trips: dict[str, _Trip] = {}
        self._noticed: frozenset[tuple[str, int]] | None = None

    def tripped(self, rollout: str, generation: int, revision: int) -> None:
        """This replica has just flipped the flag, at this revision of the store."""
        with self._lock:
            self._trips[rollout] = _Trip(rollout, generation, revision, self._monotonic() + self._patience)

    def notice(self, flags: Iterable[Flag]) -> None:
        """Take in all flags as a cycle has read them, so that a person's trip is reported as well.

        Any number of replicas may notice the same trip; the store lets one of them report it. At the first call, only
        trips of the last `RECENT` seconds are new. A trip that names rules is a controller's, and that replica reports
        it; the others look once, after it should have, because it may have died.
        """
        tripped = {
            (flag.rollout, flag.generation): flag.trip
            for flag in flags
            if not flag.armed and flag.trip is not None and not drilled(flag)
        }
        with self._lock:
            first, before = self._noticed is None, self._noticed or frozenset()
            self._noticed = frozenset(tripped)
            until = self._monotonic() + self._patience
            for (rollout, generation), trip in tripped.items():
                known = self._trips.get(rollout)
                ours = known is not None and known.generation == generation
                if (rollout, generation) in before or ours or (first and abs(self._wall() - trip.at) > RECENT):
                    continue
                look_from = until + HEIRS_AFTER if trip.rules else 0.0
                self._trips[rollout] = _Trip(rollout, generation, None, until, look_from)

    def look(self) -> None:
        """One look at the routers of every fresh trip; to be called every second or so."""
        with self._lock:
            now = self._monotonic()
            trips = [trip for trip in self._trips.values() if now >= trip.look_from]
        for trip in trips:
            try:
                done = self._done(trip)
            except KillswitchError as error:
                log.info("%s: cannot see yet how far its routers have followed: %s", trip.rollout, error)
                done = False
            if done or self._monotonic() >= trip.until + self._patience:
                with self._lock:
                    if self._trips.get(trip.rollout) is trip:
                        del self._trips[trip.rollout]

    def _done(self, trip: _Trip) -> bool:
        """Whether there is nothing more to look at: reported, or about a trip that is over."""
        stored = self._switch.stored(trip.rollout)
        flag = stored.flag
        if flag is None or flag.armed or flag.generation != trip.generation:
            return True  # re-armed or ended; a later trip is another entry
        waits = self._monotonic() < trip.until
        revision = stored.revision if trip.revision is None else trip.revision
        found = routers_followed(self._store, trip.rollout, revision, tripped=True)
        if found is None:
            return not waits
        followed, known = found["followed"], found["known"]
        if followed < known and waits:
            return False
        return self._report(trip, flag, RoutersFollowed(followed, known, self._wall()))

    def _report(self, trip: _Trip, flag: Flag, routers: RoutersFollowed) -> bool:
        """Note it in the incident, and page, in one transaction; whether that, or another replica's, is done."""
        key = keys.incident(trip.rollout, trip.generation)
        item = self._store.get(key)
        try:
            incident = incident_from_document(item.value, rollout=trip.rollout) if item is not None else None
        except BadDocument:
            incident = None
        if item is None or incident is None or incident.routers is not None:
            return True
        page = events.followed(
            flag, routers=routers.followed, known=routers.known, at=routers.at, settings=self._settings(trip.rollout)
        )
        entry = into_outbox(page, at=routers.at)
        noted = Put(key, incident_document(replace(incident, routers=routers)))
        # a lost comparison (a page was noted in the incident meanwhile) is tried again at the next look
        return isinstance(self._store.commit((Compare(key, item.mod_revision),), (noted, entry)), Committed)
