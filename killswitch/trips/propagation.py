"""After a trip: how far have the routers followed? The answer goes into the incident and the page's thread.

The flip is what counts and is long done; this only tells. It asks until every router that reports has
acted on the trip, or patience ends, and then says what it knows, once. A store that does not take it then is
asked again for as long once more.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from killswitch.errors import BadDocument, KillswitchError
from killswitch.flags.flag import Flag, State
from killswitch.flags.incident import RoutersFollowed
from killswitch.flags.incident import from_document as incident_from_document
from killswitch.flags.incident import to_document as incident_document
from killswitch.model import PageSettings
from killswitch.pages import events
from killswitch.pages.outbox import new_entry
from killswitch.pages.outbox import to_document as outbox_document
from killswitch.stores import Committed, Compare, Put, Store, keys
from killswitch.trips.router_progress import routers_followed
from killswitch.trips.switch import Switch

log = logging.getLogger(__name__)
PATIENCE = 60.0
HEIRS_AFTER = 10.0  # seconds after patience has ended; by then the replica that tripped has told, or is no more
RECENT = 600.0  # seconds after which a replica that has just started leaves a trip alone


@dataclass(frozen=True, slots=True)
class _Trip:
    rollout: str
    generation: int
    revision: int | None  # of the flip; None: as the store has it, for a tripped flag changes no more
    until: float  # monotonic; then it is told as it stands
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
        """All flags as a cycle has read them: who follows what a person has tripped is to be told as well.

        Any number of replicas may notice the same trip; one of them gets to tell. The first time, only trips of the
        last `RECENT` seconds are new. A controller's own trip names rules, and its own replica tells; the others look
        once, after it should have, for it may have died.
        """
        tripped = {
            (flag.rollout, flag.generation): flag.trip
            for flag in flags
            if flag.state is State.TRIPPED and flag.trip is not None
        }
        with self._lock:
            first, before = self._noticed is None, self._noticed or frozenset()
            self._noticed = frozenset(tripped)
            until = self._monotonic() + self._patience
            for (rollout, generation), trip in tripped.items():
                known = self._trips.get(rollout)
                told = known is not None and known.generation == generation
                if (rollout, generation) in before or told or (first and abs(self._wall() - trip.at) > RECENT):
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
                done = self._told(trip)
            except KillswitchError as error:
                log.info("%s: cannot see yet how far its routers have followed: %s", trip.rollout, error)
                done = False
            if done or self._monotonic() >= trip.until + self._patience:
                with self._lock:
                    if self._trips.get(trip.rollout) is trip:
                        del self._trips[trip.rollout]

    def _told(self, trip: _Trip) -> bool:
        stored = self._switch.stored(trip.rollout)
        flag = stored.flag
        if flag is None or flag.state is not State.TRIPPED or flag.generation != trip.generation:
            return True  # a person has gone on; where it is a later trip, its own replica tells
        waits = self._monotonic() < trip.until
        revision = stored.revision if trip.revision is None else trip.revision
        found = routers_followed(self._store, trip.rollout, revision, tripped=True)
        if found is None:
            return not waits
        followed, known = found["followed"], found["known"]
        if followed < known and waits:
            return False
        return self._tell(trip, flag, RoutersFollowed(followed, known, self._wall()))

    def _tell(self, trip: _Trip, flag: Flag, routers: RoutersFollowed) -> bool:
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
        entry = Put(keys.outbox(page.id), outbox_document(new_entry(page, at=routers.at)))
        noted = Put(key, incident_document(replace(incident, routers=routers)))
        # a lost comparison (somebody noted a page meanwhile) is tried again at the next look
        return isinstance(self._store.commit((Compare(key, item.mod_revision),), (noted, entry)), Committed)
