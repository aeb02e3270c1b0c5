"""Re-sends the alerts of open incidents to Alertmanager, or they would end there by themselves.

Which incidents are open is read from the flag store: a flag that is tripped or pinned has one. So every replica
re-sends them, also one that has just started. Alertmanager takes copies for one alert.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

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
_PATIENCE = 10.0  # seconds for all peers


class ActiveAlerts:
    """``routed`` says whether a page's rule file lets Alertmanager have it. ``wall`` and ``monotonic`` give seconds.

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
        self._incidents = StoredIncidents(store, monotonic=monotonic)
        self._sent: dict[str, Mapping[str, str]] = {}
        self._over: dict[str, tuple[Mapping[str, str], float, int]] = {}
        self._running = threading.Lock()

    def look(self) -> None:
        """One sending. Never raises an error of the store or of a peer: what was not sent is sent at the next turn."""
        with self._running:
            try:
                alerts = self._alerts()
                if alerts:
                    self._pager.post(alerts, Deadline(_PATIENCE))
            except KillswitchError as error:
                _log.warning("open incidents are not re-sent to Alertmanager now, trying again: %s", error)

    def _alerts(self) -> list[dict[str, Any]]:
        now = self._wall()
        tripped = [flag for flag in self._flags() if flag.trip is not None]
        open_now = {to_reference(labels_of(page)): page for page in self._pages(tripped)}
        # an incident that the store did not give now is not over: its flag is still tripped
        still = {(flag.rollout, str(flag.generation)) for flag in tripped}
        for reference, labels in self._sent.items():
            if reference not in open_now and (labels.get("rollout"), labels["generation"]) not in still:
                self._over[reference] = (labels, now, INTERVALS_AHEAD)
        kept = {reference: labels for reference, labels in self._sent.items() if reference not in self._over}
        self._sent = kept | {reference: labels_of(page) for reference, page in open_now.items()}
        over = [one for reference, one in self._over.items() if reference not in open_now]
        self._over = {
            reference: (labels, at, left - 1)
            for reference, (labels, at, left) in self._over.items()
            if left > 1 and reference not in open_now
        }
        ends = [one for labels, at, _ in over for one in ended([labels], at)]
        return [alert(page, ends_at=now + self._pager.ahead) for page in open_now.values()] + ends

    def _pages(self, tripped: list[Flag]) -> list[Page]:
        """The page of each open incident that Alertmanager gets, as its flip wrote it."""
        incidents = self._incidents.of(tripped)
        pages = [events.tripped(incident, self._settings(rollout)) for rollout, incident in incidents.items()]
        return [page for page in pages if self._routed(page)]

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
