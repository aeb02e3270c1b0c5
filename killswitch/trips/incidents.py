"""The incidents that the flag store keeps: of one rollout, one by its id, and what tripped flags were tripped on.

An incident outlives its flag: `rearm` and `end` leave it where it is.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from killswitch.errors import BadDocument, KillswitchError
from killswitch.flags.flag import Flag
from killswitch.flags.incident import Incident, from_document
from killswitch.stores import Item, Store, keys

_RECORD = re.compile(r"([0-9]{1,16})(?:\.([0-9]{1,19}))?\Z")
_READS = 20  # incidents read for one page; the others follow with the next
_WITHIN = 1.0  # seconds after which no further one is read for this page
_REST = 10.0  # seconds in which a store that did not answer, or slowly, is not asked again


@dataclass(frozen=True, slots=True)
class Record:
    """One incident in the store, called ``id`` there. ``incident`` is None where it is not understood (``problem``).

    A generation has a second record (``rollout.7.4711``) where someone put an armed flag back by hand.
    """

    id: str
    generation: int
    incident: Incident | None
    problem: str = ""


def incidents_of(store: Store, rollout: str) -> tuple[Record, ...]:
    """All incidents of a rollout, the newest first. Raises what reading the store raises."""
    found = []
    for item in store.list(keys.incidents(rollout)).items:
        match = _RECORD.match(item.key.rpartition("/")[2])
        if match is not None:
            generation, again = int(match[1]), int(match[2] or 0)
            found.append(((generation, again), _record(item, rollout, generation)))
    return tuple(record for _, record in sorted(found, key=lambda entry: entry[0], reverse=True))


def latest_incident(store: Store) -> Record | None:
    """The newest incident of all rollouts that can be understood. Raises what reading the store raises.

    A store that has seen thousands of trips is read whole: a person asks this, seldom.
    """
    latest: Record | None = None
    for item in store.list(keys.INCIDENTS).items:
        rollout, _, name = item.key.removeprefix(keys.INCIDENTS).rpartition("/")
        match = _RECORD.match(name)
        if match is None or not rollout:
            continue
        record = _record(item, rollout, int(match[1]))
        if record.incident is None:
            continue
        if latest is None or latest.incident is None or record.incident.decided_at >= latest.incident.decided_at:
            latest = record
    return latest


def incident_called(records: Iterable[Record], rollout: str, name: str) -> Record | None:
    """The one of a rollout's records that is meant by ``rollout.7``, ``7`` or ``#7``."""
    wanted = {name, f"{rollout}.{name.removeprefix('#')}"}
    return next((record for record in records if record.id in wanted), None)


def split_id(name: str) -> tuple[str, str] | None:
    """``support-copilot.7`` as rollout and record; None for what cannot be an incident's id."""
    match = re.match(r"(.+?)\.([0-9]{1,16}(?:\.[0-9]{1,19})?)\Z", name)
    return None if match is None else (match[1], match[2])


def incident_of_trip(records: Iterable[Record], flag: Flag) -> Incident | None:
    """The newest record of a tripped flag's generation; None where there is none to read."""
    if flag.trip is None:
        return None
    record = next((record for record in records if record.generation == flag.generation), None)
    return None if record is None else record.incident


class StoredIncidents:
    """What tripped flags were tripped on, each read once. ``monotonic`` gives seconds. Any thread may ask.

    One call reads at most ``reads`` incidents, and none more after ``within`` seconds.
    """

    def __init__(
        self, store: Store, *, monotonic: Callable[[], float], reads: int = _READS, within: float = _WITHIN
    ) -> None:
        self._store = store
        self._reads = reads
        self._within = within
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._known: dict[tuple[str, int, float], Incident | None] = {}
        self._not_before = -float("inf")

    def of(self, flags: Iterable[Flag]) -> Mapping[str, Incident]:
        """The incidents by rollout. Never raises: what the store does not give now is left out, and asked for later."""
        tripped = {(flag.rollout, flag.generation, flag.updated_at): flag for flag in flags if flag.trip is not None}
        with self._lock:
            self._known = {key: incident for key, incident in self._known.items() if key in tripped}
            unknown = [key for key in tripped if key not in self._known]
            began = self._monotonic()
            if began >= self._not_before:
                for key in unknown[: self._reads]:
                    if self._monotonic() - began > self._within:
                        self._not_before = self._monotonic() + _REST
                        break
                    flag = tripped[key]
                    try:
                        self._known[key] = incident_of_trip(incidents_of(self._store, flag.rollout), flag)
                    except KillswitchError:
                        self._not_before = self._monotonic() + _REST
                        break
            return {key[0]: incident for key, incident in self._known.items() if incident is not None}


def _record(item: Item, rollout: str, generation: int) -> Record:
    name = f"{rollout}.{item.key.rpartition('/')[2]}"
    try:
        return Record(name, generation, from_document(item.value, rollout=rollout))
    except BadDocument as error:
        return Record(name, generation, None, str(error))
