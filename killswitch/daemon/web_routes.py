"""What the daemon's web server answers besides the status: flags, incidents, and one page for each rollout."""

from __future__ import annotations

from collections.abc import Callable

from starlette.routing import Route

from killswitch.daemon.trend_view import TrendView
from killswitch.model import PageSettings
from killswitch.pages.dashboards import dashboard_at
from killswitch.stores import Store
from killswitch.web.app import WebContent
from killswitch.web.flag_endpoints import FlagView, flag_routes
from killswitch.web.incident_endpoint import IncidentView, incident_routes
from killswitch.web.pin_view import PinView
from killswitch.web.rollout_endpoint import RolloutView, rollout_routes
from killswitch.web.verdict_endpoint import HoldView, VerdictView, verdict_routes


def web_routes(
    served: WebContent,
    store: Store,
    trends: TrendView,
    *,
    settings: Callable[[str], PageSettings],
    oldest: float,
    monotonic: Callable[[], float],
) -> list[Route]:
    """The routes. ``store``: with the shorter patience, so that one that hangs holds up one request as briefly.

    ``oldest``: seconds after which no other tool is told a verdict.
    """

    def dashboard(rollout: str, at: float) -> str | None:
        return dashboard_at(settings(rollout).dashboard, rollout, at)

    flags, pins = FlagView(store, monotonic=monotonic), PinView(store, monotonic=monotonic)
    incidents = IncidentView(store, monotonic=monotonic, dashboard=dashboard)
    rollouts = RolloutView(store, trends=trends.trend, monotonic=monotonic, dashboard=dashboard)
    holds = HoldView(store, monotonic=monotonic)
    verdicts = VerdictView(flags, holds, latest=lambda: served.latest, age=served.age, oldest=oldest)
    return [
        *verdict_routes(verdicts),
        *flag_routes(flags, pins),
        *incident_routes(incidents),
        *rollout_routes(served, rollouts),
    ]
