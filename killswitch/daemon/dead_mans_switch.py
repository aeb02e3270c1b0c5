"""The dead man's switch: a call after every cycle, so that *our* silence pages someone.

Any heartbeat monitor or Alertmanager's watchdog pattern can receive it. It never delays a cycle.
"""

from __future__ import annotations

import logging

import requests

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError
from killswitch.net.bounded_http import BoundedSession
from killswitch.net.credentials import Secret
from killswitch.status.reports import CycleReport
from killswitch.status.self_metrics import SelfMetrics
from killswitch.timestamps import to_iso

log = logging.getLogger(__name__)
TIMEOUT = 5.0


class DeadMansSwitch:
    """``url`` is a secret: anyone who knows it can keep the monitor quiet. None: no call is made."""

    def __init__(self, url: Secret | None, controller_id: str, metrics: SelfMetrics) -> None:
        self._url = url
        self._controller_id = controller_id
        self._metrics = metrics
        self._session = BoundedSession(timeout=TIMEOUT)
        self._report: CycleReport | None = None

    def cycle_finished(self, report: CycleReport) -> None:
        """Called by the loop; the request itself is made by `call`, from another thread."""
        self._report = report

    def call(self) -> None:
        """Call once for the newest cycle, if it has not been called for yet."""
        report, self._report = self._report, None
        if self._url is None or report is None:
            return
        body = {"controller": self._controller_id, "tick": to_iso(report.tick), "status": "alive"}
        try:
            with self._session.deadline(Deadline(TIMEOUT)):
                response = self._session.post(self._url.reveal(), json=body)
            outcome = "ok" if response.ok else f"status {response.status_code}"
        except (requests.RequestException, KillswitchError) as error:
            # the message may hold the URL, which is a secret
            outcome = type(error).__name__
        self._metrics.heartbeat_calls.labels("ok" if outcome == "ok" else "failed").inc()
        if outcome != "ok":
            log.warning("the dead man's switch could not be called: %s", outcome)
