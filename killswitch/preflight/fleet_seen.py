"""What routers and controllers have left in the flag store, and what time it is there: read once for all checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from killswitch.errors import BadDocument
from killswitch.fleet.heartbeat import Heartbeat, alive
from killswitch.router.presence import Report, from_document
from killswitch.stores import Store, TellsTime, keys


@dataclass(frozen=True, slots=True)
class FleetSeen:
    """What routers and controllers have left in the store.

    ``revisions``: of each rollout's flag. ``routers``: reports by rollout; ``unread``: those that are not understood.
    ``store_ahead``: seconds that the store's clock is ahead of this machine's, None where the store has no clock.
    """

    revisions: Mapping[str, int] = field(default_factory=dict)
    routers: Mapping[str, Sequence[Report]] = field(default_factory=dict)
    unread: int = 0
    controllers: Sequence[Heartbeat] = ()
    store_ahead: float | None = None


AskFleet = Callable[[], FleetSeen]
"""Raises what the store raises."""


def fleet_seen(store: Store, wall: float, monotonic: float) -> FleetSeen:
    """``wall`` in Unix seconds and ``monotonic``, both now. Raises what the store raises."""
    revisions = {item.key.removeprefix(keys.FLAGS): item.mod_revision for item in store.list(keys.FLAGS).items}
    routers: dict[str, list[Report]] = {}
    unread = 0
    for item in store.list(keys.ROUTERS).items:
        try:
            report = from_document(item.value)
        except BadDocument:
            unread += 1
            continue
        if item.key == keys.router(report.rollout, report.id):
            routers.setdefault(report.rollout, []).append(report)
    controllers = tuple(alive(store.list(keys.CONTROLLERS).items).values())
    told = store.told_time() if isinstance(store, TellsTime) else None
    # the store showed `latest` at most, a second more than its header said, some time after it was asked
    ahead = None if told is None else told.latest - 1.0 - (wall - (monotonic - told.asked_at))
    return FleetSeen(revisions, routers, unread, controllers, ahead)
