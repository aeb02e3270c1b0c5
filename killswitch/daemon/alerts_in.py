"""Builds what takes alerts of an Alertmanager, from the parts of one replica."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from starlette.routing import Route

from killswitch.alerts.acting import AlertActing
from killswitch.alerts.desk import AlertDesk
from killswitch.daemon.rules_in_force import RulesInForce
from killswitch.daemon.secrets_of_settings import secret
from killswitch.daemon.settings import Settings
from killswitch.flags.flag import Flag
from killswitch.model import Finding
from killswitch.status.reports import CycleReport
from killswitch.status.self_metrics import SelfMetrics
from killswitch.stores import Store
from killswitch.trips.switch import Switch
from killswitch.web.alert_endpoint import alert_routes

log = logging.getLogger(__name__)
_NAMED = 5


def names_of(names: Sequence[str]) -> str:
    """The first few, and how many more."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def alerts_in(
    settings: Settings,
    store: Store,
    *,
    controller_id: str,
    rules: RulesInForce,
    latest: Callable[[], CycleReport | None],
    flipped: Callable[[str, int, int], None],
    metrics: SelfMetrics,
    wall: Callable[[], float],
    monotonic: Callable[[], float],
) -> list[Route]:
    """The endpoint. ``flipped``: as in `AlertActing`. An incident shows what our own rules said in the newest cycle.

    Raises BadSettings where the token is named twice.
    """
    token = secret(settings, "alerts_token") or secret(settings, "api_token")
    waiting = sorted(name for name, rollout in rules.current().rollouts.items() if rollout.alerts is not None)
    if token is None and waiting:
        log.warning("alerts about %s are refused: no token is set; set KILLSWITCH_ALERTS_TOKEN_FILE", names_of(waiting))

    def findings(flag: Flag) -> tuple[Finding, ...]:
        report = latest()
        one = None if report is None else report.reports.get(flag.rollout)
        if one is None or one.flag is None or one.flag.generation != flag.generation:
            return ()
        return one.findings

    origin = f"Alertmanager webhook of controller {controller_id}"
    acting = AlertActing(
        store,
        Switch(store, wall=wall, by=controller_id, origin=origin),
        controller_id=controller_id,
        origin=origin,
        findings=findings,
        flipped=flipped,
        wall=wall,
    )
    desk = AlertDesk(
        acting,
        rollouts=lambda: rules.current().rollouts,
        counted=lambda outcome: metrics.alerts.labels(outcome).inc(),
        monotonic=monotonic,
    )
    return alert_routes(desk.take, lambda: None if token is None else token.reveal())
