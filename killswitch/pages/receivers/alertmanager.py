"""Pages as alerts of Prometheus' Alertmanager (API v2), sent to every peer.

Alertmanager ends an alert by itself at its ``endsAt``, and peers do not tell each other of alerts. So the daemon
re-sends the alerts of open incidents every interval, each with an end four intervals ahead (`daemon.active_alerts`).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import requests

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError, OutcomeUnknown, Refused, Unavailable
from killswitch.net.bounded_http import BoundedSession, Credentials, killswitch_errors, refusal
from killswitch.net.credentials import TLS
from killswitch.pages.page import Page
from killswitch.pages.receivers.alert_life import acknowledges, ends
from killswitch.pages.receivers.alertmanager_alert import (
    EVENT_LASTS,
    OF_INCIDENTS,
    alert,
    ended,
    ended_labels,
    from_reference,
    labels_of,
    to_reference,
)
from killswitch.pages.receivers.posting import posting_errors

_log = logging.getLogger(__name__)
_AT_ONCE = 100  # alerts; at most 2 MB
INTERVALS_AHEAD = 4  # three sendings may be lost before an alert ends by mistake


class AlertmanagerPager:
    """Posts to each of ``urls``, the peers of one cluster. ``interval``: seconds between two sendings of an alert.

    A page is taken once a peer has taken it: the others get an open incident with the next sending. ``wall`` gives
    Unix seconds.
    """

    name = "alertmanager"
    gathers = False

    def __init__(
        self,
        urls: Sequence[str],
        *,
        interval: float,
        credentials: Credentials | None = None,
        tls: TLS | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._urls = tuple(url.rstrip("/") for url in urls)
        self._interval = interval
        self._session = BoundedSession(credentials=credentials, tls=tls, max_body=256 * 1024)
        self._wall = wall

    @property
    def ahead(self) -> float:
        """Seconds until an alert that is not sent again ends by itself."""
        return INTERVALS_AHEAD * self._interval

    def address(self, page: Page) -> str | None:
        """Empty for a page that is an alert or ends one, else None: Alertmanager knows no acknowledgement."""
        return None if acknowledges(page) or (page.good_news and not ends(page)) else ""

    def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:
        """The alert's labels as JSON. Raises as `killswitch.pages.receivers.Pager.send`."""
        if ends(page):
            # without a reference: only a trip's labels can be told from the page that ends it
            self._end(ended_labels(page), deadline)
            return ""
        lasts = self.ahead if page.kind in OF_INCIDENTS else EVENT_LASTS
        self.post([alert(page, ends_at=self._wall() + lasts, possible_repeat=possible_repeat)], deadline)
        return to_reference(labels_of(page))

    def reply(self, page: Page, reference: str, *, possible_repeat: bool, deadline: Deadline) -> str:
        """End the alert that ``reference`` names if the page ends it; else as `send`."""
        labels = from_reference(reference)
        if not ends(page) or labels is None:
            return self.send(page, possible_repeat=possible_repeat, deadline=deadline)
        self._end([labels, *ended_labels(page)], deadline)
        return ""

    def answers(self, deadline: Deadline) -> None:
        """Return if a peer answers."""
        self._each("GET", "/api/v2/status", None, deadline)

    def post(self, alerts: Sequence[Mapping[str, Any]], deadline: Deadline) -> None:
        """Post alerts to every peer, at most `_AT_ONCE` a request. Raises only if no peer has taken them."""
        for begin in range(0, len(alerts), _AT_ONCE):
            body = json.dumps(alerts[begin : begin + _AT_ONCE], allow_nan=False).encode()
            self._each("POST", "/api/v2/alerts", body, deadline)

    def _end(self, labels: Sequence[Mapping[str, str]], deadline: Deadline) -> None:
        if labels:
            self.post(ended(labels, self._wall()), deadline)

    def _each(self, method: str, path: str, body: bytes | None, deadline: Deadline) -> None:
        """Ask every peer; the time left is shared, so that one that hangs leaves time for the others."""
        problems: list[KillswitchError] = []
        for position, url in enumerate(self._urls):
            share = Deadline(deadline.remaining() / (len(self._urls) - position))
            try:
                self._ask(method, f"{url}{path}", body, share)
            except KillswitchError as error:
                problems.append(error)
        if len(problems) < len(self._urls):
            for problem in problems:
                _log.warning("a peer of Alertmanager has not taken an alert, others have: %s", problem)
            return
        unknown = next((problem for problem in problems if isinstance(problem, OutcomeUnknown)), None)
        later = next((problem for problem in problems if isinstance(problem, Unavailable)), None)
        raise unknown or later or problems[0]

    def _ask(self, method: str, url: str, body: bytes | None, deadline: Deadline) -> None:
        errors = posting_errors() if method == "POST" else killswitch_errors()
        headers = {"Content-Type": "application/json"}
        with errors, self._session.deadline(deadline):
            response = self._session.request(method, url, data=body, headers=headers, allow_redirects=False)
        if method == "POST" and response.status_code == requests.codes.gateway_timeout:
            raise OutcomeUnknown(f"the gateway before {url} gave up waiting (504): the alert may have been taken")
        problem = refusal(response)
        if problem is not None:
            raise problem
        if response.status_code != requests.codes.ok:
            raise Refused(f"{url} answered {response.status_code}, not 200; is it an Alertmanager from 0.16 on?")
