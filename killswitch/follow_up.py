"""After a trip: how far have the routers followed? The answer goes into the incident and the page's thread.

The flip is what counts and is long done; this only tells. It asks until every router that reports has
acted on the trip, or patience ends, and then says what it knows, once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from killswitch import message
from killswitch.errors import BadDocument, KillswitchError
from killswitch.flag import State
from killswitch.incident import RoutersFollowed
from killswitch.incident import from_document as incident_from_document
from killswitch.incident import to_document as incident_document
from killswitch.model import PageSettings
from killswitch.outbox import new_entry
from killswitch.outbox import to_document as outbox_document
from killswitch.routers_followed import routers_followed
from killswitch.stores import Committed, Compare, Put, Store, keys
from killswitch.switch import Switch

log = logging.getLogger(__name__)
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class _Trip:
    rollout: str
    generation: int
    revision: int
    until: float  # monotonic


class FollowUp:
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

    def tripped(self, rollout: str, generation: int, revision: int) -> None:
        """This replica has just flipped the flag, at this revision of the store."""
        with self._lock:
            self._trips[rollout] = _Trip(rollout, generation, revision, self._monotonic() + self._patience)

    def look(self) -> None:
        """One look at the routers of every fresh trip; to be called every second or so."""
        with self._lock:
            trips = list(self._trips.values())
        for trip in trips:
            try:
                done = self._told(trip)
            except KillswitchError as error:
                log.info("%s: cannot see yet how far its routers have followed: %s", trip.rollout, error)
                done = False
            if done or self._monotonic() >= trip.until:
                with self._lock:
                    if self._trips.get(trip.rollout) is trip:
                        del self._trips[trip.rollout]

    def _told(self, trip: _Trip) -> bool:
        standing = self._switch.standing(trip.rollout)
        if standing.flag is None or standing.flag.state is not State.TRIPPED:
            return True
        found = routers_followed(self._store, trip.rollout, trip.revision)
        if found is None:
            return False
        followed, known = found["followed"], found["known"]
        if followed < known and self._monotonic() < trip.until:
            return False
        page = message.followed(
            standing.flag, routers=followed, known=known, at=self._wall(), settings=self._settings(trip.rollout)
        )
        key = keys.incident(trip.rollout, trip.generation)
        item = self._store.get(key)
        entry = Put(keys.outbox(page.id), outbox_document(new_entry(page, at=self._wall())))
        if item is None:
            return True
        try:
            incident = incident_from_document(item.value, rollout=trip.rollout)
        except BadDocument:
            return True
        if incident.routers is not None:
            return True  # another replica has told
        noted = replace(incident, routers=RoutersFollowed(followed, known, self._wall()))
        # a lost comparison (somebody noted a page meanwhile) is tried again at the next look
        outcome = self._store.commit((Compare(key, item.mod_revision),), (Put(key, incident_document(noted)), entry))
        return isinstance(outcome, Committed)
