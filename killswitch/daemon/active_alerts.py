"""Re-sends the alerts of open incidents to Alertmanager, or they would end there by themselves.

Which incidents are open is read from the flag store: a flag that is tripped or pinned has one. So every replica
re-sends them, also one that has just started. Alertmanager takes copies for one alert.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from killswitch.daemon.settings import Settings
from killswitch.deadline import Deadline
from killswitch.errors import BadDocument, KillswitchError
from killswitch.flags.document import from_document
from killswitch.flags.flag import Flag
from killswitch.model import PageSettings
from killswitch.pages import events
from killswitch.pages.delivery import PageDelivery
from killswitch.pages.page import Page
from killswitch.pages.receivers import Pager
from killswitch.pages.receivers.alertmanager import INTERVALS_AHEAD, AlertmanagerPager
from killswitch.pages.receivers.alertmanager_alert import alert, ended, labels_of, to_reference
from killswitch.stores import Store, keys
from killswitch.trips.incidents import StoredIncidents

_log = logging.getLogger(__name__)
_PATIENCE = 10.0  # seconds for all peers, and for reading incidents
_MOST_INCIDENTS = 10_000


@dataclass(frozen=True, slots=True)
class _Ended:
    """An alert that ended ``at`` (Unix seconds), which is to be said ``left`` times more."""

    labels: Mapping[str, str]
    at: float
    left: int


class ActiveAlerts:
    """``routed`` says whether a page's rule file lets Alertmanager have it. ``wall`` and ``monotonic`` give seconds.

    While the store does not answer, what was last known to be open is sent again: an outage of the store ends no alert.
    An end is sent `INTERVALS_AHEAD` times, because a peer may miss one.
    """

    def __init__(
        self,
        store: Store,
        pager: AlertmanagerPager,
        *,
        settings: Callable[[str], PageSettings],
        routed: Callable[[Page], bool],
        wall: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._pager = pager
        self._settings = settings
        self._routed = routed
        self._wall = wall
        self._incidents = StoredIncidents(store, monotonic=monotonic, reads=_MOST_INCIDENTS, within=_PATIENCE)
        self._open: dict[str, Page] = {}
        self._over: dict[str, _Ended] = {}
        self._running = threading.Lock()

    def look(self) -> None:
        """One sending. Never raises an error of the store or of a peer: what was not sent is sent at the next turn."""
        with self._running:
            try:
                self._read()
            except KillswitchError as error:
                _log.warning("open incidents cannot be read, the alerts known are sent again: %s", error)
            now = self._wall()
            ends = [one for over in self._over.values() for one in ended([over.labels], over.at)]
            alerts = [alert(page, ends_at=now + self._pager.ahead) for page in self._open.values()] + ends
            try:
                if alerts:
                    self._pager.post(alerts, Deadline(_PATIENCE))
            except KillswitchError as error:
                _log.warning("Alertmanager has not taken the open incidents, trying again: %s", error)
            self._over = {
                reference: replace(over, left=over.left - 1) for reference, over in self._over.items() if over.left > 1
            }

    def _read(self) -> None:
        """Take over which incidents are open."""
        tripped = [flag for flag in self._flags() if flag.trip is not None]
        still = {(flag.rollout, flag.generation) for flag in tripped}
        incidents = self._incidents.of(tripped)
        read = {(incident.rollout, incident.generation) for incident in incidents.values()}
        found = [events.tripped(incident, self._settings(rollout)) for rollout, incident in incidents.items()]
        now_open = {to_reference(labels_of(page)): page for page in found if self._routed(page)}
        for reference, page in self._open.items():
            incident = (page.rollout, page.generation)
            if incident in still and incident not in read:
                now_open[reference] = page  # the store did not give it now
            elif incident not in still:
                self._over[reference] = _Ended(labels_of(page), self._wall(), INTERVALS_AHEAD)
        self._open = now_open

    def _flags(self) -> list[Flag]:
        found = []
        for item in self._store.list(keys.FLAGS).items:
            try:
                found.append(from_document(item.value, rollout=item.key.removeprefix(keys.FLAGS)))
            except BadDocument:
                continue  # the controller pages FLAG_UNREADABLE
        return found


def alert_jobs(
    settings: Settings,
    store: Store,
    pagers: Sequence[Pager],
    delivery: PageDelivery,
    *,
    settings_of: Callable[[str], PageSettings],
    wall: Callable[[], float],
    monotonic: Callable[[], float],
) -> tuple[tuple[str, Callable[[], object], float], ...]:
    """The job that re-sends, as name, call and seconds between two; none without Alertmanager."""
    pager = next((one for one in pagers if isinstance(one, AlertmanagerPager)), None)
    if pager is None:
        return ()
    routed = partial(delivery.goes_to, receiver=pager.name)
    alerts = ActiveAlerts(store, pager, settings=settings_of, routed=routed, wall=wall, monotonic=monotonic)
    return (("alerts", alerts.look, settings.alertmanager_interval),)
