"""Acknowledging a trip: a person says that they look after it, and nothing needs to be repeated to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from killswitch.errors import Refused, Unavailable
from killswitch.flags.change import Deed
from killswitch.flags.incident import Acknowledged
from killswitch.flags.incident import from_document as incident_from_document
from killswitch.flags.incident import to_document as incident_document
from killswitch.model import PageSettings
from killswitch.pages import events
from killswitch.pages.outbox_entry import into_outbox
from killswitch.stores import Committed, Compare, Put, Store, keys
from killswitch.trips.flag_history import line_of
from killswitch.trips.stored_flags import StoredFlags

ATTEMPTS = 6  # others write in the incident, too (who was paged); that is no reason to refuse


def acknowledge(
    store: Store,
    rollout: str,
    generation: int,
    *,
    by: str,
    origin: str,
    at: float,
    settings: PageSettings,
    also: Sequence[Compare] = (),
    more: Sequence[Put] = (),
) -> Acknowledged:
    """Note in the incident of a stopped flag who looks after it, and page that, in one transaction.

    Returns who does: the first to say so, who may be someone else, or the same person earlier. ``at``: Unix seconds.
    ``also`` and ``more``: what the same transaction compares and writes besides.
    Raises Refused where this generation is not tripped or pinned (any more) or has no incident, BadDocument where it
    cannot be read, and what the store raises.
    """
    key = keys.incident(rollout, generation)
    for _ in range(ATTEMPTS):
        stored = StoredFlags(store).required(rollout)
        flag = stored.flag
        assert flag is not None
        if flag.trip is None or flag.generation != generation:
            raise Refused(f"{rollout} is not tripped in generation {generation} any more: nothing to acknowledge")
        item = store.get(key)
        if item is None:
            raise Refused(f"{rollout} has no incident of generation {generation}: it was not tripped by a verdict")
        incident = incident_from_document(item.value, rollout=rollout)
        if incident.acknowledged is not None:
            return incident.acknowledged
        taken = Acknowledged(by, origin, at)
        noted = replace(incident, acknowledged=taken)
        page = events.acknowledged(flag, noted, settings=settings)
        line = line_of(rollout, stored, flag, at=at, by=by, origin=origin, deed=Deed.ACKNOWLEDGE)
        writes = (Put(key, incident_document(noted)), into_outbox(page, at=at), *line, *more)
        compares = (Compare(keys.flag(rollout), stored.revision), Compare(key, item.mod_revision), *also)
        if isinstance(store.commit(compares, writes), Committed):
            return taken
    raise Unavailable(f"{rollout} changed {ATTEMPTS} times while it was being acknowledged; try again")
