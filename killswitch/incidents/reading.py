"""Reads what the flag store keeps of incidents. It needs no daemon; what cannot be read is said, and costs no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from killswitch.errors import BadDocument, Refused
from killswitch.incidents.story import Sources
from killswitch.pages.outbox_entry import OutboxEntry
from killswitch.pages.outbox_entry import from_document as entry_from_document
from killswitch.stores import Store, keys
from killswitch.trends.stored import trend_around
from killswitch.trips.flag_history import changes_in, history_of
from killswitch.trips.incidents import Record, incident_called, incidents_of, split_id
from killswitch.trips.stored_flags import StoredFlags

_Found = TypeVar("_Found")


class NoIncident(Refused):
    """No such incident; ``known``: the newest ids of that rollout."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        listed = f"; those of this rollout: {', '.join(known)}" if known else ""
        super().__init__(f"there is no incident {name!r:.120}{listed}; `killswitch incidents` lists all")


def sources_of(store: Store, name: str) -> Sources:
    """All of the incident called ``name``, such as ``support-copilot.7``.

    Raises NoIncident, BadDocument where the incident itself cannot be read, and what reading the store raises.
    """
    parts = split_id(name)
    if parts is None:
        raise NoIncident(name, ())
    records = incidents_of(store, parts[0])
    record = incident_called(records, parts[0], name)
    if record is None:
        raise NoIncident(name, tuple(one.id for one in records[:10]))
    if record.incident is None:
        raise BadDocument(record.problem)
    rollout, problems = record.incident.rollout, []

    def read(what: str, how: Callable[[], _Found]) -> _Found | None:
        try:
            return how()
        except BadDocument as error:
            problems.append(f"{what}: {error}")
            return None

    lines = history_of(store, rollout)
    problems += [f"a line of the history: {line.problem}" for line in lines if line.change is None]
    flag = read("the flag as it is now", lambda: StoredFlags(store).stored(rollout).flag)
    trend = read("both cohorts around the trip", lambda: trend_around(store, rollout, record.generation))
    page = read("the page's deliveries", lambda: _entry(store, record.id))
    return Sources(record.id, record.incident, changes_in(lines), flag, trend, page, tuple(problems))


def all_incidents(store: Store, rollout: str | None) -> tuple[Record, ...]:
    """Every incident of the rollout, or of all, the newest first; those that cannot be read come last.

    Raises what reading the store raises.
    """
    names = [rollout] if rollout is not None else sorted(set(_rollouts(store)))
    found = [record for name in names for record in incidents_of(store, name)]
    return tuple(sorted(found, key=lambda one: -1.0 if one.incident is None else one.incident.decided_at, reverse=True))


def _rollouts(store: Store) -> Iterator[str]:
    for item in store.list(keys.INCIDENTS).items:
        name = item.key.removeprefix(keys.INCIDENTS).rpartition("/")[0]
        if name:
            yield name


def _entry(store: Store, page: str) -> OutboxEntry | None:
    item = store.get(keys.outbox(page))
    return None if item is None else entry_from_document(item.value, page=page)
